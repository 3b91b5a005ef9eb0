/** Files whose next bytes are read before they are asked for, so that a model is uploaded, and its kernels built, while it downloads. */
import type { ModelFiles } from "../../pkg/honelm_web";

/** The bytes of a part, which is one request. */
const PART = 4 << 20;
/** The parts that are read ahead. */
const AHEAD = 4;
/** The parts that are kept: those ahead, and some for reads that go back a little. */
const KEPT = AHEAD + 4;

/** Files that are read from the beginning to the end, in parts. The parts are outside of the wasm heap. */
export class ReadAhead implements ModelFiles {
  readonly #files: ModelFiles;
  /** The parts by file and number, the one that was used last at the end. */
  readonly #parts = new Map<string, Promise<Uint8Array>>();

  constructor(files: ModelFiles) {
    this.#files = files;
  }

  get name(): string {
    return this.#files.name;
  }

  get single(): string | undefined {
    return this.#files.single;
  }

  size(name: string): Promise<number | undefined> {
    return this.#files.size(name);
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    const size = (await this.size(name)) ?? 0;
    if (size <= PART || offset + length > size) return await this.#files.read(name, offset, length);
    const [first, last] = [Math.floor(offset / PART), Math.floor((offset + length - 1) / PART)];
    const parts: Promise<Uint8Array>[] = [];
    for (let number = first; number <= last; number++) parts.push(this.#part(name, number, size));
    for (let number = last + 1; number <= last + AHEAD && number * PART < size; number++) void this.#part(name, number, size).catch(() => {});
    const bytes = new Uint8Array(length);
    for (const [i, part] of parts.entries()) {
      const begin = (first + i) * PART;
      const from = Math.max(offset - begin, 0);
      bytes.set((await part).subarray(from, offset + length - begin), begin + from - offset);
    }
    return bytes;
  }

  /** Returns a part, and begins to read it if it is not there. */
  #part(name: string, number: number, size: number): Promise<Uint8Array> {
    const key = `${number} ${name}`;
    const begin = number * PART;
    const part = this.#parts.get(key) ?? this.#files.read(name, begin, Math.min(PART, size - begin));
    // The order of a map is that of its insertions.
    this.#parts.delete(key);
    this.#parts.set(key, part);
    part.catch(() => this.#parts.delete(key));
    for (const oldest of this.#parts.keys()) {
      if (this.#parts.size <= KEPT) break;
      this.#parts.delete(oldest);
    }
    return part;
  }
}
