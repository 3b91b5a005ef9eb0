/** The conversations that this browser keeps: IndexedDB, or the tab's memory where there is none. */
import type { Conversation } from "./conversation";

const DATABASE = "honelm";
const STORE = "conversations";

/** Keeps conversations. */
export class Archive {
  readonly #open: Promise<IDBDatabase | undefined>;
  /** The conversations in memory if nothing else keeps them. */
  readonly #memory = new Map<string, Conversation>();

  constructor() {
    this.#open = open().catch(() => undefined);
  }

  /** Returns true if conversations survive a reload. */
  async lasts(): Promise<boolean> {
    return (await this.#open) !== undefined;
  }

  /** Returns all conversations, the newest first. */
  async list(): Promise<Conversation[]> {
    const database = await this.#open;
    const kept: Conversation[] = database
      ? await done(database.transaction(STORE).objectStore(STORE).getAll())
      : [...this.#memory.values()];
    return kept.sort((a, b) => b.updated - a.updated);
  }

  /** Keeps a conversation in its present state. */
  async put(talk: Conversation): Promise<void> {
    const database = await this.#open;
    if (database) await done(database.transaction(STORE, "readwrite").objectStore(STORE).put(talk));
    else this.#memory.set(talk.id, structuredClone(talk));
  }

  async delete(id: string): Promise<void> {
    const database = await this.#open;
    if (database) await done(database.transaction(STORE, "readwrite").objectStore(STORE).delete(id));
    else this.#memory.delete(id);
  }
}

async function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE, 1);
  request.addEventListener("upgradeneeded", () => request.result.createObjectStore(STORE, { keyPath: "id" }));
  const database = await done(request);
  // Another tab with a newer page must not wait for this one.
  database.addEventListener("versionchange", () => database.close());
  return database;
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error ?? new Error("the browser's database failed")));
  });
}
