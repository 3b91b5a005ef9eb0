/** The list of conversations. */
import type { Archive } from "./archive";
import type { ChatView } from "./chat";
import { type Conversation, matches } from "./conversation";
import { download, element, h, icon, iconButton, say } from "./dom";
import { day } from "./format";
import { fromFile, toJson, toMarkdown } from "./transfer";

const list = element("history", HTMLOListElement);
const search = element("search", HTMLInputElement);
const empty = element("history-empty", HTMLElement);
const chooser = element("talks-file", HTMLInputElement);
const one = element("talk-export", HTMLButtonElement);

/** The list, with search, import and export. */
export class History {
  readonly #archive: Archive;
  readonly #chat: ChatView;
  readonly #tell: (message: string, bad?: boolean) => void;
  #talks: Conversation[] = [];

  /** `tell` shows a message above the page; `onOpen` is called when a conversation is chosen. */
  constructor(archive: Archive, chat: ChatView, tell: (message: string, bad?: boolean) => void, onOpen: () => void) {
    this.#archive = archive;
    this.#chat = chat;
    this.#tell = tell;
    this.#onOpen = onOpen;
    const fresh = element("new-talk", HTMLButtonElement);
    fresh.prepend(icon("plus"));
    fresh.addEventListener("click", () => {
      onOpen();
      chat.fresh();
    });
    search.addEventListener("input", () => this.#show());
    element("import-talks", HTMLButtonElement).addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      const files = [...(chooser.files ?? [])];
      chooser.value = "";
      void this.read(files);
    });
    element("export-talks", HTMLButtonElement).addEventListener("click", () => {
      download(`honelm-conversations-${today()}.json`, toJson(this.#talks), "application/json");
    });
    this.#exportOne();
    chat.onKept = () => void this.refresh();
    chat.talk.follow(() => this.#show());
  }

  readonly #onOpen: () => void;

  /** Reads the list again, and returns it. */
  async refresh(): Promise<Conversation[]> {
    try {
      this.#talks = await this.#archive.list();
    } catch (problem) {
      this.#tell(`The conversations cannot be read: ${problem instanceof Error ? problem.message : String(problem)}`, true);
    }
    this.#show();
    return this.#talks;
  }

  /** Imports conversations from files. */
  async read(files: File[]): Promise<void> {
    for (const file of files) {
      try {
        const read = await fromFile(file);
        for (const talk of read) await this.#archive.put(talk);
        this.#tell(`${file.name}: ${read.length === 1 ? "one conversation was" : `${read.length} conversations were`} imported.`);
        const first = read[0];
        if (first) this.#chat.open(first);
      } catch (problem) {
        this.#tell(problem instanceof Error ? problem.message : String(problem), true);
      }
    }
    await this.refresh();
  }

  #show(): void {
    const words = search.value.trim();
    const shown = this.#talks.filter((talk) => words === "" || matches(talk, words));
    const current = this.#chat.talk.value.id;
    let label = "";
    list.replaceChildren(...shown.flatMap((talk) => {
      const heading = day(talk.updated);
      const before = heading === label ? [] : [h("li", { class: "day" }, heading)];
      label = heading;
      return [...before, this.#entry(talk, talk.id === current)];
    }));
    say(empty, shown.length > 0 ? undefined : words === "" ? "Conversations are kept in this browser, and nowhere else." : "No conversation has these words.");
    one.disabled = this.#chat.talk.value.turns.length === 0;
  }

  #entry(talk: Conversation, current: boolean): HTMLElement {
    const open = h("button", { type: "button", class: "open", "aria-current": current ? "true" : undefined, title: talk.title }, talk.title || "Conversation");
    open.addEventListener("click", () => {
      this.#onOpen();
      if (!current) this.#chat.open(talk);
      this.#chat.focus();
    });
    const remove = iconButton("bin", `Delete “${talk.title || "Conversation"}”`, () => {
      // The second click deletes.
      if (!remove.classList.contains("sure")) {
        remove.classList.add("sure");
        remove.replaceChildren("Delete?");
        remove.addEventListener("blur", () => this.#show(), { once: true });
        return;
      }
      void this.#delete(talk);
    });
    return h("li", { class: current ? "talk current" : "talk" }, open, remove);
  }

  async #delete(talk: Conversation): Promise<void> {
    if (this.#chat.talk.value.id === talk.id) this.#chat.fresh();
    await this.#archive.delete(talk.id);
    await this.refresh();
    search.focus();
  }

  /** Sets up the export of the shown conversation. */
  #exportOne(): void {
    one.append(icon("save"));
    const menu = h("div", { id: "export-menu", class: "menu", role: "menu", hidden: true });
    const close = (): void => {
      menu.hidden = true;
      one.setAttribute("aria-expanded", "false");
    };
    const entry = (label: string, extension: string, type: string, write: (talk: Conversation) => string): HTMLElement =>
      h("button", { type: "button", role: "menuitem", onclick: () => {
        const talk = this.#chat.talk.value;
        download(`${fileName(talk.title)}.${extension}`, write(talk), type);
        close();
        one.focus();
      } }, label);
    menu.append(
      entry("As Markdown, to read", "md", "text/markdown", toMarkdown),
      entry("As JSON, to import again", "json", "application/json", (talk) => toJson([talk])),
    );
    one.after(menu);
    one.addEventListener("click", () => {
      if (!menu.hidden) return close();
      menu.hidden = false;
      one.setAttribute("aria-expanded", "true");
      menu.querySelector("button")?.focus();
    });
    menu.addEventListener("keydown", (event) => {
      const items = [...menu.querySelectorAll("button")];
      const at = items.indexOf(document.activeElement as HTMLButtonElement);
      if (event.key === "ArrowDown") items[(at + 1) % items.length]?.focus();
      else if (event.key === "ArrowUp") items[(at + items.length - 1) % items.length]?.focus();
      else if (event.key === "Escape") {
        close();
        one.focus();
      } else return;
      event.preventDefault();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !menu.contains(target) && !one.contains(target)) close();
    });
  }
}

/** Returns a title as the name of a file. */
function fileName(title: string): string {
  return title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "conversation";
}

function today(): string {
  return new Date().toISOString().slice(0, 10);
}
