/** The conversation. */
import { type Answer, type AnswerEvent, type GenerationSettings, HoneLM, HoneLMError, type Message, type ModelFacts } from "../honelm";
import type { Busy } from "./busy";
import { element, make, say } from "./dom";
import { rate, seconds } from "./format";

const list = element("messages", HTMLOListElement);
const empty = element("empty", HTMLElement);
const failure = element("chat-error", HTMLElement);
const speed = element("speed", HTMLElement);
const form = element("chat-form", HTMLFormElement);
const question = element("question", HTMLTextAreaElement);
const send = element("send", HTMLButtonElement);
const stop = element("stop", HTMLButtonElement);
const clear = element("clear", HTMLButtonElement);

const FIELDS = ["temperature", "top_k", "top_p", "min_p", "repeat_penalty", "max_tokens"] as const;

/** The view of a conversation. */
export class ChatView {
  readonly #honelm: HoneLM;
  readonly #busy: Busy;
  #messages: Message[] = [];
  #ready = false;

  constructor(honelm: HoneLM, busy: Busy) {
    this.#honelm = honelm;
    this.#busy = busy;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask(question.value.trim());
    });
    question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    stop.addEventListener("click", () => honelm.abort());
    clear.addEventListener("click", () => this.#forget());
    busy.onChange(() => this.#update());
  }

  /** Starts a new conversation with a model, or waits for a model. */
  model(facts: ModelFacts | undefined): void {
    this.#ready = facts !== undefined;
    this.#forget();
    if (facts) {
      for (const name of FIELDS) element(name, HTMLInputElement).value = String(round(facts.generation[name]));
      const note = facts.chat_template ? "" : " It has no chat template, so it continues your text.";
      empty.textContent = `${facts.name || "The model"} is ready.${note}`;
      question.focus({ preventScroll: true });
    } else {
      empty.textContent = "Load a model to start a conversation.";
    }
  }

  #forget(): void {
    this.#messages = [];
    list.replaceChildren();
    empty.hidden = false;
    speed.textContent = "";
    say(failure, undefined);
    this.#update();
  }

  #update(): void {
    const idle = this.#ready && !this.#busy.value;
    question.disabled = !this.#ready;
    send.disabled = !idle;
    clear.disabled = !idle || this.#messages.length === 0;
  }

  async #ask(text: string): Promise<void> {
    if (text === "" || !this.#ready || this.#busy.value) return;
    say(failure, undefined);
    empty.hidden = true;
    question.value = "";
    const asked: Message = { role: "user", content: text };
    const mine = make("li", text, "user");
    const answer = new Bubble();
    list.append(mine, answer.item);
    answer.item.scrollIntoView({ block: "nearest" });
    stop.hidden = false;
    this.#busy.set(true);
    try {
      const done = await this.#honelm.chat([...this.#messages, asked], settings(), (event) => answer.hear(event));
      answer.end(done);
      const thought = done.reasoning_content === undefined ? {} : { reasoning_content: done.reasoning_content };
      this.#messages.push(asked, { role: "assistant", content: done.text, ...thought });
      speed.textContent = figures(done);
    } catch (error) {
      mine.remove();
      answer.item.remove();
      question.value = text;
      empty.hidden = this.#messages.length > 0;
      say(failure, HoneLMError.from(error).message);
    } finally {
      stop.hidden = true;
      this.#busy.set(false);
    }
  }
}

/** An answer that is being written. */
class Bubble {
  readonly item = make("li", "", "assistant");
  readonly #thought = make("div", "", "thought");
  readonly #text = make("span", "…");
  #tokens = 0;
  #begin = 0;

  constructor() {
    this.#thought.hidden = true;
    this.item.append(this.#thought, this.#text);
  }

  hear({ prefill, token, text, reasoning }: AnswerEvent): void {
    if (prefill) speed.textContent = `reading ${prefill[1]} tokens …`;
    if (reasoning !== undefined) {
      this.#thought.hidden = false;
      this.#thought.textContent += reasoning;
    }
    if (token === undefined && text === undefined) return;
    if (this.#tokens === 0) {
      this.#begin = performance.now();
      this.#text.textContent = "";
    }
    if (text !== undefined) this.#text.textContent += text;
    if (token !== undefined) this.#tokens++;
    const elapsed = (performance.now() - this.#begin) / 1000;
    if (this.#tokens > 1 && elapsed > 0) speed.textContent = `${this.#tokens} tokens, ${rate((this.#tokens - 1) / elapsed)}`;
    const below = this.item.getBoundingClientRect().bottom - innerHeight;
    if (below > 0 && below < 120) this.item.scrollIntoView({ block: "end" });
  }

  end(done: Answer): void {
    this.#text.textContent = done.text;
    const why = { stop: "", length: "stopped at the token limit", context: "the context is full", cancelled: "stopped" }[done.finish_reason];
    if (why !== "") this.item.append(make("span", why, "note"));
  }
}

/** Returns the figures of an answer in one line. */
function figures(done: Answer): string {
  const cached = done.cached_tokens > 0 ? ` (${done.cached_tokens} cached)` : "";
  const parts = [`prompt ${done.prompt_tokens} tokens${cached}`, `answer ${done.completion_tokens} tokens`];
  if (done.decode_tokens_per_second !== null) parts.push(rate(done.decode_tokens_per_second));
  if (done.first_token_seconds !== null) parts.push(`first token after ${seconds(done.first_token_seconds)}`);
  return parts.join(" · ");
}

/** Returns the settings in the form. */
function settings(): GenerationSettings {
  const chosen: GenerationSettings = { seed: Math.floor(Math.random() * 2 ** 32) };
  for (const name of [...FIELDS, "seed"] as const) {
    const value = element(name, HTMLInputElement).valueAsNumber;
    if (Number.isFinite(value)) chosen[name] = value;
  }
  return chosen;
}

/** Rounds a single-precision number to its significant digits. */
function round(value: number): number {
  return Number(value.toPrecision(6));
}
