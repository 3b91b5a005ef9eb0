/** What crosses the border between page, worker and wasm module: the JSON that `honelm --json` has, with types. */

/** Where a model comes from. */
export type Source =
  /** The address of a GGUF file, or of a folder with `config.json`, safetensors and tokenizer. */
  | { url: string }
  /** A GGUF file that the user chose, or the files of a folder. */
  | { files: File[] };

/** How a model is loaded. */
export interface LoadOptions {
  /** Where it shall run: by default on the best device that there is. */
  device?: "auto" | "cpu" | "gpu";
  /** Kernels: `fast` as users run, or everything in `f32`. */
  compute?: "fast" | "f32";
  /** `generic`: the processor's portable kernels instead of its vectors. */
  isa?: "generic";
  /** Number type of the key-value cache; by default `f16`. */
  cache_type?: "f16" | "f32" | "q8_0";
  /** Most tokens of prompt and answer together; by default the model's own limit, at most 8192. */
  context?: number;
  /** Fields of the configuration that are ignored although they are not known, as refusals name them. */
  allow_unknown?: string[];
}

/** How far loading is. */
export interface LoadProgress {
  /** `reading`: bytes of a file; `testing`: the GPU's kernels; `placing`: weights on the device. */
  stage: "reading" | "testing" | "placing";
  file: string;
  done: number;
  total: number;
}

/** Settings of an answer; what is not given is as the model has it. */
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
  /** 1 is off. */
  repeat_penalty?: number;
  /** Texts that end the answer. */
  stop?: string[];
  /** Goes on after the model's end tokens and stop texts. */
  ignore_eos?: boolean;
  /** Log-probabilities of each token and of this many of the most likely ones. */
  logprobs?: number;
  /** Takes texts of special tokens in messages for these tokens; by default they are text. */
  parse_special?: boolean;
}

/** One turn of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
  /** A model's thinking before its answer. */
  reasoning_content?: string;
}

/** What a model is and where it runs. */
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
  /** Most tokens of prompt and answer together here. */
  context: number;
  device: "cpu" | "gpu";
  /** The back end and its kernels. */
  description: string;
  /** Why it does not run on a better device. */
  fallback: string | null;
  /** Positions of a page of the key-value cache, and its bytes in all layers: how memory grows with a conversation. */
  page_positions: number;
  page_bytes: number;
  /** What the test of the GPU's kernels found; `demoted` names variants that are not used, and why. */
  tested: { key: string; demoted: string[]; trust: unknown } | null;
  chat_template: boolean;
  /** What the model's files leave open or contradict, and which reading was taken. */
  warnings: string[];
  load_seconds: number;
  /** The model's own settings. */
  generation: Required<
    Pick<GenerationSettings, "temperature" | "top_k" | "top_p" | "min_p" | "repeat_penalty" | "max_tokens" | "stop">
  >;
}

/** Bytes in use. */
export interface Memory {
  /** The wasm heap, which never shrinks. */
  wasm_heap: number;
  /** What the device holds; on the processor a part of the heap. */
  device: { weights: number; cache: number; scratch: number };
}

/** What happens while an answer is written. */
export interface AnswerEvent {
  /** Tokens of the prompt that are done, and all of them. */
  prefill?: [done: number, total: number];
  /** A token of the answer. */
  token?: number;
  /** Text that is final now. */
  text?: string;
  /** The model's thinking that is final now. */
  reasoning?: string;
}

/** What a model wrote. */
export interface Answer {
  text: string;
  reasoning_content?: string;
  token_ids: number[];
  finish_reason: "stop" | "length" | "context" | "cancelled";
  prompt_tokens: number;
  /** Those of them that an earlier answer had left in the cache. */
  cached_tokens: number;
  completion_tokens: number;
  prefill_tokens_per_second: number | null;
  /** Tokens a second after the first one. */
  decode_tokens_per_second: number | null;
  first_token_seconds: number | null;
  logprobs?: { id: number; logprob: number; top: [id: number, logprob: number][] }[];
}

/** One token of a measurement. */
export interface Sample {
  /** Its number, from 1. */
  token: number;
  /** Milliseconds since the token before (of the first: since the call). */
  milliseconds: number;
  memory: Memory;
  /** The page's JavaScript heap (`performance.memory`), where the browser tells. */
  js_heap: number | null;
}

/** A measurement of a model, for export. */
export interface Measurement {
  honelm: string;
  date: string;
  user_agent: string;
  model: ModelFacts;
  adapter: string | null;
  prompt_tokens: number;
  first_token_seconds: number | null;
  decode_tokens_per_second: number | null;
  prefill_tokens_per_second: number | null;
  before: Memory;
  samples: Sample[];
}

/** How a model is compared with itself on the processor in single precision. */
export interface CheckSettings {
  /** How the text is scored: `llama.cpp-N`, `gptq-N` or `hf-stride-N`, by default `llama.cpp-512`. */
  protocol?: string;
  /** Only the first so many chunks of the text. */
  chunks?: number;
}

/** How far a model is, on this device, from itself on the processor in single precision. */
export interface Check {
  chunks: number;
  tokens: number;
  perplexity: number;
  perplexity_stderr: number;
  base_perplexity: number;
  perplexity_difference: number;
  /** One-sided bounds; none below 30 chunks. */
  perplexity_difference_lower95: number | null;
  perplexity_difference_upper95: number | null;
  /** Mean KL(single precision || this device) in nats. */
  kl_divergence: number;
  kl_divergence_stderr: number | null;
  same_top_percent: number;
  /** Positions whose two largest logits are at least 0.1 apart, and those of them with another most likely token here. */
  clear_positions: number;
  clear_positions_changed: number;
}

/** Something that went wrong, with a stable code. */
export class HoneLMError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "HoneLMError";
  }

  /** Any thrown thing as one of ours. */
  static from(thrown: unknown): HoneLMError {
    if (thrown instanceof HoneLMError) return thrown;
    if (thrown instanceof Error) {
      const code = (thrown as Error & { code?: unknown }).code;
      return new HoneLMError(typeof code === "string" ? code : "internal", thrown.message);
    }
    return new HoneLMError("internal", String(thrown));
  }
}
