/** The shapes of OpenAI's Responses API, as far as models in a tab have them. */
import type { ContentPart } from "./openai-types";
import type { TokenLogprob } from "./types";

/** An item of a conversation: a message, a call of a tool, its result, or reasoning. */
export interface InputItem {
  type?: string;
  role?: "developer" | "system" | "user" | "assistant";
  content?: string | ContentPart[];
  call_id?: string;
  name?: string;
  arguments?: string;
  output?: unknown;
}

/** A tool. Other types than `function` are services of a provider, and are ignored. */
export interface ResponseToolParam {
  type: string;
  name?: string;
  description?: string | null;
  parameters?: Record<string, unknown> | null;
  strict?: boolean | null;
}

/** A request for a response. Fields of OpenAI's API that are not listed have no effect. */
export interface ResponseParams {
  input?: string | InputItem[];
  /** The system message. */
  instructions?: string | null;
  /** The name of the model; only for servers. */
  model?: string;
  stream?: boolean | null;
  /** The response that this one follows. The last 100 responses are kept in memory. */
  previous_response_id?: string | null;
  /** False keeps no response. */
  store?: boolean | null;
  max_output_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  /** The number of most likely tokens that are returned with each token. */
  top_logprobs?: number | null;
  tools?: ResponseToolParam[];
  tool_choice?: unknown;
  parallel_tool_calls?: boolean | null;
  text?: { format?: { type: string; name?: string; schema?: Record<string, unknown> } };
  /** `auto` leaves out the oldest exchanges if the context is full. */
  truncation?: "auto" | "disabled" | null;
  metadata?: Record<string, string> | null;
  /** Beyond OpenAI's API. */
  seed?: number;
}

/** The state of a response or an item. */
export type Status = "in_progress" | "completed" | "incomplete";

/** A text, with the log-probabilities of its tokens. */
export interface OutputText {
  type: "output_text";
  text: string;
  annotations: never[];
  logprobs: ItemLogprob[];
}

/** The log-probability of a token. */
export type ItemLogprob = { token: string; logprob: number; bytes: number[]; top_logprobs: { token: string; logprob: number; bytes: number[] }[] };

/** An item that the model wrote. */
export type OutputItem =
  | { type: "message"; id: string; role: "assistant"; status: Status; content: OutputText[] }
  | { type: "reasoning"; id: string; status: Status; summary: never[]; content: { type: "reasoning_text"; text: string }[] }
  | { type: "function_call"; id: string; call_id: string; name: string; arguments: string; status: Status };

/** The numbers of tokens. */
export interface ResponseUsage {
  input_tokens: number;
  input_tokens_details: { cached_tokens: number; cache_write_tokens: number };
  output_tokens: number;
  output_tokens_details: { reasoning_tokens: number };
  total_tokens: number;
}

/** A tool, as a response repeats it. */
export interface ResponseTool {
  type: "function";
  name: string;
  description: string | null;
  parameters: Record<string, unknown> | null;
  strict: boolean | null;
}

/** Which tools are called. */
export type ResponseToolChoice = "none" | "auto" | "required" | { type: "function"; name: string };

/** A response. */
export interface ResponseObject {
  id: string;
  object: "response";
  created_at: number;
  status: Status;
  error: null;
  /** Programs of OpenAI, of which there are none here. */
  access_programs: null;
  incomplete_details: { reason: "max_output_tokens" } | null;
  instructions: string | null;
  metadata: Record<string, string> | null;
  model: string;
  output: OutputItem[];
  /** The texts of all messages together. */
  output_text: string;
  parallel_tool_calls: boolean;
  previous_response_id: string | null;
  temperature: number | null;
  top_p: number | null;
  tool_choice: ResponseToolChoice;
  tools: ResponseTool[];
  usage?: ResponseUsage;
}

/** The place of an event in a response. */
interface Place {
  item_id: string;
  output_index: number;
}
interface PartPlace extends Place {
  content_index: number;
}

/** A part of a response, while it is written. */
export type ResponseEvent = { sequence_number: number } & (
  | { type: "response.created" | "response.in_progress" | "response.completed" | "response.incomplete"; response: ResponseObject }
  | { type: "response.output_item.added" | "response.output_item.done"; output_index: number; item: OutputItem }
  | ({ type: "response.content_part.added" | "response.content_part.done"; part: OutputText | { type: "reasoning_text"; text: string } } & PartPlace)
  | ({ type: "response.output_text.delta"; delta: string; logprobs: ItemLogprob[] } & PartPlace)
  | ({ type: "response.output_text.done"; text: string; logprobs: ItemLogprob[] } & PartPlace)
  | ({ type: "response.reasoning_text.delta"; delta: string } & PartPlace)
  | ({ type: "response.reasoning_text.done"; text: string } & PartPlace)
  | ({ type: "response.function_call_arguments.delta"; delta: string } & Place)
  | ({ type: "response.function_call_arguments.done"; name: string; arguments: string } & Place)
);

/** The log-probabilities of tokens in the form of the Responses API, which has no null. */
export function itemLogprobs(tokens: TokenLogprob[]): ItemLogprob[] {
  const bytes = <T extends { bytes: number[] | null }>(token: T): Omit<T, "bytes"> & { bytes: number[] } => ({ ...token, bytes: token.bytes ?? [] });
  return tokens.map((token) => ({ ...bytes(token), top_logprobs: token.top_logprobs.map(bytes) }));
}
