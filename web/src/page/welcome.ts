/** The empty conversation: how to begin. */
import { element, h } from "./dom";
import { bytes } from "./format";
import type { Hybrid } from "./hybrid";
import type { Session } from "./session";

const place = element("empty", HTMLElement);
const question = element("question", HTMLTextAreaElement);

/** First messages that any model can answer. */
const EXAMPLES = ["Tell me a story about the sea.", "Explain what a language model is.", "Write a haiku about autumn."];

/** A model that can be loaded with one click. */
export interface Offer {
  name: string;
  bytes: number | null;
  /** The place where it is: on this computer, in this browser, on the Hub. */
  place: string;
  load: () => void;
}

/** The text in place of messages. */
export class Welcome {
  readonly #session: Session;
  readonly #hybrid: Hybrid;
  readonly #server: string | null;
  readonly #pick: () => void;
  #offers: Offer[] = [];
  #shown = false;

  /** `pick` shows the models; `server` is the host of the server that runs models, if the page is its. */
  constructor(session: Session, hybrid: Hybrid, server: string | null, pick: () => void) {
    this.#session = session;
    this.#hybrid = hybrid;
    this.#server = server;
    this.#pick = pick;
    session.inUse.follow(() => this.#draw());
    hybrid.state.follow(() => this.#draw());
    session.loading.follow((now) => {
      // The progress has its own place above.
      if ((now === null) !== this.#waits) this.#draw();
    });
  }

  #waits = true;

  /** Shows the welcome, or hides it because there are messages. */
  show(shown: boolean): void {
    if (this.#shown === shown) return;
    this.#shown = shown;
    this.#draw();
  }

  /** Offers models. */
  offer(offers: Offer[]): void {
    this.#offers = offers.slice(0, 3);
    this.#draw();
  }

  #draw(): void {
    place.hidden = !this.#shown;
    const loading = this.#session.loading.value;
    this.#waits = loading === null;
    const inUse = this.#session.inUse.value;
    if (inUse) place.replaceChildren(...this.#ready());
    else if (loading) place.replaceChildren(h("h2", {}, `Loading ${loading.name}`), h("p", { class: "lead" }, "You can write your message meanwhile."));
    else place.replaceChildren(...this.#begin());
  }

  #begin(): HTMLElement[] {
    const offers = this.#offers.map(({ name, bytes: size, place, load }) =>
      h("button", { type: "button", class: "offer", onclick: load },
        h("strong", {}, name), h("span", {}, [place, ...(size === null ? [] : [bytes(size)])].join(" · "))));
    const [title, lead] = this.#server === null
      ? ["Talk to a model that runs on this device", this.#hybrid.state.value.stage === "on" ? "Each answer says where it was written and what left this tab." : "Once it is loaded, nothing that you write leaves this tab."]
      : [`Talk to a model on ${this.#server}`, "Messages are sent to this server, and nowhere else unless it says so."];
    return [
      h("h2", {}, title),
      h("p", { class: "lead" }, lead),
      h("div", { class: "offers" }, ...offers),
      h("button", { type: "button", class: offers.length === 0 ? "primary" : "", id: "see-models", onclick: this.#pick }, offers.length === 0 ? "Choose a model" : "See all models"),
    ];
  }

  #ready(): HTMLElement[] {
    const inUse = this.#session.inUse.value;
    if (!inUse) return [];
    const server = inUse.place === "server";
    const plain = inUse.place === "tab" && !inUse.facts.chat_template;
    const help = this.#hybrid.state.value;
    const lead = server
      ? `It runs on ${inUse.facts.device}; your messages are sent there.`
      : help.stage === "on"
      ? `It runs in this tab, with help from ${help.host}. Each answer says where it was written and what left.`
      : plain ? "It has no chat template, so it continues your text instead of answering." : "It runs in this tab. Nothing that you write leaves it.";
    const example = (text: string) => (): void => {
      question.value = text;
      question.dispatchEvent(new Event("input"));
      question.focus();
    };
    return [
      h("h2", {}, `${inUse.name} is ready`),
      h("p", { class: "lead" }, lead),
      h("div", { class: "examples" }, ...EXAMPLES.map((text) => h("button", { type: "button", class: "small", onclick: example(text) }, text))),
    ];
  }
}
