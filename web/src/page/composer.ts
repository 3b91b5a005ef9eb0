/** The field for the user's messages. */
import type { Turn } from "./conversation";
import { element, icon } from "./dom";

const form = element("chat-form", HTMLFormElement);
const question = element("question", HTMLTextAreaElement);
const send = element("send", HTMLButtonElement);
const stop = element("stop", HTMLButtonElement);
const editing = element("editing", HTMLElement);
const cancel = element("edit-cancel", HTMLButtonElement);

/** The actions that the composer asks for. */
interface Wishes {
  /** Sends a message; `edited` is the one that it replaces. */
  send: (text: string, edited: Turn | null) => void;
  stop: () => void;
  /** Returns the user's last message. */
  last: () => Turn | null;
}

/** The composer, which stays at the bottom of the page. */
export class Composer {
  #edited: Turn | null = null;
  #ready = false;
  #busy = false;

  constructor({ send: ask, stop: end, last }: Wishes) {
    send.append(icon("send"));
    stop.append(icon("stop"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#ready && !this.#busy) ask(question.value.trim(), this.#edited);
    });
    question.addEventListener("input", () => this.#sized());
    question.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        form.requestSubmit();
      } else if (event.key === "ArrowUp" && question.value === "" && !this.#busy) {
        const turn = last();
        if (!turn) return;
        event.preventDefault();
        this.edit(turn);
      } else if (event.key === "Escape" && this.#edited && !this.#busy) {
        event.stopPropagation();
        this.leave();
      }
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#busy && !event.defaultPrevented) end();
    });
    stop.addEventListener("click", end);
    cancel.addEventListener("click", () => this.leave());
  }

  focus(): void {
    question.focus({ preventScroll: true });
  }

  /** Puts an earlier message into the field. */
  edit(turn: Turn): void {
    this.restore(turn.content, turn);
    this.focus();
  }

  /** Ends the editing of an earlier message. */
  leave(): void {
    if (this.#edited) this.restore("", null);
  }

  clear(): void {
    this.restore("", null);
  }

  /** Puts a text back into the field. */
  restore(text: string, edited: Turn | null): void {
    question.value = text;
    this.#edited = edited;
    editing.hidden = edited === null;
    this.#sized();
  }

  /** Shows if a model is there, and if it works. The focus stays in the field when a button disappears. */
  state(ready: boolean, busy: boolean): void {
    const held = document.activeElement === stop || document.activeElement === send;
    this.#ready = ready;
    this.#busy = busy;
    question.placeholder = ready ? "Write a message" : "Choose a model, then write a message";
    send.disabled = !ready || busy;
    send.hidden = busy;
    stop.hidden = !busy;
    if (held && busy) stop.focus();
    else if (held) this.focus();
  }

  #sized(): void {
    question.style.height = "auto";
    question.style.height = `${Math.min(question.scrollHeight, innerHeight * 0.4)}px`;
  }
}
