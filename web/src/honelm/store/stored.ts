/** A stored model that is open for writing: its record, its bytes, and those that the browser refused. */
import { StoreRecord, sha256 } from "../../../pkg/honelm_web";
import { HoneLMError } from "../types";
import { type Backend, isQuota, type Place } from "./backend";
import type { StoredModel } from "./types";

/** A range that is to be fetched: the rest of a chunk, whose bytes from `begin` to `offset` are stored. */
export interface Wanted {
  chunk: number;
  begin: number;
  offset: number;
  length: number;
}

/** A file as the record describes it. */
export interface FileState {
  path: string;
  bytes: number | null;
  chunk_bytes: number;
  validator: string | null;
  stored: number;
  complete: boolean;
  untouched: boolean;
  needs_check: boolean;
  /** The stored chunks. */
  extents: Wanted[];
}

/** The knowledge about a file before its first byte. */
export interface NewFile {
  path: string;
  bytes: number | null;
  validator?: string | null;
  sha256?: string | undefined;
  chunk_bytes?: number | undefined;
  chunks?: string[] | undefined;
}

export class Stored {
  readonly record: StoreRecord;
  readonly #backend: Backend;
  readonly #id: string;
  #place: Place | undefined;
  /** The chunks that are in memory because the browser refused the space, by file and first byte. */
  #refused: Map<number, Map<number, Blob>> | undefined;

  private constructor(backend: Backend, id: string, record: StoreRecord, place: Place | undefined) {
    this.#backend = backend;
    this.#id = id;
    this.record = record;
    this.#place = place;
  }

  /** Opens a model. If there is none, `create` returns its record. The caller must be the only writer. */
  static async open(backend: Backend, id: string, create?: () => StoreRecord): Promise<Stored> {
    const log = await backend.log(id);
    const known = log === undefined || log.length === 0 ? undefined : StoreRecord.replay(log);
    const record = known ?? create?.();
    if (!record) throw noSuchModel(id);
    try {
      const stored = new Stored(backend, id, record, await backend.open(id, known?.valid() ?? 0));
      await stored.commit();
      return stored;
    } catch (thrown) {
      if (!isQuota(thrown)) throw thrown;
      const stored = new Stored(backend, id, record, undefined);
      stored.#refuse();
      return stored;
    }
  }

  /** True if the browser refused space, so that new chunks are kept in memory. */
  get inMemory(): boolean {
    return this.#refused !== undefined;
  }

  /** Keeps new chunks in memory. The record then describes them too, but no longer reaches the disk. */
  #refuse(): void {
    this.#refused ??= new Map();
  }

  /** Keeps new chunks in memory if `bytes` more bytes do not fit in the space that the browser allows. */
  async makeRoom(bytes: number): Promise<void> {
    if (this.#backend.kind === "memory" || this.#refused) return;
    const { usage, quota } = (await navigator.storage?.estimate?.()) ?? {};
    if (quota !== undefined && bytes > quota - (usage ?? 0)) this.#refuse();
  }

  file(file: number): FileState {
    return JSON.parse(this.record.file(file));
  }

  /** Returns the files' numbers. */
  files(): number[] {
    return this.summary().files.map((_, file) => file);
  }

  summary(): Omit<StoredModel, "memory"> {
    return JSON.parse(this.record.summary());
  }

  /** Writes the record's new lines. The bytes that they tell of must be stored. */
  async commit(): Promise<void> {
    const lines = this.record.drain();
    if (lines.length === 0 || this.#refused) return;
    await this.#unlessRefused((place) => place.append(lines));
  }

  /** Adds a file, or begins one again. Returns its number. */
  async add(file: NewFile): Promise<number> {
    const number = this.record.add(JSON.stringify(file));
    this.#refused?.delete(number);
    if (!this.#refused) await this.#unlessRefused((place) => place.clear(number));
    await this.commit();
    return number;
  }

  take(file: number, onlyDamaged: boolean): Wanted | undefined {
    const wanted = this.record.take(file, onlyDamaged);
    return wanted === undefined ? undefined : JSON.parse(wanted);
  }

  /** Stores a chunk, or its first bytes. Those before `from` are stored already. */
  async store(file: number, begin: number, bytes: Uint8Array, from: number): Promise<void> {
    if (!this.#refused) await this.#unlessRefused((place) => place.store(file, begin, bytes, from));
    if (!this.#refused) return;
    const chunks = this.#refused.get(file) ?? new Map<number, Blob>();
    this.#refused.set(file, chunks.set(begin, new Blob([bytes as Uint8Array<ArrayBuffer>])));
  }

  /** Stores a complete chunk and records its hash. */
  async storeWhole(file: number, chunk: number, begin: number, bytes: Uint8Array, from: number): Promise<void> {
    const hash = await digest(bytes);
    await this.store(file, begin, bytes, from);
    this.record.whole(file, chunk, hash);
    await this.commit();
  }

  /** Reads bytes of a chunk from its beginning on. */
  async read(file: number, begin: number, length: number): Promise<Uint8Array> {
    const kept = this.#refused?.get(file)?.get(begin);
    if (kept) return new Uint8Array(await kept.slice(0, length).arrayBuffer());
    if (!this.#place) throw new HoneLMError("store-full", "the browser refused the space for this model");
    return await this.#place.read(file, begin, length);
  }

  /** Ends the writing. Returns the files if some of their bytes are only in memory. */
  async close(): Promise<File[] | undefined> {
    this.#place?.close();
    this.#place = undefined;
    if (!this.#refused || !this.record.complete()) return undefined;
    return await Promise.all(this.files().map((file) => this.#assembled(file)));
  }

  async #assembled(file: number): Promise<File> {
    const { path, extents } = this.file(file);
    const kept = this.#refused?.get(file);
    const onDisk = extents.some(({ begin }) => !kept?.has(begin));
    const disk = onDisk ? await this.#backend.file(this.#id, file, path) : undefined;
    const parts = extents.map(({ begin, length }) => kept?.get(begin) ?? disk?.slice(begin, begin + length) ?? new Blob());
    return new File(parts, path);
  }

  /** Writes to the disk. If the browser refuses the space, new chunks are kept in memory from now on. */
  async #unlessRefused(write: (place: Place) => Promise<void>): Promise<void> {
    try {
      if (this.#place) await write(this.#place);
    } catch (thrown) {
      if (!isQuota(thrown)) throw thrown;
      this.#refuse();
    }
  }
}

/** Returns the SHA-256 as 64 hexadecimal digits. */
export async function digest(bytes: Uint8Array): Promise<string> {
  // The browser's own function is only there for pages of this machine or with HTTPS.
  if (!crypto.subtle) return sha256(bytes);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function noSuchModel(id: string): HoneLMError {
  return new HoneLMError("no-such-model", `no stored model has the id ${id}; it may have been deleted in another tab`);
}
