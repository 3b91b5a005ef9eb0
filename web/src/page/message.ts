/** A message on the page, with what can be done with it. */
import type { Turn } from "./conversation";
import { h, icon, iconButton } from "./dom";
import { figures } from "./figures";
import { copied, Rendered } from "./markdown";
import { routed } from "./route";

/** The actions of the buttons of a message. */
export interface Actions {
  again: () => void;
  edit: () => void;
  /** Shows the version before (-1) or after (1) this one. */
  version: (step: -1 | 1) => void;
  remove: () => void;
}

const ENDED = {
  length: "The answer reached the token limit of the settings.",
  context: "The context is full, so the answer was cut off.",
  cancelled: "Stopped.",
  tool_calls: "The model called a tool, which this page does not have.",
};

/** The view of a message. */
export class MessageView {
  readonly item: HTMLLIElement;
  readonly #name: HTMLElement;
  readonly #text = h("div", { class: "text" });
  readonly #rendered: Rendered | null;
  readonly #thought = h("details", { class: "thought", hidden: true });
  readonly #thoughtText = h("div");
  readonly #thoughtTitle = h("summary");
  readonly #notes = h("div", { class: "notes" });
  readonly #again: HTMLButtonElement | null;
  readonly #changing: HTMLButtonElement[] = [];
  readonly #versions: HTMLElement;
  readonly #count = h("span");
  readonly #actions: Actions;
  #content: string;

  constructor(turn: Turn, actions: Actions) {
    this.#actions = actions;
    this.#content = turn.content;
    const mine = turn.role === "user";
    this.#rendered = mine ? null : new Rendered(this.#text);
    this.#thought.append(this.#thoughtTitle, this.#thoughtText);
    const copy = iconButton("copy", "Copy", () => void copied(copy, this.#content));
    const change = mine ? iconButton("edit", "Edit", actions.edit) : iconButton("again", "Write again", actions.again);
    const remove = iconButton("bin", mine ? "Delete this message and what follows" : "Delete this answer", actions.remove);
    this.#again = mine ? null : change;
    const before = iconButton("left", "Previous version", () => actions.version(-1));
    const after = iconButton("right", "Next version", () => actions.version(1));
    this.#versions = h("span", { class: "versions", role: "group", "aria-label": "Versions", hidden: true }, before, this.#count, after);
    this.#changing = [change, remove, before, after];
    const tools = h("div", { class: "tools" }, copy, change, remove, this.#versions);
    this.#name = h("span", { class: mine ? "visually-hidden" : "name" }, mine ? "You" : "Assistant");
    this.item = h("li", { class: turn.role }, this.#name, !mine && this.#thought, this.#text, this.#notes, tools);
    if (mine) this.#text.textContent = turn.content;
    else this.done(turn);
  }

  /** Shows that nothing was heard yet. */
  wait(): void {
    this.item.classList.add("waiting");
    this.#text.replaceChildren();
  }

  /** Shows an answer that is being written. */
  show(text: string, reasoning: string): void {
    this.item.classList.remove("waiting");
    this.#content = text;
    this.#reasoning(reasoning, text === "");
    this.#rendered?.show(text);
  }

  /** Shows a complete answer. */
  done(turn: Turn): void {
    // Another model than the one that was asked may have answered.
    this.#name.textContent = turn.model ?? "Assistant";
    this.show(turn.content, turn.reasoning ?? "");
    this.#reasoning(turn.reasoning ?? "", false);
    const notes: HTMLElement[] = [];
    if (turn.ended) notes.push(h("p", { class: "note" }, ENDED[turn.ended]));
    if (turn.ended === "context") {
      notes.push(h("button", { type: "button", class: "small", onclick: this.#actions.again }, "Write it again without the oldest messages"));
    }
    if (turn.route) notes.push(routed(turn.route));
    this.#notes.replaceChildren(...notes);
    if (turn.figures) this.#again?.setAttribute("title", `Write again (${figures(turn.figures)})`);
  }

  /** Shows which of how many versions this is. */
  versions(number: number, count: number): void {
    this.#versions.hidden = count < 2;
    this.#count.textContent = `${number} / ${count}`;
    const [before, after] = this.#changing.slice(2);
    before?.classList.toggle("at-end", number === 1);
    after?.classList.toggle("at-end", number === count);
  }

  /** Focuses the button that was used to come to this version. */
  focusVersions(step: -1 | 1): void {
    this.#changing[step < 0 ? 2 : 3]?.focus();
  }

  /** Allows what needs the model, or not. */
  enable(idle: boolean): void {
    for (const button of this.#changing) button.disabled = !idle;
  }

  #reasoning(text: string, thinking: boolean): void {
    this.#thought.hidden = text.trim() === "";
    this.#thoughtTitle.replaceChildren(thinking ? "Thinking …" : "Thoughts", icon("down"));
    this.#thought.classList.toggle("thinking", thinking);
    this.#thoughtText.textContent = text.trim();
  }
}
