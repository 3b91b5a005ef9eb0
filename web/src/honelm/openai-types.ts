/** The shapes of OpenAI's API, as far as models in a tab have them. `test/types` compares them with those of the package `openai`. */
import type { Route } from "./chat";
import type { TokenLogprob } from "./types";

/** The options of a request. */
export interface RequestOptions {
  /** Ends the request. A stream then ends with what it has; a request without a stream rejects with the error `interrupted`. */
  signal?: AbortSignal | null | undefined;
}

/** A part of a message. Only texts can be read. */
export interface ContentPart {
  type: string;
  text?: string;
  refusal?: string;
}

/** A message of a conversation. */
export interface ChatMessageParam {
  role: "developer" | "system" | "user" | "assistant" | "tool" | "function";
  content?: string | ContentPart[] | null;
  tool_calls?: { id: string; type: string; function?: { name: string; arguments: string } }[];
  tool_call_id?: string;
  reasoning_content?: string;
  name?: string;
}

/** A tool. Other types than `function` are services of a provider, and are ignored. */
export interface ToolParam {
  type: string;
  function?: { name: string; description?: string; parameters?: Record<string, unknown>; strict?: boolean | null };
}

/** The form of an answer. */
export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | { type: "json_schema"; json_schema: { name: string; description?: string; schema?: Record<string, unknown>; strict?: boolean | null } };

/** A request for answers to a conversation. Fields of OpenAI's API that are not listed have no effect. */
export interface ChatCompletionParams {
  messages: ChatMessageParam[];
  /** The name of the model; only for servers. */
  model?: string;
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  /** The number of answers, at most 16. */
  n?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  frequency_penalty?: number | null;
  presence_penalty?: number | null;
  logit_bias?: Record<string, number> | null;
  logprobs?: boolean | null;
  top_logprobs?: number | null;
  /** The same seed gives the same answer; without one, each answer has another seed. */
  seed?: number | null;
  stop?: string | string[] | null;
  tools?: ToolParam[];
  tool_choice?: unknown;
  parallel_tool_calls?: boolean;
  response_format?: ResponseFormat;
  /** Beyond OpenAI's API. */
  top_k?: number;
  min_p?: number;
  repeat_penalty?: number;
}

/** The numbers of tokens. */
export interface CompletionUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

/** The reason for the end of an answer. */
export type FinishReason = "stop" | "length" | "tool_calls";

/** The log-probabilities of the tokens of an answer. */
export interface ChoiceLogprobs {
  content: TokenLogprob[] | null;
  refusal: null;
}

/** Answers to a conversation. */
export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: ChatChoice[];
  usage: CompletionUsage;
  /** The route that a gateway chose. */
  honelm?: Route;
}

/** An answer. */
export interface ChatChoice {
  index: number;
  message: {
    role: "assistant";
    content: string | null;
    refusal: null;
    reasoning_content?: string;
    tool_calls?: { id: string; type: "function"; function: { name: string; arguments: string } }[];
  };
  logprobs: ChoiceLogprobs | null;
  finish_reason: FinishReason;
}

/** A part of answers, while they are written. */
export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: {
    index: number;
    delta: ChatDelta;
    logprobs: ChoiceLogprobs | null;
    finish_reason: FinishReason | null;
  }[];
  usage?: CompletionUsage | null;
  honelm?: Route;
}

/** The part of an answer that a chunk adds. */
export interface ChatDelta {
  role?: "assistant";
  content?: string;
  reasoning_content?: string;
  tool_calls?: { index: number; id?: string; type?: "function"; function?: { name?: string; arguments?: string } }[];
}

/** A request for embeddings. */
export interface EmbeddingParams {
  /** A text, or several. Tokens are not accepted. */
  input: string | string[];
  model?: string;
  dimensions?: number;
  /** Without effect: vectors are always lists of numbers, as the package `openai` returns them. */
  encoding_format?: "float" | "base64";
  user?: string;
}

/** Embeddings. */
export interface CreateEmbeddingResponse {
  object: "list";
  data: { object: "embedding"; index: number; embedding: number[] }[];
  model: string;
  usage: { prompt_tokens: number; total_tokens: number };
}

/** A model in a list. */
export interface ModelEntry {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
}
