/** The events of a response, from those of its answer. */
import { identifier } from "./openai-chat";
import { type ItemLogprob, type OutputItem, type OutputText, type ResponseEvent, type ResponseObject, type Status, itemLogprobs } from "./openai-responses-types";
import type { Answer, AnswerEvent, CallPart } from "./types";

type Without<T> = T extends unknown ? Omit<T, "sequence_number"> : never;
type Unnumbered = Without<ResponseEvent>;

/** The item that is being written. */
type Open =
  | { kind: "text"; id: string; text: string; logprobs: ItemLogprob[] }
  | { kind: "reasoning"; id: string; text: string }
  | { kind: "call"; id: string; call_id: string; name: string; arguments: string; index: number };

/** The writer of a response. */
export class ResponseWriter {
  readonly response: ResponseObject;
  readonly #push: (event: ResponseEvent) => void;
  #next = 0;
  #open: Open | undefined;
  /** The log-probabilities of tokens whose text has not come yet. */
  #waiting: ItemLogprob[] = [];
  #reasoned = 0;

  constructor(response: ResponseObject, push: (event: ResponseEvent) => void) {
    this.response = response;
    this.#push = push;
    this.#send({ type: "response.created", response: structuredClone(response) });
    this.#send({ type: "response.in_progress", response: structuredClone(response) });
  }

  /** Adds an event of the answer. */
  hear({ token, reasoning, text, calls, logprobs }: AnswerEvent): void {
    if (reasoning !== undefined && token !== undefined) this.#reasoned++;
    if (reasoning !== undefined) this.#reasoning(reasoning);
    if (logprobs) this.#waiting.push(...itemLogprobs(logprobs));
    if (text !== undefined) this.#text(text);
    for (const call of calls ?? []) this.#call(call);
  }

  /** Ends the response, and returns it. */
  end({ finish_reason, prompt_tokens, cached_tokens, completion_tokens, model }: Answer): ResponseObject {
    const isWhole = finish_reason === "stop" || finish_reason === "tool_calls";
    const status = isWhole ? "completed" : "incomplete";
    this.#close(status);
    const { response } = this;
    const [input, output] = [prompt_tokens ?? 0, completion_tokens ?? 0];
    response.status = status;
    response.model = model ?? response.model;
    response.incomplete_details = isWhole ? null : { reason: "max_output_tokens" };
    response.usage = {
      input_tokens: input,
      input_tokens_details: { cached_tokens: cached_tokens ?? 0, cache_write_tokens: 0 },
      output_tokens: output,
      output_tokens_details: { reasoning_tokens: this.#reasoned },
      total_tokens: input + output,
    };
    this.#send({ type: isWhole ? "response.completed" : "response.incomplete", response: structuredClone(response) });
    return response;
  }

  #send(event: Unnumbered): void {
    this.#push({ ...event, sequence_number: this.#next++ } as ResponseEvent);
  }

  get #place(): { output_index: number; content_index: number } {
    return { output_index: this.response.output.length, content_index: 0 };
  }

  #begin(open: Open): void {
    this.#close("completed");
    this.#open = open;
    this.#send({ type: "response.output_item.added", output_index: this.#place.output_index, item: item(open, "in_progress") });
    const part = partOf(open, true);
    if (part) this.#send({ type: "response.content_part.added", item_id: open.id, ...this.#place, part });
  }

  #text(delta: string): void {
    if (this.#open?.kind !== "text") this.#begin({ kind: "text", id: identifier("msg_"), text: "", logprobs: [] });
    if (this.#open?.kind !== "text") return;
    const logprobs = this.#waiting.splice(0);
    this.#open.text += delta;
    this.#open.logprobs.push(...logprobs);
    this.#send({ type: "response.output_text.delta", item_id: this.#open.id, ...this.#place, delta, logprobs });
  }

  #reasoning(delta: string): void {
    this.#waiting = [];
    if (this.#open?.kind !== "reasoning") this.#begin({ kind: "reasoning", id: identifier("rs_"), text: "" });
    if (this.#open?.kind !== "reasoning") return;
    this.#open.text += delta;
    this.#send({ type: "response.reasoning_text.delta", item_id: this.#open.id, ...this.#place, delta });
  }

  #call({ index, id, name, arguments: delta }: CallPart): void {
    this.#waiting = [];
    if (this.#open?.kind !== "call" || this.#open.index !== index) {
      this.#begin({ kind: "call", id: identifier("fc_"), call_id: id ?? identifier("call_"), name: name ?? "", arguments: "", index });
    }
    if (this.#open?.kind !== "call" || delta === undefined || delta === "") return;
    this.#open.arguments += delta;
    const { output_index } = this.#place;
    this.#send({ type: "response.function_call_arguments.delta", item_id: this.#open.id, output_index, delta });
  }

  /** Ends the item that is being written, if there is one. */
  #close(status: Status): void {
    const open = this.#open;
    if (!open) return;
    this.#open = undefined;
    const { output_index } = this.#place;
    const place = { item_id: open.id, ...this.#place };
    if (open.kind === "text") {
      open.logprobs.push(...this.#waiting.splice(0));
      this.#send({ type: "response.output_text.done", ...place, text: open.text, logprobs: open.logprobs });
    } else if (open.kind === "reasoning") {
      this.#send({ type: "response.reasoning_text.done", ...place, text: open.text });
    } else {
      const { id, name, arguments: text } = open;
      this.#send({ type: "response.function_call_arguments.done", item_id: id, output_index, name, arguments: text });
    }
    const part = partOf(open, false);
    if (part) this.#send({ type: "response.content_part.done", ...place, part });
    const done = item(open, status);
    this.#send({ type: "response.output_item.done", output_index, item: done });
    this.response.output.push(done);
    if (open.kind === "text") this.response.output_text += open.text;
  }
}

/** Returns the part of an item with a text, empty at its beginning. */
function partOf(open: Open, isNew: boolean): OutputText | { type: "reasoning_text"; text: string } | undefined {
  if (open.kind === "call") return undefined;
  const text = isNew ? "" : open.text;
  if (open.kind === "reasoning") return { type: "reasoning_text", text };
  return { type: "output_text", text, annotations: [], logprobs: isNew ? [] : open.logprobs };
}

/** Returns an item in a state. */
function item(open: Open, status: Status): OutputItem {
  const isNew = status === "in_progress";
  const { id } = open;
  if (open.kind === "call") {
    const { call_id, name, arguments: text } = open;
    return { type: "function_call", id, call_id, name, arguments: text, status };
  }
  if (open.kind === "reasoning") {
    return { type: "reasoning", id, status, summary: [], content: isNew ? [] : [{ type: "reasoning_text", text: open.text }] };
  }
  const { text, logprobs } = open;
  return { type: "message", id, role: "assistant", status, content: isNew ? [] : [{ type: "output_text", text, annotations: [], logprobs }] };
}
