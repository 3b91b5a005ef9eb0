/** The messages between a page and the worker of the gateway. */
import type { Message } from "../types";

/** The policy of where answers are written. */
export type Policy = "local-only" | "local-first" | "cloud-first" | "auto";
/** The privacy class: `open` requests leave as they are, `masked` ones with their private data replaced, `private` ones never. */
export type Privacy = "open" | "masked" | "private";
/** What stands for private data: an invented value that is turned back in the answer, the name of its kind, or nothing: the request stays. */
export type Replacement = "surrogate" | "mask" | "block";

/** A request whose place is to be decided. */
export interface GatewayAsk {
  policy: Policy;
  privacy: Privacy;
  /** The share of requests that the policy `auto` keeps in the tab: `75%`. */
  keep_local: string;
  /** The tokens that prompt and answer may have together, in the tab and on the server; null if the server does not say. */
  local_context: number;
  server_context: number | null;
  prompt_tokens: number;
  answer_tokens: number;
  needs_tools: boolean;
  /** False if private data could not be replaced. */
  is_masked: boolean;
  /** Milliseconds on a clock that does not go back. */
  now: number;
  messages: Message[];
}

/** The place of an answer. */
export interface Decision {
  route: "local" | "cloud" | "refused";
  /** The code of the reason, and the reason for people. */
  reason: string;
  detail: string;
  /** True if the model in the tab answers only because the server is away. */
  degraded: boolean;
  /** The expected gain of the server's answer and the threshold; null unless the estimator was asked. */
  gain: number | null;
  threshold: number | null;
}

/** A private value, and what stood for it. */
export interface ReplacedValue {
  /** Its kind, as Microsoft Presidio names it. */
  kind: string;
  value: string;
  by: string;
}

/** A body without private data. */
export interface Redacted {
  /** The number of its answer, for `push` and `finish`. */
  answer: number;
  body: Record<string, unknown>;
  /** The number of replaced places of each kind. */
  counts: Record<string, number>;
  values: ReplacedValue[];
}

/** A piece of an answer. */
export interface Piece {
  text: string;
  reasoning: string;
}

/** The calls of the worker. */
export interface GatewayCalls {
  open: { request: null; result: null };
  decide: { request: GatewayAsk; result: Decision };
  heard: { request: { event: "sent" | "succeeded" | "failed"; now: number }; result: null };
  /** With `json`, the texts of the answer are JSON. */
  redact: { request: { body: Record<string, unknown>; replacement: Replacement; json: boolean }; result: Redacted };
  /** Turns the next piece of an answer back, as far as it is certain. */
  push: { request: { answer: number } & Piece; result: Piece };
  /** Turns the rest of an answer back, and the arguments of its calls, which are JSON. */
  finish: { request: { answer: number; calls: string[] }; result: Piece & { calls: string[] } };
}

export type GatewayCall = keyof GatewayCalls;
export type ToGateway = { [C in GatewayCall]: { id: number; call: C; request: GatewayCalls[C]["request"] } }[GatewayCall];
export type FromGateway =
  | { id: number; result: GatewayCalls[GatewayCall]["result"] }
  | { id: number; error: { code: string; message: string } };
