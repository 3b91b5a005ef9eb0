/** The view of models: the one in use, those that can be chosen, and those elsewhere. */
import { type ChatModelEntry, HoneLMError, type RemoteModel, type StoredModel } from "../honelm";
import { read } from "./address";
import { card } from "./card";
import { type Entry, expectedBytes, type EntryFile } from "./catalogue";
import { describe, element, h, icon } from "./dom";
import type { Device } from "./estimate";
import { bytes, count, seconds } from "./format";
import { type HubModel, list } from "./hub";
import type { Hybrid } from "./hybrid";
import { HybridPanel } from "./hybrid-panel";
import type { Library } from "./library";
import { recall } from "./preferences";
import type { Session } from "./session";
import { downloadOf, spaceLine, storedCard } from "./stored";

/** The largest number of files of a repository that are listed at first. */
const LISTED = 12;

/** The view. */
export class ModelsView {
  readonly #session: Session;
  readonly #library: Library;
  readonly #tell: (message: string, bad?: boolean) => void;
  #device: Device | null = null;
  /** The models of the page's server. */
  #entries: ChatModelEntry[] = [];
  readonly #facts = h("dl", { id: "facts", hidden: true });
  readonly #inUse = h("section", { class: "panel", "aria-labelledby": "in-use-title", hidden: true });
  readonly #downloads = h("ul", { class: "cards", id: "downloads", "aria-label": "Downloads" });
  readonly #stored = section("stored", "In this browser");
  readonly #served = section("served", "With this page");
  readonly #remote = section("remote", "On this server");
  readonly #catalogue = section("catalogue", "Catalogue");
  readonly #problem = h("p", { class: "notice bad", id: "address-error", role: "alert", hidden: true });
  readonly #found = h("div", { id: "hub", hidden: true });
  readonly #address = h("input", { id: "model-url", type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false", placeholder: "ORG/REPO, or https://…/model.gguf" });
  readonly #keep = h("input", { id: "keep", type: "checkbox", checked: true });
  /** The answers of the Hub about the catalogue's entries, by repository. */
  readonly #listed = new Map<string, HubModel | { problem: string } | "asking">();

  /** `tell` shows a message above the page. */
  constructor(session: Session, library: Library, hybrid: Hybrid, tell: (message: string, bad?: boolean) => void) {
    this.#session = session;
    this.#library = library;
    this.#tell = tell;
    const unload = h("button", { type: "button", class: "small", id: "unload", onclick: () => session.unload() }, "Unload");
    this.#inUse.append(h("div", { class: "row tight head" }, h("h2", { id: "in-use-title" }, "In use"), h("span", { class: "grow" }), unload), this.#facts);
    element("models", HTMLElement).append(
      this.#inUse, this.#downloads, this.#remote.place, this.#served.place, this.#stored.place, this.#elsewhere(),
      // A server's own gateway helps its models.
      ...(library.remote ? [] : [new HybridPanel(hybrid).place]), this.#catalogue.place, explained(),
    );
    session.inUse.follow(() => this.#draw());
    library.served.follow(() => this.#drawServed());
    library.stored.follow(() => this.#drawStored());
    library.catalogue.follow(() => this.#drawCatalogue());
    library.downloads.follow(() => this.#drawDownloads());
    void this.#lookRemote();
  }

  /** Shows estimates for this device. */
  device(device: Device): void {
    this.#device = device;
    this.#draw();
  }

  /** Loads files that the user chose. */
  open(files: File[]): void {
    if (files.length === 0) return;
    const name = files.length === 1 ? (files[0]?.name ?? "model") : (files[0]?.webkitRelativePath.split("/")[0] || "model folder");
    this.#address.value = "";
    void this.#session.load({ name, source: { files }, again: null });
  }

  #draw(): void {
    this.#drawFacts();
    this.#drawRemote();
    this.#drawServed();
    this.#drawStored();
    this.#drawCatalogue();
  }

  #drawFacts(): void {
    const inUse = this.#session.inUse.value;
    this.#inUse.hidden = inUse === null;
    if (!inUse) return describe(this.#facts, []);
    if (inUse.place === "server") {
      const { context, device, capabilities } = inUse.facts;
      return describe(this.#facts, [
        ["Name", inUse.name], ["Runs on", device],
        ...(context === null ? [] : [["Context", `${count(context)} tokens`] as [string, string]]),
        ...(capabilities.length === 0 ? [] : [["Abilities", capabilities.join(", ")] as [string, string]]),
      ]);
    }
    const { facts: found } = inUse;
    const rows: [string, string][] = [
      ["Name", found.name || "model"],
      ["Architecture", found.architecture],
      ["Parameters", count(found.parameters)],
      ["Context", `${count(found.context)} tokens`],
      ["Runs on", found.device === "gpu" ? `WebGPU: ${this.#device?.name ?? found.description}` : found.description],
    ];
    if (found.fallback !== null) rows.push(["Not on the GPU", found.fallback]);
    if (found.tested) rows.push(["Kernels", found.tested.demoted.join("; ") || "tested on this device"]);
    rows.push(["Loaded in", seconds(found.load_seconds)]);
    for (const warning of found.warnings) rows.push(["Note", warning]);
    describe(this.#facts, rows);
  }

  #drawServed(): void {
    this.#served.fill(this.#library.served.value.map((model) => card({
      ...model, source: "served with this page", current: this.#isCurrent(model.url),
      actions: [button("Load", () => void this.#library.loadServed(model))],
    }, this.#device)));
  }

  #isCurrent(url: string): boolean {
    return this.#session.inUse.value?.place === "tab" && this.#session.origin === url;
  }

  #drawStored(): void {
    const load = (model: StoredModel): void => void this.#library.load(model);
    const stored = this.#library.stored.value.filter(({ url }) => url === null || !this.#library.downloads.value.has(url));
    this.#stored.fill(stored.map((model) => storedCard(model, this.#session.origin === model.id, this.#library, this.#device, load, this.#tell)));
    if (stored.length > 0) void spaceLine(this.#library.store).then((line) => this.#stored.note(line));
  }

  #drawDownloads(): void {
    const { value } = this.#library.downloads;
    this.#downloads.hidden = value.size === 0;
    // The buttons of a download that goes on stay, so that the focus does.
    for (const child of [...this.#downloads.children]) if (!value.has((child as HTMLElement).dataset.url ?? "")) child.remove();
    for (const [url, download] of value) downloadOf(this.#downloads, url, download, this.#library);
  }

  /** Asks the page's server for its models, and uses one: that of the last visit, or the one that is loaded. */
  async #lookRemote(): Promise<void> {
    const { remote } = this.#library;
    if (!remote) return;
    if (remote.needsKey) return this.#askKey(remote, "This server asks for a key.");
    try {
      this.#entries = await remote.models();
      this.#remote.quiet();
      this.#drawRemote();
      const kept = recall("model");
      const again = kept?.place === "server" && this.#entries.some(({ id }) => id === kept.id) ? kept.id : null;
      if (this.#session.inUse.value === null) await this.#use(remote, again);
    } catch (thrown) {
      const { code, message } = HoneLMError.from(thrown);
      if (code === "unauthorized") this.#askKey(remote, message);
      else this.#remote.note(message, button("Try again", () => void this.#lookRemote()));
    }
  }

  #drawRemote(): void {
    const { remote } = this.#library;
    if (!remote) return;
    const { value } = this.#session.inUse;
    this.#remote.fill(this.#entries.map(({ id, bytes: size, loaded, context }) => card({
      name: id, bytes: null, current: value?.place === "server" && value.name === id,
      source: [
        new URL(remote.baseURL).host, ...(size === null ? [] : [bytes(size)]), ...(context === null ? [] : [`context ${count(context)}`]),
        ...(loaded === true ? ["loaded"] : []),
      ].join(" · "),
      actions: [button("Use", () => void this.#use(remote, id))],
    }, null)));
  }

  /** Uses a model of the page's server; null is the one that it has loaded. */
  async #use(remote: RemoteModel, id: string | null): Promise<void> {
    try {
      remote.model = id;
      await this.#session.connect(remote);
      remote.model = this.#session.inUse.value?.name ?? id;
    } catch (thrown) {
      this.#tell(HoneLMError.from(thrown).message, true);
    }
  }

  #askKey(remote: RemoteModel, message: string): void {
    const key = h("input", { id: "server-key", type: "password", autocomplete: "off", required: true });
    const form = h("form", { class: "row tight", onsubmit: (event: Event) => {
      event.preventDefault();
      remote.apiKey = key.value;
      void this.#lookRemote();
    } }, h("label", { for: "server-key" }, "Key"), key, h("button", { type: "submit", class: "primary" }, "Connect"));
    this.#remote.note(`${message} It is kept for this tab only.`, form);
  }

  #elsewhere(): HTMLElement {
    const chooser = h("input", { id: "model-file", class: "visually-hidden", type: "file", multiple: true, accept: ".gguf,.safetensors,.json,.model,.txt,.jinja,.tar" });
    chooser.addEventListener("change", () => {
      const files = [...(chooser.files ?? [])];
      chooser.value = "";
      this.open(files);
    });
    const form = h("form", { id: "load-form", class: "row", onsubmit: (event: Event) => {
      event.preventDefault();
      void this.#entered();
    } },
      h("label", { for: "model-url", class: "visually-hidden" }, "Repository or address"), this.#address,
      h("button", { type: "submit", class: "primary", id: "load" }, "Load"),
      h("label", { class: "button", for: "model-file" }, icon("file"), "Open a file …"), chooser);
    return h("section", { class: "panel", "aria-labelledby": "elsewhere-title" },
      h("h2", { id: "elsewhere-title" }, "From the Hub, an address or a file"), form,
      h("label", { class: "check" }, this.#keep, "Keep it in this browser, so that it loads without a connection"),
      this.#problem, this.#found,
      h("p", { class: "hint" }, "ORG/REPO lists the files of a repository on the Hugging Face Hub. A GGUF file, or a folder with config.json, safetensors (plain, GPTQ, AWQ) and tokenizer, can also be dropped on this page."));
  }

  /** Loads what was entered, or lists its files. */
  async #entered(): Promise<void> {
    const named = read(this.#address.value, document.baseURI);
    this.#problem.hidden = true;
    this.#found.hidden = true;
    if (named.kind === "wrong") return this.#wrong(named.problem);
    if (named.kind === "address") {
      const local = new URL(named.url).origin === location.origin;
      if (this.#keep.checked && !local) return void this.#library.download({ url: named.url, name: named.name });
      await this.#session.load(this.#library.atAddress(named.name, named.url));
      return;
    }
    this.#found.hidden = false;
    this.#found.replaceChildren(h("p", { class: "hint", role: "status" }, `Asking the Hugging Face Hub for ${named.repository} …`));
    try {
      const found = await list(named.repository, named.revision);
      this.#found.replaceChildren(h("h3", {}, named.repository), this.#files(found));
    } catch (problem) {
      this.#found.hidden = true;
      this.#wrong(problem instanceof Error ? problem.message : String(problem));
    }
  }

  #wrong(problem: string): void {
    this.#problem.textContent = problem;
    this.#problem.hidden = false;
    this.#address.focus();
  }

  /** Lists the files of a repository. */
  #files({ files, notes }: HubModel): HTMLElement {
    const rows = files.map(({ label, name, url, bytes: size, sha256 }) => card({
      name: label, source: name, bytes: size,
      notes: sha256 === null ? [] : [h("code", { class: "digest", title: sha256 }, `SHA-256 ${sha256.slice(0, 12)}…`)],
      actions: [button("Download", () => this.#download(url, name, sha256, size))],
    }, this.#device));
    const more = h("ul", { class: "cards dense" }, ...rows.slice(0, LISTED));
    const rest = rows.slice(LISTED);
    const all = rest.length > 0 && button(`Show ${rest.length} more`, () => {
      more.append(...rest);
      if (all) all.remove();
    });
    return h("div", {}, more, all, ...notes.map((note) => h("p", { class: "hint" }, note)));
  }

  #download(url: string, name: string, sha256: string | null, size: number | null): void {
    const single = !url.endsWith("/");
    const path = decodeURIComponent(new URL(url).pathname.split("/").at(-1) ?? "");
    const manifest = single && sha256 !== null && size !== null ? { manifest: { files: [{ path, bytes: size, sha256 }] } } : {};
    void this.#library.store.persist();
    void this.#library.download({ url, name, ...manifest });
    element("models", HTMLElement).scrollTo({ top: 0 });
  }

  #drawCatalogue(): void {
    const { value } = this.#library.catalogue;
    if (value === null) return;
    if ("problem" in value) {
      this.#catalogue.fill([]);
      return this.#catalogue.note(`The catalogue cannot be read: ${value.problem}`);
    }
    this.#catalogue.fill(value.models.map((entry) => this.#entry(entry)));
    if (value.problems.length > 0) this.#catalogue.note(`Left out because of mistakes in the catalogue: ${value.problems.join("; ")}`);
  }

  #entry(entry: Entry): HTMLElement {
    const size = expectedBytes(entry);
    const listed = entry.hub === null ? undefined : this.#listed.get(entry.hub);
    const actions = entry.files.map((file) => button(entry.files.length === 1 ? "Download" : file.label, () => this.#download(file.url, entry.name, file.sha256, file.bytes)));
    const { hub } = entry;
    if (hub !== null && listed === undefined) actions.push(button(entry.prefer === null ? "List its files" : `Download ${entry.prefer}`, () => void this.#offer(entry, hub)));
    const notes: (Node | string)[] = entry.files.flatMap(proofOf);
    if (listed === "asking") notes.push("Asking the Hugging Face Hub …");
    else if (listed && "problem" in listed) notes.push(listed.problem);
    else if (listed) notes.push(this.#files(listed));
    const about = [entry.publisher, entry.licence, ...(entry.parameters === null ? [] : [`${count(entry.parameters)} parameters`]), ...(entry.context === null ? [] : [`context ${count(entry.context)}`])];
    return card({
      name: entry.name, source: about.filter((part) => part !== "").join(" · "), summary: entry.summary, notes, actions,
      bytes: size?.bytes ?? null, about: size?.exact === false, shape: entry.shape,
    }, this.#device);
  }

  /** Asks the Hub for an entry's files, and downloads the preferred one, or lists them if there is none. */
  async #offer(entry: Entry, hub: string): Promise<void> {
    this.#listed.set(hub, "asking");
    this.#drawCatalogue();
    try {
      const found = await list(hub, "main");
      const preferred = found.files.find(({ label }) => label === entry.prefer);
      if (preferred) {
        this.#listed.delete(hub);
        this.#download(preferred.url, entry.name, preferred.sha256, preferred.bytes);
      } else this.#listed.set(hub, found);
    } catch (problem) {
      this.#listed.set(hub, { problem: problem instanceof Error ? problem.message : String(problem) });
    }
    this.#drawCatalogue();
  }
}

function button(label: string, onclick: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "small", onclick }, label);
}

/** Returns the proof of a file in words. */
function proofOf({ label, proof, sha256 }: EntryFile): HTMLElement[] {
  const digest = sha256 === null ? null : h("code", { class: "digest", title: sha256 }, `SHA-256 ${sha256.slice(0, 12)}…`);
  if (!proof) return digest ? [h("p", {}, digest)] : [];
  const { budget_percent, increase_percent_upper95, kl_divergence, report } = proof;
  return [h("p", { class: "proof" }, icon("done"),
    `${label}: perplexity at most ${increase_percent_upper95.toFixed(2)}% above the original (budget ${budget_percent}%), KL divergence ${kl_divergence.toPrecision(2)}. `,
    report !== null && h("a", { href: report, target: "_blank", rel: "noopener" }, "Report"), " ", digest)];
}

/** A section with a list of cards, hidden while it has neither cards nor a note. */
interface Section {
  place: HTMLElement;
  fill: (cards: HTMLElement[]) => void;
  /** Shows a note below the cards. */
  note: (text: string, ...more: HTMLElement[]) => void;
  /** Hides the note. */
  quiet: () => void;
}

function section(id: string, title: string): Section {
  const cards = h("ul", { class: "cards", id: `${id}-models` });
  const notes = h("div", { class: "hint", hidden: true });
  const place = h("section", { "aria-labelledby": `${id}-title`, hidden: true }, h("h2", { id: `${id}-title` }, title), cards, notes);
  const shown = (): void => { place.hidden = cards.childElementCount === 0 && notes.hidden; };
  return {
    place,
    fill: (made) => {
      // A list that is drawn again keeps the focus on the same button.
      const held = cards.contains(document.activeElement) ? [...cards.querySelectorAll("button")].indexOf(document.activeElement as HTMLButtonElement) : -1;
      cards.replaceChildren(...made);
      cards.querySelectorAll("button")[held]?.focus();
      shown();
    },
    note: (text, ...more) => {
      notes.replaceChildren(h("p", {}, text), ...more);
      notes.hidden = false;
      shown();
    },
    quiet: () => {
      notes.hidden = true;
      shown();
    },
  };
}

function explained(): HTMLElement {
  return h("details", { class: "hint" }, h("summary", {}, "How these figures are estimated"),
    h("p", {}, "The memory is the size of the file, since weights stay in their encoding, with the cache of 2,048 tokens of conversation where the model's shape is known, and a share for the program. It is compared with the memory that the browser tells, which is rounded and in some browsers never more than 8 GB. The speed comes from earlier answers on this device; before the first one, from the speed at which it read memory when this page was opened, which answers seldom reach. A model that does not fit is refused with a message before anything is changed."));
}
