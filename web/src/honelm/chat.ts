/** The interface of models that answer conversations: the one in this tab, and those of a server. */
import type { ReplacedValue } from "./gateway/protocol";
import type { Answer, AnswerEvent, GenerationSettings, Message } from "./types";

/** A model that answers conversations, wherever it runs. */
export interface ChatModel {
  /**
   * `tab`: it runs in this tab. Nothing leaves the machine, unless it is a `HybridModel`, whose answers say so. `server`: messages are sent to
   * a server.
   */
  readonly place: "tab" | "server";

  /**
   * Answers a conversation whose last message is the user's, or the result of a call. Events arrive in order and before the answer.
   *
   * Rejects with a `HoneLMError`: the model's own errors, and from a server `unauthorized` (a key is missing or wrong), `unreachable`
   * (no connection, or it broke off), `invalid-response`, or the code that the server gave.
   */
  chat(messages: Message[], settings?: GenerationSettings, onEvent?: (event: AnswerEvent) => void): Promise<Answer>;

  /** Ends what is being written; the answer resolves with the text so far and `finish_reason` `cancelled`. */
  abort(): void;

  /** Ends everything, and frees the memory of a model in this tab. */
  close(): void;

  /** Returns the properties of the model that answers, or null if none is loaded or chosen. */
  facts(): Promise<ChatFacts | null>;

  /** Returns the models that can answer: of a tab the loaded one, of a server all that it has. */
  models(): Promise<ChatModelEntry[]>;
}

/** The properties of a model that every place knows. */
export interface ChatFacts {
  name: string;
  place: "tab" | "server";
  /** The largest number of tokens in prompt and answer together; null if the server does not say. */
  context: number | null;
  /** The device or the server that it runs on, for people. */
  device: string;
  /** Its abilities, in Ollama's words: `completion`, `tools`, `thinking`, `vision`, `embedding`; empty if the server does not say. */
  capabilities: string[];
  /** Its own settings, as far as they are known. */
  generation: GenerationSettings;
}

/** A model in a list. */
export interface ChatModelEntry {
  /** The name, as `GenerationSettings.model` takes it. */
  id: string;
  /** Null if the server does not say. */
  loaded: boolean | null;
  bytes: number | null;
  context: number | null;
  architecture: string | null;
  capabilities: string[];
}

/** The route of an answer through a gateway: that of a `HybridModel`, or the object `honelm` of a response (docs/gateway.md). */
export interface Route {
  /** `local`: the server's own model answered, or finished the answer. */
  route: "local" | "cloud";
  /** The code of the reason, such as `gain` or `upstream-failed`. */
  reason: string;
  /** The reason for people. */
  detail: string;
  /** True if the server's model answered only because the cloud was away. */
  degraded: boolean;
  /** True if the cloud began the answer and the server's model finished it. */
  continued: boolean;
  upstream: string | null;
  /** The cost of all attempts, and what the preferred upstream alone would have cost more, in `currency`. */
  cost: number;
  saved: number;
  currency: string;
  /** The number of private values of each kind that were replaced before the request left. */
  replaced: Record<string, number>;
  /** The name of the model that answered. */
  model: string | null;
  /** True if the local model is the one in this tab: the route of a `HybridModel`. */
  tab?: true;
  /** What was sent; only from a `HybridModel`. */
  sent?: Sent;
}

/** What left the tab for an answer. */
export interface Sent {
  /** The bytes of the request's body. */
  bytes: number;
  /** The messages as they left, without private data unless the class was `open`. */
  messages: Message[];
  /** The private values that stayed, and what stood for them. */
  values: ReplacedValue[];
}
