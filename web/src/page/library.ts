/** The models that can be chosen: on this server, in this browser, in a catalogue, on a server that runs them. */
import { HoneLMError, type Manifest, ModelStore, RemoteModel, type StoredModel, type StoreSource } from "../honelm";
import { type Catalogue, fetchCatalogue } from "./catalogue";
import type { Shape } from "./estimate";
import { type Remembered, recall } from "./preferences";
import type { Choice, Session } from "./session";
import { Signal } from "./signal";

/** A model that `honelm web` serves. */
export interface Served {
  name: string;
  url: string;
  bytes: number | null;
  shape: Shape | null;
  /** The address of its manifest, if its files are split. */
  manifest: string | null;
}

/** A download into the store. */
export interface Download {
  name: string;
  source: StoreSource;
  state: "running" | "paused" | "failed";
  stage: string;
  done: number;
  total: number | null;
  speed: number | null;
  secondsLeft: number | null;
  /** False if the server sends only whole files, so a pause begins again. */
  ranges: boolean;
  problem: string | null;
}

/** The library. */
export class Library {
  readonly served = new Signal<Served[]>([]);
  readonly stored = new Signal<StoredModel[]>([]);
  readonly catalogue = new Signal<Catalogue | { problem: string } | null>(null);
  /** The downloads that have not ended, by address. */
  readonly downloads = new Signal<Map<string, Download>>(new Map());
  /** The server that gave this page, if it runs models itself. */
  readonly remote = RemoteModel.ofPage();
  readonly #session: Session;
  readonly #aborts = new Map<string, AbortController>();
  #store: ModelStore | null = null;
  #opened: Promise<void> | null = null;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Looks for models. The store of this browser is opened here, or later in the page of a server. */
  async look(): Promise<void> {
    const address = new URLSearchParams(location.search).get("catalogue") ?? "catalogue.json";
    await Promise.all([this.#lookCatalogue(address), ...(this.remote ? [] : [this.#lookServed(), this.openStore()])]);
  }

  /** Opens the store of this browser, once. Resolves when its models are listed. */
  openStore(): Promise<void> {
    return (this.#opened ??= this.#open());
  }

  async #open(): Promise<void> {
    const { store } = this;
    const read = async (): Promise<void> => {
      try {
        this.stored.value = await store.list();
      } catch {
        // A browser without storage has no stored models.
        this.stored.value = [];
      }
    };
    store.onChange(() => void read());
    await read();
  }

  get store(): ModelStore {
    this.#store ??= new ModelStore();
    return this.#store;
  }

  /** Returns the model of an address, as it is read each time that it is loaded. */
  atAddress(name: string, url: string): Choice {
    return { name, source: { url }, again: { place: "address", url, name } };
  }

  /** Loads a model that this server offers. One whose files are split is stored first. */
  async loadServed({ name, url, manifest: address }: Served): Promise<void> {
    const stored = this.stored.value.find((model) => model.url === url && model.state === "complete");
    if (address !== null && stored) return void (await this.load(stored));
    if (address === null) return void (await this.#session.load(this.atAddress(name, url)));
    try {
      const answer = await fetch(address);
      if (!answer.ok) throw new HoneLMError("http-status", `${address}: the server answered ${answer.status}`);
      const manifest: Manifest = await answer.json().catch(() => {
        throw new HoneLMError("invalid-manifest", `${address}: found a text that is not JSON, expected the files of a model`);
      });
      await this.download({ url, name, manifest });
    } catch (thrown) {
      const { code, message } = HoneLMError.from(thrown);
      this.#session.failure.value = { name, code, message };
    }
  }

  /** Stores a model, or resumes storing it, and loads it. */
  async download(source: StoreSource & { name: string }): Promise<void> {
    const { url, name } = source;
    if (this.#aborts.has(url)) return;
    const abort = new AbortController();
    this.#aborts.set(url, abort);
    const entry: Download = {
      name, source, state: "running", stage: "downloading", done: 0, total: null, speed: null, secondsLeft: null, ranges: true, problem: null,
    };
    this.#set(url, entry);
    try {
      const stored = await this.store.download(source, ({ stage, done, total, bytes_per_second, seconds_left, ranges }) => {
        this.#set(url, { ...entry, stage, done, total, speed: bytes_per_second, secondsLeft: seconds_left, ranges });
      }, abort.signal);
      this.#set(url, null);
      await this.load(stored);
    } catch (thrown) {
      const { code, message } = HoneLMError.from(thrown);
      const before = this.downloads.value.get(url) ?? entry;
      if (code === "interrupted") this.#set(url, { ...before, state: "paused" });
      else this.#set(url, { ...before, state: "failed", problem: message });
    } finally {
      this.#aborts.delete(url);
    }
  }

  /** Pauses a download. What has arrived is kept. */
  pause(url: string): void {
    this.#aborts.get(url)?.abort();
  }

  /** Forgets a download that is paused or has failed. */
  forget(url: string): void {
    this.#set(url, null);
  }

  /** Loads a stored model. */
  async load({ id, name }: Pick<StoredModel, "id" | "name">): Promise<boolean> {
    const source = await this.store.source(id);
    return await this.#session.load({ name, source, again: { place: "store", id, name } });
  }

  /** Loads the model of the last visit, unless that needs a download. Returns true if it was tried. */
  async again(kept: Remembered | null = recall("model")): Promise<boolean> {
    if (kept?.place === "store") {
      await this.openStore();
      const found = this.stored.value.find(({ id, state }) => id === kept.id && state === "complete");
      if (found) await this.load(found);
      return found !== undefined;
    }
    if (kept?.place === "address" && new URL(kept.url, location.href).origin === location.origin) {
      await this.#session.load(this.atAddress(kept.name, kept.url));
      return true;
    }
    return false;
  }

  async #lookServed(): Promise<void> {
    try {
      const answer = await fetch("models.json");
      if (!answer.ok || !(answer.headers.get("content-type") ?? "").includes("json")) return;
      const { models } = (await answer.json()) as { models: { name: string; url: string; bytes?: number; manifest?: string }[] };
      const at = (address: string): string => new URL(address, document.baseURI).href;
      const served = models.map(({ name, url, bytes, manifest }) => ({
        name, url: at(url), bytes: bytes ?? null, shape: null, manifest: manifest === undefined ? null : at(manifest),
      }));
      this.served.value = served;
      this.served.value = await Promise.all(served.map(async (each) => ({ ...each, shape: await shapeOf(each.url) })));
    } catch {
      // A page on a server of files has no list of models.
    }
  }

  async #lookCatalogue(address: string): Promise<void> {
    try {
      this.catalogue.value = await fetchCatalogue(address);
    } catch (problem) {
      this.catalogue.value = { problem: problem instanceof Error ? problem.message : String(problem) };
    }
  }

  #set(url: string, download: Download | null): void {
    const next = new Map(this.downloads.value);
    if (download) next.set(url, download);
    else next.delete(url);
    this.downloads.value = next;
  }
}

/** Reads the numbers that determine the cache from a folder's configuration. */
async function shapeOf(url: string): Promise<Shape | null> {
  if (!url.endsWith("/")) return null;
  try {
    const config: Record<string, unknown> = await (await fetch(new URL("config.json", url))).json();
    const number = (name: string): number => (typeof config[name] === "number" ? config[name] : Number.NaN);
    const heads = number("num_attention_heads");
    const [layers, width] = [number("num_hidden_layers"), number("hidden_size")];
    const own = number("num_key_value_heads");
    const head = number("head_dim");
    const shape = { layers, key_value_heads: Number.isNaN(own) ? heads : own, head_width: Number.isNaN(head) ? width / heads : head };
    return Object.values(shape).every((value) => value > 0) ? shape : null;
  } catch {
    return null;
  }
}
