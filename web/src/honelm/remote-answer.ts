/** An answer from a server, collected from the chunks of OpenAI's chat completions. */
import type { Route } from "./chat";
import { type Answer, type AnswerEvent, type CallPart, HoneLMError, type TokenLogprob, type ToolCall } from "./types";

type Fields = Record<string, unknown>;

/** Collects the chunks of an answer, and tells each as an event. */
export class AnswerReader {
  readonly #tell: (event: AnswerEvent) => void;
  readonly #begin = performance.now();
  #first: number | undefined;
  #last = 0;
  #text = "";
  #reasoning = "";
  readonly #calls: ToolCall[] = [];
  #finish: string | undefined;
  #usage: Fields = {};
  #model: string | undefined;
  #route: Route | undefined;

  constructor(tell: (event: AnswerEvent) => void) {
    this.#tell = tell;
  }

  /** True if the server said why the answer ended. */
  get isFinished(): boolean {
    return this.#finish !== undefined;
  }

  /** Adds the data of an event. Throws an error that the server sent in place of a chunk. */
  add(data: string): void {
    let chunk: Fields;
    try {
      chunk = fields(JSON.parse(data));
    } catch {
      throw new HoneLMError("invalid-response", `the server sent an event that is not JSON: ${data.slice(0, 80)}`);
    }
    this.#chunk(chunk, "delta");
  }

  /** Reads an answer that was not streamed. */
  whole(response: unknown): Answer {
    const { choices } = fields(response);
    if (!Array.isArray(choices) && fields(response).error === undefined) {
      throw new HoneLMError("invalid-response", "found no answer in the response, expected chat completions of OpenAI's API");
    }
    this.#chunk(fields(response), "message");
    return this.answer();
  }

  /** Returns the answer so far. */
  answer(finish?: "cancelled"): Answer {
    const count = (value: unknown): number | null => (typeof value === "number" ? value : null);
    const { prompt_tokens, completion_tokens, prompt_tokens_details } = this.#usage;
    const tokens = count(completion_tokens);
    const seconds = (this.#last - (this.#first ?? 0)) / 1000;
    return {
      text: this.#text,
      ...(this.#reasoning === "" ? {} : { reasoning_content: this.#reasoning }),
      ...(this.#calls.length === 0 ? {} : { tool_calls: this.#calls }),
      token_ids: [],
      finish_reason: finish ?? reason(this.#finish),
      prompt_tokens: count(prompt_tokens),
      cached_tokens: count(fields(prompt_tokens_details).cached_tokens),
      completion_tokens: tokens,
      prefill_tokens_per_second: null,
      decode_tokens_per_second: tokens !== null && tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null,
      first_token_seconds: this.#first === undefined ? null : (this.#first - this.#begin) / 1000,
      ...(this.#model === undefined ? {} : { model: this.#model }),
      ...(this.#route === undefined ? {} : { route: this.#route }),
    };
  }

  #chunk(chunk: Fields, part: "delta" | "message"): void {
    if (chunk.error !== undefined && chunk.error !== null) throw problem(chunk.error);
    if (typeof chunk.model === "string") this.#model = chunk.model;
    if (typeof chunk.usage === "object" && chunk.usage !== null) this.#usage = fields(chunk.usage);
    const event: AnswerEvent = {};
    const choice = fields(Array.isArray(chunk.choices) ? chunk.choices[0] : undefined);
    if (typeof choice.finish_reason === "string") this.#finish = choice.finish_reason;
    this.#delta(fields(choice[part]), event);
    const tokens = fields(choice.logprobs).content;
    if (Array.isArray(tokens) && tokens.length > 0) event.logprobs = tokens as TokenLogprob[];
    const route = routeOf(chunk.honelm);
    if (route) this.#route = event.route = route;
    if (Object.keys(event).length > 0) this.#tell(event);
  }

  #delta(delta: Fields, event: AnswerEvent): void {
    const { content, reasoning_content, reasoning, tool_calls } = delta;
    if (typeof content === "string" && content !== "") this.#text += event.text = content;
    // Servers name the reasoning in one of two ways.
    const thought = reasoning_content ?? reasoning;
    if (typeof thought === "string" && thought !== "") this.#reasoning += event.reasoning = thought;
    if (Array.isArray(tool_calls) && tool_calls.length > 0) event.calls = tool_calls.map((call, i) => this.#call(fields(call), i));
    if (Object.keys(event).length === 0) return;
    this.#last = performance.now();
    this.#first ??= this.#last;
  }

  /** Adds a part of a call. */
  #call(part: Fields, position: number): CallPart {
    const index = typeof part.index === "number" && part.index >= 0 && part.index <= this.#calls.length ? part.index : position;
    const { name, arguments: text } = fields(part.function);
    const call = (this.#calls[index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
    const found: CallPart = { index };
    if (typeof part.id === "string") call.id = found.id = part.id;
    if (typeof name === "string") call.function.name = found.name = name;
    if (typeof text === "string") call.function.arguments += found.arguments = text;
    return found;
  }
}

/** Returns the error that a server sent. */
function problem(error: unknown): HoneLMError {
  if (typeof error === "string") return new HoneLMError("server", error);
  const { code, message } = fields(error);
  return new HoneLMError(typeof code === "string" ? code : "server", typeof message === "string" ? message : "the server failed");
}

function reason(finish: string | undefined): Answer["finish_reason"] {
  return finish === "length" || finish === "tool_calls" ? finish : "stop";
}

/** Reads the object `honelm` of a gateway. */
function routeOf(value: unknown): Route | undefined {
  const { route, reason, detail, degraded, continued, upstream, cost, saved, currency, replaced, model } = fields(value);
  if (route !== "local" && route !== "cloud") return undefined;
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  const number = (value: unknown): number => (typeof value === "number" ? value : 0);
  const counts = Object.entries(fields(replaced)).filter((entry): entry is [string, number] => typeof entry[1] === "number");
  const { name } = fields(model);
  return {
    route,
    reason: text(reason),
    detail: text(detail),
    degraded: degraded === true,
    continued: continued === true,
    upstream: typeof upstream === "string" ? upstream : null,
    cost: number(cost),
    saved: number(saved),
    currency: text(currency),
    replaced: Object.fromEntries(counts),
    model: typeof name === "string" ? name : null,
  };
}

function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}
