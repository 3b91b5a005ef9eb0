/** `chat.completions` of OpenAI's API. */
import type { ChatModel } from "./chat";
import { messagesOf, settingsOf } from "./openai-request";
import { EventStream, inTurn } from "./openai-stream";
import type {
  ChatChoice, ChatCompletion, ChatCompletionChunk, ChatCompletionParams, ChatDelta, CompletionUsage, FinishReason, RequestOptions,
} from "./openai-types";
import { type Answer, type AnswerEvent, type GenerationSettings, HoneLMError, type Message, type TokenLogprob } from "./types";

/** The largest number of answers to a request. */
const MOST = 16;

/** The fields that the parts of a response have in common. */
interface Head {
  id: string;
  created: number;
  model: string;
}

/** A request, ready for the model. */
interface Prepared {
  head: Head;
  messages: Message[];
  /** The settings of each answer. */
  choices: GenerationSettings[];
  wantsLogprobs: boolean;
}

/** The answers of a model to conversations. */
export class Completions {
  readonly #model: ChatModel;

  constructor(model: ChatModel) {
    this.#model = model;
  }

  /** Answers a conversation: at once, or as a stream of chunks. */
  create(params: ChatCompletionParams & { stream: true }, options?: RequestOptions): Promise<EventStream<ChatCompletionChunk>>;
  create(params: ChatCompletionParams & { stream?: false | null }, options?: RequestOptions): Promise<ChatCompletion>;
  create(params: ChatCompletionParams, options?: RequestOptions): Promise<ChatCompletion | EventStream<ChatCompletionChunk>>;
  async create(params: ChatCompletionParams, options: RequestOptions = {}): Promise<ChatCompletion | EventStream<ChatCompletionChunk>> {
    const prepared = await this.#prepare(params);
    if (params.stream !== true) return this.#whole(prepared, options);
    const includeUsage = params.stream_options?.include_usage === true;
    return EventStream.start((push, signal) => this.#chunks(prepared, includeUsage, push, signal), options.signal);
  }

  async #prepare(params: ChatCompletionParams): Promise<Prepared> {
    const n = params.n ?? 1;
    if (!Number.isInteger(n) || n < 1 || n > MOST) throw new HoneLMError("invalid-argument", `n: found ${n}, expected 1 to ${MOST}`);
    const facts = await this.#model.facts();
    const settings = settingsOf(params, this.#model, facts);
    // A number of the answer makes answers of one seed different; a server needs another seed for that.
    const choice = (index: number): GenerationSettings => {
      if (index === 0) return settings;
      if (this.#model.place === "tab") return { ...settings, stream: index };
      return settings.seed === undefined ? settings : { ...settings, seed: settings.seed + index };
    };
    return {
      head: { id: identifier("chatcmpl-"), created: now(), model: settings.model ?? facts?.name ?? "" },
      messages: messagesOf(params.messages),
      choices: Array.from({ length: n }, (_, index) => choice(index)),
      wantsLogprobs: params.logprobs === true,
    };
  }

  #answer(messages: Message[], settings: GenerationSettings, signal: AbortSignal | null | undefined, hear: (event: AnswerEvent) => void): Promise<Answer> {
    return inTurn(this.#model, signal, () => this.#model.chat(messages, settings, hear));
  }

  async #whole({ head, messages, choices, wantsLogprobs }: Prepared, { signal }: RequestOptions): Promise<ChatCompletion> {
    const [found, answers]: [ChatChoice[], Answer[]] = [[], []];
    for (const [index, settings] of choices.entries()) {
      const logprobs: TokenLogprob[] = [];
      const answer = await this.#answer(messages, settings, signal, (event) => logprobs.push(...(event.logprobs ?? [])));
      if (signal?.aborted) throw new HoneLMError("interrupted", "the request was ended");
      const { text, reasoning_content, tool_calls } = answer;
      found.push({
        index,
        message: {
          role: "assistant",
          content: text === "" && tool_calls ? null : text,
          refusal: null,
          ...(reasoning_content === undefined ? {} : { reasoning_content }),
          ...(tool_calls === undefined ? {} : { tool_calls }),
        },
        logprobs: wantsLogprobs ? { content: logprobs, refusal: null } : null,
        finish_reason: reasonOf(answer),
      });
      answers.push(answer);
    }
    const route = answers.at(-1)?.route;
    return {
      ...head,
      model: answers[0]?.model ?? head.model,
      object: "chat.completion",
      choices: found,
      usage: usageOf(answers),
      ...(route === undefined ? {} : { honelm: route }),
    };
  }

  async #chunks(
    { head, messages, choices, wantsLogprobs }: Prepared, includeUsage: boolean, push: (chunk: ChatCompletionChunk) => void, signal: AbortSignal,
  ): Promise<void> {
    const answers: Answer[] = [];
    const chunk = (found: ChatCompletionChunk["choices"]): ChatCompletionChunk => ({
      ...head, object: "chat.completion.chunk", choices: found, ...(includeUsage ? { usage: null } : {}),
    });
    for (const [index, settings] of choices.entries()) {
      let begun = false;
      const delta = (delta: ChatDelta, tokens: TokenLogprob[] | undefined, finish: FinishReason | null): ChatCompletionChunk => {
        const role = begun ? {} : { role: "assistant" as const, content: "" };
        begun = true;
        const logprobs = wantsLogprobs && tokens ? { content: tokens, refusal: null } : null;
        return chunk([{ index, delta: { ...role, ...delta }, logprobs, finish_reason: finish }]);
      };
      const hear = (event: AnswerEvent): void => {
        const found = deltaOf(event);
        if (!begun || found || event.logprobs) push(delta(found ?? {}, event.logprobs, null));
      };
      const answer = await this.#answer(messages, settings, signal, hear);
      answers.push(answer);
      const route = answer.route;
      push({ ...delta({}, undefined, reasonOf(answer)), ...(route === undefined ? {} : { honelm: route }) });
    }
    if (includeUsage) push({ ...chunk([]), usage: usageOf(answers) });
  }
}

/** Returns what an event adds to an answer; undefined if that is nothing. */
function deltaOf({ text, reasoning, calls }: AnswerEvent): ChatDelta | undefined {
  if (text === undefined && reasoning === undefined && calls === undefined) return undefined;
  return {
    ...(text === undefined ? {} : { content: text }),
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(calls === undefined
      ? {}
      : {
          tool_calls: calls.map(({ index, id, name, arguments: part }) => ({
            index,
            ...(id === undefined ? {} : { id, type: "function" as const }),
            function: { ...(name === undefined ? {} : { name }), arguments: part ?? "" },
          })),
        }),
  };
}

/** Returns the reason for the end of an answer. */
export function reasonOf({ finish_reason, tool_calls }: Answer): FinishReason {
  if (finish_reason === "length" || finish_reason === "context") return "length";
  return tool_calls && tool_calls.length > 0 ? "tool_calls" : "stop";
}

/** Returns the numbers of tokens of answers to one prompt, which counts once. */
export function usageOf(answers: Answer[]): CompletionUsage {
  const prompt = answers[0]?.prompt_tokens ?? 0;
  const completion = answers.reduce((sum, answer) => sum + (answer.completion_tokens ?? 0), 0);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: answers[0]?.cached_tokens ?? 0 },
  };
}

/** Returns a new identifier. */
export function identifier(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the seconds since 1970. */
export function now(): number {
  return Math.floor(Date.now() / 1000);
}
