/** Types of the JSON between page, worker and wasm module, in the form of `honelm --json`. */
import type { Route } from "./chat";

/** The source of a model. */
export type Source =
  /** The address of a GGUF file, or of a folder with `config.json`, safetensors and tokenizer. */
  | { url: string }
  /** A GGUF file that the user chose, or the files of a folder. The name is that of the model. */
  | { files: File[]; name?: string }
  /** The id of a model in the store of this browser (`ModelStore`). Nothing is fetched. */
  | { stored: string };

/** The options of loading a model. */
export interface LoadOptions {
  /** The device; by default the best available. */
  device?: "auto" | "cpu" | "gpu";
  /** The arithmetic: `fast` (the default), or everything in `f32`. */
  compute?: "fast" | "f32";
  /** `generic`: the CPU's portable kernels instead of the vector kernels. */
  isa?: "generic";
  /** The number type of the key-value cache; by default `f16`. */
  cache_type?: "f16" | "f32" | "q8_0" | "q4_0" | "q4_0-plain";
  /** The largest number of tokens in prompt and answer together; by default the model's own limit, at most 8192. */
  context?: number;
  /** Unknown fields of the configuration that are ignored, as named in the error. */
  allow_unknown?: string[];
}

/** The use of a model that is planned. */
export interface PlanOptions extends Omit<LoadOptions, "device"> {
  /** The device; by default the CPU. */
  device?: "cpu" | "gpu";
}

/** What a model will need, from the headers of its files. Sizes are in bytes. */
export interface ModelPlan {
  name: string;
  architecture: string;
  parameters: number;
  /** The model's own limit, in tokens. */
  model_context: number;
  /** The tokens of the plan. */
  context: number;
  device: "cpu" | "gpu";
  /** The weights in their files. */
  file_bytes: number;
  /** The weights on the device. */
  weights_bytes: number;
  /** The key-value cache of a full context. */
  cache_bytes: number;
  /** Activations and outputs of the largest step. */
  scratch_bytes: number;
  /** The sum of the three. The program with its tokenizer comes on top. */
  total_bytes: number;
  /** The weights that each token reads, as in their files. */
  token_bytes: number;
  /** Tokens per second from the CPU's kernels, if they were measured; null for a GPU and for weights in integer groups. */
  tokens_per_second: number | null;
}

/** The speed of the CPU's kernels for one token. */
export interface Probe {
  encoding: string;
  weights_per_second: number;
  bytes_per_second: number;
}

/** The progress of loading. */
export interface LoadProgress {
  /** `reading`: bytes of a file; `testing`: the GPU's kernels; `placing`: weights on the device. */
  stage: "reading" | "testing" | "placing";
  file: string;
  done: number;
  total: number;
}

/** The settings of an answer. Missing settings are the model's own. */
export interface GenerationSettings {
  max_tokens?: number;
  /** 0 is greedy. */
  temperature?: number;
  /** Keep the `top_k` most likely tokens; 0 keeps all. */
  top_k?: number;
  top_p?: number;
  min_p?: number;
  /** The same seed gives the same text. */
  seed?: number;
  /** A number of the answer: answers with the same seed and other numbers differ. Only in this tab. */
  stream?: number;
  /** 1 is off. */
  repeat_penalty?: number;
  /** Texts that end the answer. */
  stop?: string[];
  /** Continues after the model's end tokens and stop texts. */
  ignore_eos?: boolean;
  /** Returns the log-probability of each token, and of this many of the most likely tokens. */
  logprobs?: number;
  /** The amounts subtracted from the logits of the answer's tokens, for each occurrence and once; 0 is off. */
  frequency_penalty?: number;
  presence_penalty?: number;
  /** The amounts added to the logits of tokens, by their ids. */
  logit_bias?: Record<string, number>;
  /** The action when the context is full: the end of the answer (the default), or the oldest exchanges are left out. */
  overflow?: "stop" | "shift";
  /** The JSON schema that the answer matches. */
  json_schema?: unknown;
  /** The form of the answer, as in OpenAI's API: `text`, `json_object`, or `json_schema` with a schema. */
  response_format?: unknown;
  /** The tools that the model may call, in OpenAI's form; only for conversations. */
  tools?: unknown[];
  /** Which of them it calls: `none`, `auto` (the default), `required`, or the name of a function in OpenAI's form. */
  tool_choice?: unknown;
  /** False allows one call in an answer. */
  parallel_tool_calls?: boolean;
  /** The beginning of the answer, which exists already: the model goes on from it and does not repeat it. Only in this tab. */
  begun?: string;
  /** The name of the model; only for servers. */
  model?: string;
  /** The policy of a gateway for the request; only for servers. */
  policy?: "local-only" | "local-first" | "cloud-first" | "auto";
  privacy?: "open" | "masked" | "private";
  /** Converts the texts of special tokens in messages to these tokens; by default they are text. */
  parse_special?: boolean;
}

/** A call of a tool. */
export interface ToolCall {
  id: string;
  type: "function";
  /** The arguments are the JSON text of an object. */
  function: { name: string; arguments: string };
}

/** One turn of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant" | "tool";
  content: string;
  /** The model's reasoning before its answer. */
  reasoning_content?: string;
  /** The calls of an answer. */
  tool_calls?: ToolCall[];
  /** The call that a message of `tool` is the result of. */
  tool_call_id?: string;
}

/** The properties of a loaded model, and its device. */
export interface ModelFacts {
  name: string;
  /** Hugging Face's `model_type`. */
  architecture: string;
  parameters: number;
  layers: number;
  width: number;
  vocabulary: number;
  /** The model's own context limit. */
  model_context: number;
  /** The largest number of tokens in prompt and answer together. */
  context: number;
  device: "cpu" | "gpu";
  /** A description of the back end and its kernels. */
  description: string;
  /** The reason why it does not run on a better device. */
  fallback: string | null;
  /** The positions per page of the key-value cache, and the page's bytes in all layers. The cache grows by pages. */
  page_positions: number;
  page_bytes: number;
  /** The result of the test of the GPU's kernels; `demoted` lists the variants that are not used, with the reasons. */
  tested: { key: string; demoted: string[]; trust: unknown } | null;
  chat_template: boolean;
  /** Its abilities, in Ollama's words: `completion`, `tools`, `thinking`, or `embedding`. */
  capabilities: string[];
  /** The ambiguities and contradictions in the model's files, and how they were resolved. */
  warnings: string[];
  load_seconds: number;
  /** The model's own settings. */
  generation: Required<
    Pick<GenerationSettings, "temperature" | "top_k" | "top_p" | "min_p" | "repeat_penalty" | "max_tokens" | "stop">
  >;
}

/** The settings of embeddings. */
export interface EmbeddingSettings {
  /** The way from the hidden states to a vector; by default that of the model's files, or else the mean. */
  pooling?: "mean" | "cls" | "last";
  /** The number of values; by default all. */
  dimensions?: number;
}

/** The embeddings of texts: vectors of length 1. */
export interface Embeddings {
  embeddings: number[][];
  /** The tokens of all texts. */
  tokens: number;
}

/** The state of the device of a model in this tab. */
export type DeviceState =
  /** The model runs. After a recovery, its device may be another one. */
  | { state: "ready"; facts: ModelFacts }
  /** The device was lost: the model is placed again, and answers go on then. */
  | { state: "recovering"; message: string; progress?: LoadProgress }
  /** The device was lost, and the model could not be placed again: load it again. */
  | { state: "lost"; message: string };

/** Bytes in use. */
export interface Memory {
  /** The wasm heap, which never shrinks. */
  wasm_heap: number;
  /** The device's memory; on the CPU, a part of the heap. */
  device: { weights: number; cache: number; scratch: number };
}

/** An event while an answer is written. */
export interface AnswerEvent {
  /** The number of processed prompt tokens, and of all. */
  prefill?: [done: number, total: number];
  /** A token of the answer. */
  token?: number;
  /** New text of the answer. */
  text?: string;
  /** New text of the model's reasoning. */
  reasoning?: string;
  /** Parts of calls of tools: the first of a call has its id and name, all have a part of the arguments. */
  calls?: CallPart[];
  /** The log-probabilities of the new tokens, if requested. */
  logprobs?: TokenLogprob[];
  /** The route that a gateway chose, when it is known. */
  route?: Route;
}

/** A part of a call of a tool, while it is written. */
export interface CallPart {
  /** The number of the call in the answer. */
  index: number;
  id?: string;
  name?: string;
  arguments?: string;
}

/** The log-probability of a token, in OpenAI's form, with its id where the model runs in this tab. */
export interface TokenLogprob {
  token: string;
  logprob: number;
  /** The token's bytes, which need not be a whole character. */
  bytes: number[] | null;
  top_logprobs: { token: string; logprob: number; bytes: number[] | null }[];
}

/** A model's answer. */
export interface Answer {
  text: string;
  reasoning_content?: string;
  tool_calls?: ToolCall[];
  token_ids: number[];
  finish_reason: "stop" | "length" | "context" | "cancelled" | "tool_calls";
  /** The numbers of tokens; null if a server does not say. */
  prompt_tokens: number | null;
  /** The prompt tokens that were in the cache already. */
  cached_tokens: number | null;
  completion_tokens: number | null;
  prefill_tokens_per_second: number | null;
  /** Tokens per second, without the first. */
  decode_tokens_per_second: number | null;
  first_token_seconds: number | null;
  logprobs?: { id: number; logprob: number; top: [id: number, logprob: number][] }[];
  /** The name of the model that answered; only from servers. */
  model?: string;
  /** The route that a gateway chose; only from servers and from a `HybridModel`. */
  route?: Route;
}

/** One token of a measurement. */
export interface Sample {
  /** Its number, from 1. */
  token: number;
  /** Milliseconds since the previous token (for the first: since the call). */
  milliseconds: number;
  memory: Memory;
  /** The page's JavaScript heap (`performance.memory`), if the browser reports it. */
  js_heap: number | null;
}

/** A measurement of a model, for export. */
export interface Measurement {
  honelm: string;
  date: string;
  user_agent: string;
  model: ModelFacts;
  adapter: string | null;
  prompt_tokens: number | null;
  first_token_seconds: number | null;
  decode_tokens_per_second: number | null;
  prefill_tokens_per_second: number | null;
  before: Memory;
  samples: Sample[];
}

/** The settings of the comparison of a model with itself on the CPU in single precision. */
export interface CheckSettings {
  /** The scoring protocol: `llama.cpp-N`, `gptq-N` or `hf-stride-N`, by default `llama.cpp-512`. */
  protocol?: string;
  /** The number of chunks, from the beginning of the text. */
  chunks?: number;
}

/** The difference between a model on this device and itself on the CPU in single precision. */
export interface Check {
  chunks: number;
  tokens: number;
  perplexity: number;
  perplexity_stderr: number;
  base_perplexity: number;
  perplexity_difference: number;
  /** One-sided bounds; null with fewer than 30 chunks. */
  perplexity_difference_lower95: number | null;
  perplexity_difference_upper95: number | null;
  /** The difference in percent of the base, and its one-sided upper bound. */
  perplexity_increase_percent: number;
  perplexity_increase_percent_upper95: number | null;
  /** Mean KL(single precision || this device) in nats. */
  kl_divergence: number;
  kl_divergence_stderr: number | null;
  kl_divergence_upper95: number | null;
  same_top_percent: number;
  /** The positions whose two largest logits differ by at least 0.1, and those of them whose most likely token differs on this device. */
  clear_positions: number;
  clear_positions_changed: number;
}

/** An error with a stable code. */
export class HoneLMError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "HoneLMError";
  }

  /** Converts any thrown value. */
  static from(thrown: unknown): HoneLMError {
    if (thrown instanceof HoneLMError) return thrown;
    if (thrown instanceof Error) {
      const code = (thrown as Error & { code?: unknown }).code;
      return new HoneLMError(typeof code === "string" ? code : "internal", thrown.message);
    }
    return new HoneLMError("internal", String(thrown));
  }
}
