/** The places that can hold models: the origin's private file system, IndexedDB, and the memory of the tab. */
import type { StoreSpace } from "./types";
import { IndexedDb } from "./indexeddb";
import { InMemory } from "./memory";
import { Opfs } from "./opfs";

/** A place that holds models. A model is a log, which says what is stored, and the bytes of numbered files. */
export interface Backend {
  readonly kind: StoreSpace["backend"];
  ids(): Promise<string[]>;
  /** Returns the log of a model; undefined if there is no such model. */
  log(id: string): Promise<Uint8Array | undefined>;
  /** Opens a model for writing, and cuts its log to `valid` bytes. One writer at a time. */
  open(id: string, valid: number): Promise<Place>;
  /** Returns a file of a model. Its bytes are read when they are needed. */
  file(id: string, file: number, name: string): Promise<File>;
  remove(id: string): Promise<void>;
}

/** A model that is open for writing. What a call wrote is durable once it has returned. */
export interface Place {
  append(lines: Uint8Array): Promise<void>;
  /** Stores the bytes of a chunk that begins at `begin`. Those before `from` are stored already. */
  store(file: number, begin: number, bytes: Uint8Array, from: number): Promise<void>;
  /** Reads bytes of the chunk that begins at `begin`, from its beginning on. */
  read(file: number, begin: number, length: number): Promise<Uint8Array>;
  /** Discards the bytes of a file. */
  clear(file: number): Promise<void>;
  close(): void;
}

/** Returns the available places, the best first. */
export async function backends(): Promise<Backend[]> {
  const found = await Promise.all([Opfs.open(), IndexedDb.open()]);
  return [...found.filter((backend) => backend !== undefined), memory];
}

/** The memory of this worker. */
const memory = new InMemory();

/** Returns true if the browser refused space. */
export function isQuota(thrown: unknown): boolean {
  return thrown instanceof DOMException && (thrown.name === "QuotaExceededError" || thrown.code === 22);
}
