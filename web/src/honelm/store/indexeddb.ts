/** IndexedDB, for browsers without a private file system: the lines of logs and the chunks of files are its values. */
import type { Backend, Place } from "./backend";
import { bytesOf } from "./memory";

const LOGS = "logs";
const CHUNKS = "chunks";

export class IndexedDb implements Backend {
  readonly kind = "indexeddb";
  readonly #database: IDBDatabase;

  private constructor(database: IDBDatabase) {
    this.#database = database;
  }

  /** Returns undefined where the browser has no database, or does not allow it. */
  static async open(): Promise<IndexedDb | undefined> {
    try {
      const request = indexedDB.open("honelm-models", 1);
      request.onupgradeneeded = () => {
        // The keys are [model, number of lines] and [model, file, first byte].
        request.result.createObjectStore(LOGS);
        request.result.createObjectStore(CHUNKS);
      };
      return new IndexedDb(await done(request));
    } catch {
      return undefined;
    }
  }

  async ids(): Promise<string[]> {
    const keys = await done(this.#read(LOGS).getAllKeys());
    return [...new Set(keys.map((key) => (key as [string, number])[0]))];
  }

  async log(id: string): Promise<Uint8Array | undefined> {
    const lines: Uint8Array<ArrayBuffer>[] = await done(this.#read(LOGS).getAll(range(id)));
    return lines.length === 0 ? undefined : new Uint8Array(await new Blob(lines).arrayBuffer());
  }

  async open(id: string): Promise<Place> {
    const keys = await done(this.#read(LOGS).getAllKeys(range(id)));
    const last = keys.at(-1) as [string, number] | undefined;
    return new DatabasePlace(this.#database, id, (last?.[1] ?? -1) + 1);
  }

  async file(id: string, file: number, name: string): Promise<File> {
    // The keys are sorted by the first byte.
    return new File(await done(this.#read(CHUNKS).getAll(range(id, file))), name);
  }

  async remove(id: string): Promise<void> {
    await changed(this.#database, (logs, chunks) => {
      logs.delete(range(id));
      chunks.delete(range(id));
    });
  }

  #read(store: string): IDBObjectStore {
    return this.#database.transaction(store).objectStore(store);
  }
}

class DatabasePlace implements Place {
  readonly #database: IDBDatabase;
  readonly #id: string;
  #next: number;

  constructor(database: IDBDatabase, id: string, next: number) {
    this.#database = database;
    this.#id = id;
    this.#next = next;
  }

  async append(lines: Uint8Array): Promise<void> {
    const key = [this.#id, this.#next++];
    await changed(this.#database, (logs) => logs.put(lines, key));
  }

  async store(file: number, begin: number, bytes: Uint8Array): Promise<void> {
    const chunk = new Blob([bytes as Uint8Array<ArrayBuffer>]);
    await changed(this.#database, (_, chunks) => chunks.put(chunk, [this.#id, file, begin]));
  }

  async read(file: number, begin: number, length: number): Promise<Uint8Array> {
    const store = this.#database.transaction(CHUNKS).objectStore(CHUNKS);
    return await bytesOf(await done(store.get([this.#id, file, begin])), length);
  }

  async clear(file: number): Promise<void> {
    await changed(this.#database, (_, chunks) => chunks.delete(range(this.#id, file)));
  }

  close(): void {}
}

/** Changes both stores, and waits until the change is on disk. */
async function changed(database: IDBDatabase, change: (logs: IDBObjectStore, chunks: IDBObjectStore) => void): Promise<void> {
  const transaction = database.transaction([LOGS, CHUNKS], "readwrite", { durability: "strict" });
  const ended = new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
  change(transaction.objectStore(LOGS), transaction.objectStore(CHUNKS));
  await ended;
}

/** Returns the range of all keys that begin like this. */
function range(...key: (string | number)[]): IDBKeyRange {
  // Arrays are after numbers and texts in the order of keys.
  return IDBKeyRange.bound(key, [...key, []]);
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
