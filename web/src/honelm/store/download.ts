/** The download of a model: which files it has, one after the other, and the publisher's hashes at the end. */
import { model_files, model_shards, StoreHash, StoreRecord } from "../../../pkg/honelm_web";
import { HoneLMError } from "../types";
import type { Backend } from "./backend";
import { FileFetch } from "./fetching";
import { Meter } from "./meter";
import { digest, Stored } from "./stored";
import type { DownloadProgress, ManifestFile, StoreSource } from "./types";

/** The address of a model. */
export interface Address {
  id: string;
  name: string;
  url: string;
  /** The name of the only file; undefined for a folder. */
  single: string | undefined;
}

/** Reads an address. The same address always gives the same id. */
export async function address({ url, name }: StoreSource): Promise<Address> {
  let base: URL;
  try {
    base = new URL(url, self.location.href);
  } catch {
    throw new HoneLMError("invalid-url", `${url}: not a valid address`);
  }
  if (base.protocol !== "http:" && base.protocol !== "https:") {
    throw new HoneLMError("invalid-url", `${url}: found ${base.protocol}, expected an address with http: or https:`);
  }
  base.hash = "";
  const last = decoded(base.pathname.split("/").pop() ?? "");
  const single = /\.(gguf|safetensors)$/i.test(last) ? last : undefined;
  if (single === undefined && !base.pathname.endsWith("/")) base.pathname += "/";
  const folder = decoded(base.pathname.split("/").at(-2) ?? "") || base.host;
  const id = (await digest(new TextEncoder().encode(base.href))).slice(0, 16);
  return { id, name: name ?? single?.replace(/\.gguf$/i, "") ?? folder, url: base.href, single };
}

/** Stores a model, or the rest of it. The caller must be the only writer. */
export async function download(
  backend: Backend, from: Address, manifest: ManifestFile[] | undefined, tell: (progress: DownloadProgress) => void, signal: AbortSignal,
): Promise<File[] | undefined> {
  const { id, name, url } = from;
  const create = (): StoreRecord => StoreRecord.create(JSON.stringify({ id, name, url, added: Date.now() }));
  const stored = await Stored.open(backend, id, create);
  try {
    if (!stored.record.complete()) await new Download(stored, from, manifest, new Meter(tell), signal).run();
  } catch (thrown) {
    const { stored: bytes } = stored.summary();
    await stored.close();
    // A mistyped address leaves nothing behind.
    if (bytes === 0) await backend.remove(id);
    throw thrown;
  }
  return await stored.close();
}

class Download {
  readonly #stored: Stored;
  readonly #from: Address;
  readonly #manifest: ManifestFile[] | undefined;
  readonly #meter: Meter;
  readonly #signal: AbortSignal;

  constructor(stored: Stored, from: Address, manifest: ManifestFile[] | undefined, meter: Meter, signal: AbortSignal) {
    this.#stored = stored;
    this.#from = from;
    this.#manifest = manifest;
    this.#meter = meter;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    this.#meter.expected = this.#manifest?.reduce((sum, { bytes }) => sum + bytes, 0) ?? 0;
    this.#meter.follow(this.#stored.summary(), null);
    if (this.#meter.expected > 0) await this.#stored.makeRoom(this.#meter.expected - this.#stored.summary().stored);
    if (this.#from.single !== undefined) await this.#required(this.#from.single);
    else if (this.#manifest) for (const { path } of this.#manifest) await this.#required(path);
    else await this.#folder();
    this.#stored.record.list();
    await this.#stored.commit();
    for (const file of this.#stored.files()) await this.#compare(file);
    this.#meter.tell();
  }

  /** Stores the files of a folder that nobody described: its configuration, its tokenizer, its weights. */
  async #folder(): Promise<void> {
    const names: { config: string; weights: string; index: string; vocabularies: string[]; others: string[] } = JSON.parse(model_files());
    await this.#required(names.config);
    for (const name of names.others) await this.#file(name);
    // The first vocabulary makes the others needless.
    const [first, ...rest] = names.vocabularies;
    if (first !== undefined && !(await this.#file(first))) for (const name of rest) await this.#file(name);
    if (await this.#file(names.weights)) return;
    await this.#required(names.index);
    const index = this.#stored.record.find(names.index) ?? 0;
    for (const shard of JSON.parse(model_shards(await this.#whole(index))) as string[]) await this.#required(shard);
  }

  async #required(path: string): Promise<void> {
    if (await this.#file(path)) return;
    throw new HoneLMError("file-not-found", `${this.#url(path)}: file not found`);
  }

  /** Stores a file. Returns false if the server has none of this name. */
  async #file(path: string): Promise<boolean> {
    this.#signal.throwIfAborted();
    const expected = this.#manifest?.find((file) => file.path === path);
    const fetch = new FileFetch(this.#stored, this.#url(path), path, expected, this.#meter, this.#signal);
    try {
      return await fetch.run();
    } catch (thrown) {
      // Many servers return their front page for every unknown address.
      const page = thrown instanceof HoneLMError && thrown.code === "html-page";
      if (page && this.#from.single === undefined && path !== "config.json") return false;
      throw thrown;
    }
  }

  #url(path: string): string {
    return fileUrl(this.#from, path);
  }

  /** Reads a stored file. */
  async #whole(file: number): Promise<Uint8Array> {
    const { bytes, extents } = this.#stored.file(file);
    const whole = new Uint8Array(bytes ?? 0);
    for (const { begin, length } of extents) whole.set(await this.#stored.read(file, begin, length), begin);
    return whole;
  }

  /** Compares a file with the publisher's hash of it, if there is one. */
  async #compare(file: number): Promise<void> {
    const { needs_check, extents } = this.#stored.file(file);
    if (!needs_check) return;
    this.#meter.stage = "checking";
    this.#meter.tell();
    const hash = new StoreHash();
    for (const { begin, length } of extents) {
      this.#signal.throwIfAborted();
      hash.update(await this.#stored.read(file, begin, length));
    }
    try {
      this.#stored.record.check(file, hash.finish());
    } finally {
      await this.#stored.commit();
    }
  }
}

/** Returns the address of a file of a model. */
export function fileUrl({ url, single }: Pick<Address, "url" | "single">, path: string): string {
  if (path === single) return url;
  const found = new URL(path.split("/").map(encodeURIComponent).join("/"), url);
  // The query of a signed address applies to each of its files.
  found.search = new URL(url).search;
  return found.href;
}

/** Decodes a segment of an address. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
