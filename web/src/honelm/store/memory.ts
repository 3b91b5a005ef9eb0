/** Models in the memory of the tab. They are lost when it closes. */
import type { Backend, Place } from "./backend";

interface Kept {
  log: Uint8Array[];
  /** The chunks of each file, by their first byte. */
  files: Map<number, Map<number, Blob>>;
}

export class InMemory implements Backend {
  readonly kind = "memory";
  readonly #models = new Map<string, Kept>();

  async ids(): Promise<string[]> {
    return [...this.#models.keys()];
  }

  async log(id: string): Promise<Uint8Array | undefined> {
    const kept = this.#models.get(id);
    return kept && new Uint8Array(await new Blob(kept.log as Uint8Array<ArrayBuffer>[]).arrayBuffer());
  }

  async open(id: string): Promise<Place> {
    let kept = this.#models.get(id);
    if (!kept) {
      kept = { log: [], files: new Map() };
      this.#models.set(id, kept);
    }
    return new MemoryPlace(kept);
  }

  async file(id: string, file: number, name: string): Promise<File> {
    return new File(inOrder(this.#models.get(id)?.files.get(file) ?? new Map()), name);
  }

  async remove(id: string): Promise<void> {
    this.#models.delete(id);
  }
}

class MemoryPlace implements Place {
  readonly #kept: Kept;

  constructor(kept: Kept) {
    this.#kept = kept;
  }

  async append(lines: Uint8Array): Promise<void> {
    this.#kept.log.push(lines);
  }

  async store(file: number, begin: number, bytes: Uint8Array): Promise<void> {
    const chunks = this.#kept.files.get(file) ?? new Map<number, Blob>();
    this.#kept.files.set(file, chunks.set(begin, new Blob([bytes as Uint8Array<ArrayBuffer>])));
  }

  async read(file: number, begin: number, length: number): Promise<Uint8Array> {
    return await bytesOf(this.#kept.files.get(file)?.get(begin), length);
  }

  async clear(file: number): Promise<void> {
    this.#kept.files.delete(file);
  }

  close(): void {}
}

/** Returns the chunks of a file in the order of their first bytes. */
export function inOrder(chunks: Map<number, Blob>): Blob[] {
  return [...chunks].sort(([a], [b]) => a - b).map(([, chunk]) => chunk);
}

/** Returns the first bytes of a chunk. Missing ones are zeros, so that their hash differs. */
export async function bytesOf(chunk: Blob | undefined, length: number): Promise<Uint8Array> {
  const found = new Uint8Array((await chunk?.slice(0, length).arrayBuffer()) ?? new ArrayBuffer(0));
  if (found.length === length) return found;
  const bytes = new Uint8Array(length);
  bytes.set(found);
  return bytes;
}
