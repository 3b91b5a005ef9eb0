/** The conversation that is shown: its messages, and the answer that is being written. */
import { type AnswerEvent, type ChatModel, HoneLMError } from "../honelm";
import type { Archive } from "./archive";
import { Composer } from "./composer";
import {
  add, begin, branch, characters, choose, type Conversation, isFull, leaveOut, messages, promptTokens, remove, seen, type Turn, versions,
} from "./conversation";
import { element, h, icon, say } from "./dom";
import { figures } from "./figures";
import { rate } from "./format";
import { type Actions, MessageView } from "./message";
import { recall, remember } from "./preferences";
import type { Hybrid } from "./hybrid";
import type { InUse, Session } from "./session";
import { settingsFor } from "./settings";
import { Signal } from "./signal";
import { Welcome } from "./welcome";

const scroller = element("scroller", HTMLElement);
const list = element("messages", HTMLOListElement);
const failure = element("chat-error", HTMLElement);
const full = element("full", HTMLElement);
const speed = element("speed", HTMLElement);
const note = element("chat-note", HTMLElement);
const toEnd = element("to-end", HTMLButtonElement);

/** The distance from the end of the list, in pixels, within which it follows the answer. */
const FOLLOW = 80;

/** The view of one conversation. */
export class ChatView {
  /** The conversation that is shown. Followed by the list of conversations. */
  readonly talk: Signal<Conversation>;
  readonly #session: Session;
  readonly #hybrid: Hybrid;
  readonly #archive: Archive;
  readonly #composer: Composer;
  readonly #views = new Map<string, MessageView>();
  readonly welcome: Welcome;
  /** The model that is writing. */
  #writing: ChatModel | null = null;
  /** Answers the question about the full context with no. */
  #refuse: () => void = () => {};
  /** True while the list follows its end. */
  #follows = true;
  /** Called while an answer is written, for the memory's curve. */
  onAnswer: (state: "writing" | "done") => void = () => {};

  constructor(session: Session, hybrid: Hybrid, archive: Archive, welcome: Welcome) {
    this.#session = session;
    this.#hybrid = hybrid;
    this.#archive = archive;
    this.welcome = welcome;
    this.talk = new Signal(begin(recall("system")));
    this.#composer = new Composer({
      send: (text, edited) => this.#ask(text, edited),
      stop: () => this.#stop(),
      last: () => branch(this.talk.value).findLast(({ role }) => role === "user") ?? null,
    });
    toEnd.append(icon("down"));
    toEnd.addEventListener("click", () => this.#scrollToEnd());
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#keepEnd()).observe(scroller);
    session.inUse.follow((inUse) => {
      if (!inUse) this.#writing?.abort();
      this.#update();
    });
    session.busy.follow(() => this.#update());
    this.talk.follow(() => this.#show());
  }

  /** Shows a conversation. An answer that is being written is stopped, and kept as far as it is. */
  open(talk: Conversation): void {
    if (talk.id === this.talk.value.id) return;
    this.#stop();
    this.#composer.leave();
    say(failure, undefined);
    full.hidden = true;
    speed.textContent = "";
    this.talk.value = talk;
    remember("conversation", talk.id);
    this.#scrollToEnd();
  }

  /** Begins a new conversation. */
  fresh(): void {
    this.open(begin(recall("system")));
    this.#composer.focus();
  }

  focus(): void {
    this.#composer.focus();
  }

  /** Changes the system prompt of this conversation. */
  system(text: string): void {
    this.talk.value.system = text;
    if (this.talk.value.turns.length > 0) this.#keep();
  }

  /** Stops the answer that is being written, or the question that it waits for. */
  #stop(): void {
    this.#refuse();
    this.#writing?.abort();
  }

  #update(): void {
    const ready = this.#session.inUse.value !== null;
    this.#composer.state(ready, this.#session.busy.value);
    scroller.setAttribute("aria-busy", String(this.#session.busy.value));
    for (const view of this.#views.values()) view.enable(ready && !this.#session.busy.value);
    this.welcome.show(this.talk.value.turns.length === 0);
  }

  /** Shows the branch of the conversation; views of messages that are still shown stay. */
  #show(): void {
    const talk = this.talk.value;
    const turns = branch(talk);
    const shown = new Set(turns.map(({ id }) => id));
    for (const [id, view] of this.#views) {
      if (shown.has(id)) continue;
      view.item.remove();
      this.#views.delete(id);
    }
    const first = seen(talk, turns)[0]?.id;
    list.replaceChildren(...turns.flatMap((turn, i) => [
      ...(i > 0 && turn.id === first ? [divider()] : []), this.#viewOf(talk, turn).item,
    ]));
    this.#update();
  }

  #viewOf(talk: Conversation, turn: Turn): MessageView {
    let view = this.#views.get(turn.id);
    if (!view) {
      view = new MessageView(turn, this.#actions(turn));
      this.#views.set(turn.id, view);
    }
    const all = versions(talk, turn);
    view.versions(all.indexOf(turn) + 1, all.length);
    return view;
  }

  #actions(turn: Turn): Actions {
    return {
      again: () => void this.#again(turn),
      edit: () => this.#composer.edit(turn),
      version: (step) => {
        const all = versions(this.talk.value, turn);
        const other = all[all.indexOf(turn) + step];
        if (!other || this.#session.busy.value) return;
        choose(this.talk.value, other);
        this.#keep();
        this.#show();
        this.#views.get(other.id)?.focusVersions(step);
      },
      remove: () => {
        if (this.#session.busy.value) return;
        remove(this.talk.value, turn);
        this.#keep();
        this.#show();
        this.#composer.focus();
      },
    };
  }

  /** Asks a question; `edited` is the message that it replaces. */
  async #ask(text: string, edited: Turn | null): Promise<void> {
    const inUse = this.#session.inUse.value;
    if (text.trim() === "" || !inUse || this.#session.busy.value) return;
    const talk = this.talk.value;
    const before = talk.leaf;
    const asked = add(talk, { role: "user", content: text }, edited ? edited.parent : talk.leaf);
    this.#composer.clear();
    this.#show();
    this.#scrollToEnd();
    // A reload while the model writes keeps the question.
    void this.#put(talk);
    const undo = (): void => {
      remove(talk, asked);
      talk.leaf = before;
      void this.#put(talk);
      if (this.talk.value !== talk) return;
      this.#composer.restore(text, edited);
      this.#show();
    };
    if (!(await this.#hasRoom(talk, inUse))) return undo();
    if (!(await this.#answer(talk, inUse))) undo();
  }

  /** Writes another answer to the message that `turn` answers. */
  async #again(turn: Turn): Promise<void> {
    const inUse = this.#session.inUse.value;
    if (!inUse || this.#session.busy.value) return;
    const talk = this.talk.value;
    const before = talk.leaf;
    talk.leaf = turn.parent;
    if (turn.ended === "context" && !(await this.#mayShift(talk, inUse))) {
      talk.leaf = before;
      return;
    }
    if (turn.ended === "context") leaveOut(talk);
    this.#show();
    if (!(await this.#answer(talk, inUse))) {
      talk.leaf = before;
      this.#show();
    }
  }

  /** Returns true if the context has room for an answer, after the oldest messages were left out if the user agrees. */
  async #hasRoom(talk: Conversation, inUse: InUse): Promise<boolean> {
    const context = contextOf(inUse);
    // A server may take what the model in this tab cannot.
    if (this.#hybrid.state.value.stage === "on" && inUse.place === "tab") return true;
    if (context === null || !isFull(talk, context, settingsFor(inUse))) return true;
    if (!(await this.#mayShift(talk, inUse))) return false;
    while (isFull(talk, context, settingsFor(inUse)) && leaveOut(talk));
    this.#show();
    return true;
  }

  /** Asks the user, once in a conversation, if the oldest messages may be left out. */
  async #mayShift(talk: Conversation, inUse: InUse): Promise<boolean> {
    if (talk.shift) return true;
    const context = contextOf(inUse);
    const tokens = promptTokens(talk);
    const size = context === null ? "what the model can read" : `the ${context.toLocaleString("en")} tokens that the model can read`;
    const agreed = await new Promise<boolean>((resolve) => {
      this.#refuse = () => resolve(false);
      const answer = (value: boolean) => (): void => resolve(value);
      const yes = h("button", { type: "button", class: "primary small", id: "full-shift", onclick: answer(true) }, "Leave out the oldest messages");
      full.replaceChildren(
        h("p", {}, h("strong", {}, "This conversation no longer fits. "),
          `It has grown beyond ${size}${tokens === null || context === null ? "" : ` (about ${tokens.toLocaleString("en")} with your message)`}. The messages stay here; the model just no longer sees the oldest ones.`),
        h("div", { class: "row tight" }, yes,
          h("button", { type: "button", class: "small", id: "full-keep", onclick: answer(false) }, "Do not send")),
      );
      full.hidden = false;
      yes.focus();
    });
    this.#refuse = () => {};
    full.hidden = true;
    if (agreed) talk.shift = true;
    this.#composer.focus();
    return agreed;
  }

  /** Lets the model answer the end of the branch. Returns false if there is no answer. */
  async #answer(talk: Conversation, inUse: InUse): Promise<boolean> {
    say(failure, undefined);
    const turn = add(talk, { role: "assistant", content: "", model: inUse.name });
    this.#show();
    const view = this.#viewOf(talk, turn);
    this.#keepEnd();
    const hearing = new Hearing(view, (text) => { speed.textContent = text; }, () => this.#keepEnd());
    let told: string | null = null;
    try {
      await this.#session.work(async () => {
        const model = inUse.place === "tab" ? this.#hybrid.over(inUse.model) : inUse.model;
        this.#writing = model;
        this.onAnswer("writing");
        note.textContent = "The model is writing.";
        for (;;) {
          const question = seen(talk, branch(talk, turn.parent));
          const list = messages(talk, question);
          try {
            const done = await model.chat(list, settingsFor(inUse, model !== inUse.model), (event) => hearing.hear(event));
            turn.content = done.text;
            if (done.reasoning_content !== undefined) turn.reasoning = done.reasoning_content;
            if (done.finish_reason !== "stop") turn.ended = done.finish_reason;
            if (done.model !== undefined) turn.model = done.model;
            if (done.route !== undefined) turn.route = done.route;
            turn.figures = { prompt_characters: characters(list), ...figuresOf(done) };
            speed.textContent = figures(turn.figures);
            return;
          } catch (thrown) {
            // The estimate of the prompt was too low.
            if (HoneLMError.from(thrown).code !== "prompt-too-long" || question.length < 2) throw thrown;
            if (!(await this.#mayShift(talk, inUse)) || !leaveOut(talk)) throw thrown;
          }
        }
      });
      note.textContent = "The answer is complete.";
      return true;
    } catch (thrown) {
      told = HoneLMError.from(thrown).message;
      return hearing.stopped(turn);
    } finally {
      this.#writing = null;
      hearing.end();
      if (told === null || turn.content !== "") view.done(turn);
      else remove(talk, turn);
      if (told !== null && this.talk.value === talk) {
        say(failure, told);
        note.textContent = "";
        speed.textContent = "";
      }
      talk.updated = Date.now();
      await this.#put(talk);
      if (this.talk.value === talk) this.#show();
      this.onAnswer("done");
      this.#keepEnd();
    }
  }

  #keep(): void {
    this.talk.value.updated = Date.now();
    void this.#put(this.talk.value);
  }

  async #put(talk: Conversation): Promise<void> {
    try {
      if (talk.turns.length > 0) await this.#archive.put(talk);
      else await this.#archive.delete(talk.id);
      remember("conversation", this.talk.value.id);
    } catch (thrown) {
      say(failure, `The conversation could not be kept: ${HoneLMError.from(thrown).message}. Export it, or free some space.`);
    }
    // The list of conversations follows.
    this.onKept();
  }

  /** Called after a conversation was kept. */
  onKept: () => void = () => {};

  #scrolled(): void {
    this.#follows = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < FOLLOW;
    toEnd.hidden = this.#follows;
  }

  /** Stays at the end of the list, unless the user has scrolled away from it. */
  #keepEnd(): void {
    if (this.#follows) scroller.scrollTop = scroller.scrollHeight;
  }

  #scrollToEnd(): void {
    this.#follows = true;
    toEnd.hidden = true;
    this.#keepEnd();
  }
}

/** The events of an answer, shown once per frame. */
class Hearing {
  readonly #view: MessageView;
  readonly #figures: (text: string) => void;
  readonly #shown: () => void;
  #text = "";
  #reasoning = "";
  #tokens = 0;
  #begin = 0;
  #frame = 0;

  constructor(view: MessageView, figures: (text: string) => void, shown: () => void) {
    this.#view = view;
    this.#figures = figures;
    this.#shown = shown;
    view.wait();
  }

  hear({ prefill, token, text, reasoning }: AnswerEvent): void {
    if (prefill && this.#tokens === 0) this.#figures(`reading ${prefill[1]} tokens … ${Math.round((100 * prefill[0]) / Math.max(1, prefill[1]))}%`);
    this.#text += text ?? "";
    this.#reasoning += reasoning ?? "";
    // A server sends texts instead of tokens.
    if (token !== undefined || text !== undefined || reasoning !== undefined) {
      if (this.#tokens === 0) this.#begin = performance.now();
      this.#tokens++;
      this.#frame ||= requestAnimationFrame(() => this.#draw());
    }
  }

  #draw(): void {
    this.#frame = 0;
    this.#view.show(this.#text, this.#reasoning);
    const elapsed = (performance.now() - this.#begin) / 1000;
    if (this.#tokens > 1 && elapsed > 0) this.#figures(`${this.#tokens} tokens · ${rate((this.#tokens - 1) / elapsed)}`);
    this.#shown();
  }

  /** Keeps what was heard of an answer that failed. Returns true if that is anything. */
  stopped(turn: Turn): boolean {
    turn.content = this.#text;
    if (this.#reasoning !== "") turn.reasoning = this.#reasoning;
    turn.ended = "cancelled";
    return this.#text !== "";
  }

  end(): void {
    cancelAnimationFrame(this.#frame);
  }
}

function figuresOf(done: Omit<NonNullable<Turn["figures"]>, "prompt_characters">): Omit<NonNullable<Turn["figures"]>, "prompt_characters"> {
  const { prompt_tokens, cached_tokens, completion_tokens, prefill_tokens_per_second, decode_tokens_per_second, first_token_seconds } = done;
  return { prompt_tokens, cached_tokens, completion_tokens, prefill_tokens_per_second, decode_tokens_per_second, first_token_seconds };
}

function contextOf({ facts }: InUse): number | null {
  return facts.context;
}

function divider(): HTMLElement {
  return h("li", { class: "divider" }, h("span", {}, "The model no longer sees the messages above"));
}
