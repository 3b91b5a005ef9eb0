/** The frame of the page: views, menu, theme, messages above the page, and what is dropped on it. */
import { element, h, icon, iconButton } from "./dom";
import { recall, remember } from "./preferences";

const VIEWS = { chat: "chat", models: "models", measure: "measure", device: "device-view" } as const;
export type View = keyof typeof VIEWS;

const side = element("side", HTMLElement);
const veil = element("veil", HTMLElement);
const menu = element("menu", HTMLButtonElement);
const notice = element("notice", HTMLElement);
const drop = element("drop", HTMLElement);

/** The frame. */
export class Shell {
  readonly #onShow: ((view: View) => void)[] = [];
  view: View = "chat";

  constructor() {
    for (const name of names()) {
      const tab = element(`tab-${name}`, HTMLButtonElement);
      tab.prepend(icon(name));
      tab.addEventListener("click", () => {
        this.show(name);
        this.closeMenu();
      });
    }
    this.#menu();
    this.#theme();
    this.#connection();
    element("search", HTMLInputElement).addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.closeMenu();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#openMenu();
      element("search", HTMLInputElement).focus();
    });
    addEventListener("hashchange", () => this.#fromAddress());
  }

  /** Shows the view that the page's address names. */
  start(): void {
    this.#fromAddress();
  }

  /** Shows a view. */
  show(view: View): void {
    this.view = view;
    for (const name of names()) {
      element(VIEWS[name], HTMLElement).hidden = name !== view;
      const tab = element(`tab-${name}`, HTMLButtonElement);
      if (name === view) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    const hash = view === "chat" ? "" : `#${view}`;
    if (location.hash !== hash) history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
    for (const listener of this.#onShow) listener(view);
  }

  /** Calls `listener` when a view is shown. */
  onShow(listener: (view: View) => void): void {
    this.#onShow.push(listener);
  }

  /** Shows a message above the page; one without a problem goes away by itself. */
  tell(message: string, bad = false): void {
    const close = iconButton("close", "Dismiss", () => { notice.hidden = true; });
    notice.replaceChildren(h("p", {}, message), close);
    notice.classList.toggle("bad", bad);
    notice.hidden = false;
    if (!bad) setTimeout(() => { if (notice.firstChild?.textContent === message) notice.hidden = true; }, 6000);
  }

  /** Shows a message above the page with something that can be done. */
  offer(message: string, label: string, action: () => void): void {
    notice.replaceChildren(h("p", {}, message), h("button", { type: "button", class: "small", onclick: action }, label));
    notice.classList.remove("bad");
    notice.hidden = false;
  }

  /** Calls `take` with files that are dropped on the page. */
  onDrop(take: (files: File[]) => void): void {
    let depth = 0;
    const isFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
    document.addEventListener("dragenter", (event) => {
      if (!isFiles(event)) return;
      depth++;
      drop.hidden = false;
    });
    document.addEventListener("dragleave", (event) => {
      if (isFiles(event) && --depth <= 0) drop.hidden = true;
    });
    document.addEventListener("dragover", (event) => {
      if (isFiles(event)) event.preventDefault();
    });
    document.addEventListener("drop", (event) => {
      if (!isFiles(event) || !event.dataTransfer) return;
      event.preventDefault();
      depth = 0;
      drop.hidden = true;
      void droppedFiles(event.dataTransfer).then(take, (problem) => this.tell(problem instanceof Error ? problem.message : String(problem), true));
    });
  }

  #fromAddress(): void {
    const asked = location.hash.slice(1);
    this.show(names().find((name) => name === asked) ?? "chat");
  }

  #menu(): void {
    menu.append(icon("menu"));
    menu.addEventListener("click", () => this.#openMenu());
    const close = element("menu-close", HTMLButtonElement);
    close.append(icon("close"));
    close.addEventListener("click", () => {
      this.closeMenu();
      menu.focus();
    });
    veil.addEventListener("click", () => this.closeMenu());
    side.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || veil.hidden) return;
      event.preventDefault();
      this.closeMenu();
      menu.focus();
    });
  }

  #openMenu(): void {
    // On a wide page the menu is always there.
    if (getComputedStyle(menu).display === "none") return;
    side.classList.add("open");
    veil.hidden = false;
    menu.setAttribute("aria-expanded", "true");
    element("menu-close", HTMLButtonElement).focus();
  }

  /** Closes the menu where it covers the page. */
  closeMenu(): void {
    side.classList.remove("open");
    veil.hidden = true;
    menu.setAttribute("aria-expanded", "false");
  }

  #theme(): void {
    const button = element("theme", HTMLButtonElement);
    button.append(icon("theme"));
    const order = ["auto", "light", "dark"] as const;
    const apply = (): void => {
      const theme = recall("theme");
      if (theme === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
      const name = `Colours: ${{ auto: "as the system", light: "light", dark: "dark" }[theme]}`;
      button.title = name;
      button.setAttribute("aria-label", name);
    };
    button.addEventListener("click", () => {
      remember("theme", order[(order.indexOf(recall("theme")) + 1) % order.length] ?? "auto");
      apply();
    });
    apply();
  }

  #connection(): void {
    const place = element("offline", HTMLElement);
    const show = (): void => {
      place.hidden = navigator.onLine;
      place.textContent = "There is no connection. The model that is loaded and those stored in this browser still work.";
    };
    addEventListener("online", show);
    addEventListener("offline", show);
    show();
  }
}

function names(): View[] {
  return Object.keys(VIEWS) as View[];
}

/** The largest number of files of a dropped folder. */
const FILES = 2000;

/** Returns dropped files; of a folder, the files at its top. */
async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  const folder = entries.find((entry): entry is FileSystemDirectoryEntry => entry.isDirectory);
  if (!folder) return [...transfer.files];
  const reader = folder.createReader();
  const found: FileSystemEntry[] = [];
  for (;;) {
    // A browser returns a folder's entries in parts.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    found.push(...part);
    if (part.length === 0) break;
    if (found.length > FILES) throw new Error(`${folder.name}: found more than ${FILES} files, expected the folder of a model`);
  }
  const files = found.filter((entry): entry is FileSystemFileEntry => entry.isFile);
  return await Promise.all(files.map((entry) => new Promise<File>((resolve, reject) => entry.file(resolve, reject))));
}
