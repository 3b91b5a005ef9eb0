/** The download of one file: its chunks, several at a time, or its whole body where the server sends no parts. */
import { HoneLMError } from "../types";
import type { Meter } from "./meter";
import { type Answer, isPassing, receive, request, sizeOf, unusable } from "./requests";
import type { NewFile, Stored, Wanted } from "./stored";
import type { ManifestFile } from "./types";

/** The number of requests at a time. */
const LANES = 4;
/** The bytes of the first request, which also tells the size of the file. */
const FIRST = 4 << 20;
/** The chunk of a body of unknown length. */
const STREAMED = 4 << 20;
/** An incomplete chunk is recorded after each of this many parts, so that all requests together lose at most half a chunk. */
const SAVES = 8;
/** On a slow connection it is recorded after these milliseconds and bytes. */
const SAVE_EVERY = 1000;
const SAVE_BYTES = 64 << 10;
/** The attempts without new bytes, and the first pause between them in milliseconds. */
const ATTEMPTS = 4;
const PAUSE = 500;

/** Thrown if the server has another file than the stored one, or no parts any more. */
class BeginAgain extends Error {}

export class FileFetch {
  readonly #stored: Stored;
  readonly #url: string;
  readonly #path: string;
  readonly #expected: ManifestFile | undefined;
  readonly #meter: Meter;
  readonly #signal: AbortSignal;
  /** The bytes of the first request: not more than the first chunk. */
  readonly #first: number;
  /** True if each chunk is a file of its own. */
  #split: boolean;

  constructor(stored: Stored, url: string, path: string, expected: ManifestFile | undefined, meter: Meter, signal: AbortSignal) {
    this.#stored = stored;
    this.#url = url;
    this.#path = path;
    this.#expected = expected;
    this.#meter = meter;
    this.#signal = signal;
    this.#first = Math.min(FIRST, expected?.chunk_bytes ?? FIRST);
    this.#split = expected?.parts === true;
  }

  /** Stores the file, or the rest of it. Returns false if the server has no such file. */
  async run(): Promise<boolean> {
    const file = this.#stored.record.find(this.#path);
    if (file !== undefined) {
      const { bytes, complete, untouched } = this.#stored.file(file);
      const described = this.#agrees(file);
      if (complete && described) return true;
      // A body of unknown length cannot be resumed, and nothing is lost by beginning a file again that has no bytes.
      if (bytes !== null && !untouched && described && (await this.#resume(file))) return true;
    }
    return await this.#begin();
  }

  /** Returns true if the stored file is the one that the publisher describes. */
  #agrees(file: number): boolean {
    if (!this.#expected) return true;
    const { path, bytes, sha256, chunk_bytes, chunks } = this.#expected;
    return this.#stored.record.agrees(file, JSON.stringify({ path, bytes, sha256, chunk_bytes, chunks }));
  }

  /** Fetches what is missing. Returns false if the file has to begin again. */
  async #resume(file: number): Promise<boolean> {
    try {
      await this.#chunks(file, false);
      return true;
    } catch (thrown) {
      if (thrown instanceof BeginAgain) return false;
      throw thrown;
    }
  }

  /** Begins the file, whatever is stored of it. */
  async #begin(): Promise<boolean> {
    const expected = this.#expected;
    if (expected && this.#split) {
      const { path, bytes, sha256, chunk_bytes, chunks } = expected;
      const file = await this.#stored.add({ path, bytes, sha256, chunk_bytes, chunks });
      this.#meter.follow(this.#stored.summary(), null);
      await this.#chunks(file, false);
      return true;
    }
    const known = { total: expected?.bytes ?? null, validator: null };
    const answer = await request({ url: this.#url, offset: 0, length: this.#first, ...known }, this.#signal);
    const { verdict, validator } = answer;
    if (verdict === "missing") return false;
    const described: NewFile = {
      path: this.#path, bytes: null, validator, sha256: expected?.sha256, chunk_bytes: expected?.chunk_bytes, chunks: expected?.chunks,
    };
    if (verdict === "empty") {
      await this.#stored.add({ ...described, bytes: 0 });
    } else if (verdict === "whole") {
      await this.#stream(answer, described);
    } else if (verdict === "part") {
      await this.#parts(answer, described);
    } else {
      throw unusable(this.#url, answer);
    }
    return true;
  }

  /** Stores a file whose first bytes are the body of `answer`. */
  async #parts(answer: Answer, described: NewFile): Promise<void> {
    const bytes = answer.total ?? (await sizeOf(this.#url, this.#signal));
    await this.#room(bytes);
    const file = await this.#stored.add({ ...described, bytes });
    this.#meter.follow(this.#stored.summary(), null);
    const wanted = this.#stored.take(file, false);
    if (wanted) await this.#guarded(file, wanted.chunk, this.#receive(file, wanted, answer, Math.min(wanted.length, this.#first)));
    try {
      await this.#chunks(file, false);
    } catch (thrown) {
      if (thrown instanceof BeginAgain) throw unusable(this.#url, { verdict: "changed", validator: null });
      throw thrown;
    }
  }

  /** Fetches the damaged chunks of a file, and returns their number. */
  async repair(file: number): Promise<number> {
    try {
      return await this.#chunks(file, true);
    } catch (thrown) {
      if (thrown instanceof BeginAgain) throw unusable(this.#url, { verdict: "changed", validator: null });
      throw thrown;
    }
  }

  /** Fetches the missing chunks of a file, or only the damaged ones, and returns their number. */
  async #chunks(file: number, onlyDamaged: boolean): Promise<number> {
    let count = 0;
    const failed = new AbortController();
    const signal = AbortSignal.any([this.#signal, failed.signal]);
    const lane = async (): Promise<void> => {
      try {
        for (let wanted; (wanted = this.#stored.take(file, onlyDamaged)); ) {
          const { chunk } = wanted;
          await this.#guarded(file, chunk, this.#chunk(file, wanted, signal));
          count++;
        }
      } catch (thrown) {
        failed.abort(thrown);
        throw thrown;
      }
    };
    const ended = await Promise.allSettled(Array.from({ length: LANES }, lane));
    // The first failure is the reason of the others.
    if (failed.signal.aborted) throw failed.signal.reason;
    for (const end of ended) if (end.status === "rejected") throw end.reason;
    return count;
  }

  /** Fetches a chunk, with new attempts after failures that pass. */
  async #chunk(file: number, wanted: Wanted, signal: AbortSignal): Promise<void> {
    for (let failures = 0; ; ) {
      const { offset } = wanted;
      try {
        await this.#attempt(file, wanted, signal);
        return;
      } catch (thrown) {
        signal.throwIfAborted();
        failures = wanted.offset > offset ? 1 : failures + 1;
        // Wrong bytes may come from something between here and the server; a second time they do not.
        const wrong = HoneLMError.from(thrown).code === "wrong-hash" && failures === 1;
        if (!(wrong || isPassing(thrown)) || failures >= ATTEMPTS) throw thrown;
        await pause(PAUSE * 2 ** (failures - 1), signal);
      }
    }
  }

  async #attempt(file: number, wanted: Wanted, signal: AbortSignal): Promise<void> {
    if (this.#split) return await this.#part(file, wanted, signal);
    const { bytes, validator } = this.#stored.file(file);
    const { offset, length } = wanted;
    const answer = await request({ url: this.#url, offset, length, total: bytes, validator }, signal);
    if (this.#expected === undefined && (answer.verdict === "missing" || answer.verdict === "html")) {
      // A stored file whose publisher's list is not at hand may have been split.
      await this.#part(file, wanted, signal);
      this.#split = true;
      return;
    }
    if (answer.verdict === "whole" || answer.verdict === "changed") {
      await answer.response.body?.cancel();
      throw new BeginAgain();
    }
    if (answer.verdict !== "part") throw unusable(this.#url, answer);
    await this.#receive(file, wanted, answer, length, signal);
  }

  /** Fetches a chunk that is a file of its own. */
  async #part(file: number, wanted: Wanted, signal: AbortSignal): Promise<void> {
    const { chunk, begin, offset, length } = wanted;
    const bytes = offset + length - begin;
    const url = new URL(this.#url);
    url.pathname += `.parts/${String(chunk).padStart(5, "0")}`;
    const answer = await request({ url: url.href, offset: offset - begin, length, total: bytes, validator: null }, signal);
    // A server without ranges sends the chunk from its beginning.
    if (answer.verdict === "whole") [wanted.offset, wanted.length] = [begin, bytes];
    else if (answer.verdict !== "part") throw unusable(url.href, answer);
    await this.#receive(file, wanted, answer, wanted.length, signal);
  }

  /** Gives a chunk back if `work` fails. */
  async #guarded(file: number, chunk: number, work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (thrown) {
      this.#stored.record.give_back(file, chunk);
      throw thrown;
    }
  }

  /**
   * Stores the body of an answer, which has `length` bytes of a chunk. What arrived before a failure is recorded, and taken off
   * `wanted`.
   */
  async #receive(file: number, wanted: Wanted, answer: Answer, length: number, signal = this.#signal): Promise<void> {
    const { chunk, begin, offset } = wanted;
    const held = offset - begin;
    const { chunk_bytes: chunkBytes } = this.#stored.file(file);
    const end = offset + wanted.length;
    const bytes = new Uint8Array(end - begin);
    if (held > 0) bytes.set(await this.#stored.read(file, begin, held));
    let filled = held;
    let saved = { at: performance.now(), bytes: held };
    const save = async (): Promise<void> => {
      if (filled === saved.bytes || filled === bytes.length) return;
      const from = saved.bytes;
      saved = { at: performance.now(), bytes: filled };
      await this.#stored.store(file, begin, bytes.subarray(0, filled), from);
      this.#stored.record.part(file, chunk, filled);
      await this.#stored.commit();
      [wanted.offset, wanted.length] = [begin + filled, end - begin - filled];
    };
    try {
      await receive(this.#url, answer.response, signal, async (arrived) => {
        if (filled + arrived.length > held + length) throw unusable(this.#url, { verdict: "other_part", validator: null });
        bytes.set(arrived, filled);
        filled += arrived.length;
        this.#meter.add(arrived.length);
        const unsaved = filled - saved.bytes;
        const slow = unsaved >= SAVE_BYTES && performance.now() - saved.at >= SAVE_EVERY;
        if (slow || unsaved >= chunkBytes / SAVES) await save();
      });
      if (filled < held + length) throw cutShort(this.#url, length, filled - held);
    } catch (thrown) {
      await save();
      throw thrown;
    }
    if (filled < bytes.length) {
      await save();
      this.#stored.record.give_back(file, chunk);
      return;
    }
    if (begin === 0) this.#check(bytes);
    try {
      await this.#stored.storeWhole(file, chunk, begin, bytes, saved.bytes);
    } catch (thrown) {
      // Nothing of a chunk with wrong bytes is kept.
      if (HoneLMError.from(thrown).code === "wrong-hash") {
        this.#stored.record.part(file, chunk, 0);
        await this.#stored.commit();
        [wanted.offset, wanted.length] = [begin, end - begin];
        this.#meter.follow(this.#stored.summary(), null);
      }
      throw thrown;
    }
    this.#noteMemory();
  }

  /** Stores the whole body of an answer in chunks. */
  async #stream(answer: Answer, described: NewFile): Promise<void> {
    this.#meter.ranges = false;
    const told = this.#expected?.bytes ?? answer.total ?? null;
    if (told !== null) await this.#room(told);
    const chunkBytes = described.chunk_bytes ?? STREAMED;
    // The size of a body is only certain at its end, unless the publisher tells it.
    const size = this.#expected?.bytes ?? null;
    const file = await this.#stored.add({ ...described, bytes: size, chunk_bytes: chunkBytes });
    this.#meter.follow(this.#stored.summary(), told);
    let buffer = new Uint8Array(chunkBytes);
    let [chunk, filled] = [0, 0];
    const put = async (): Promise<void> => {
      const bytes = buffer.subarray(0, filled);
      if (chunk === 0) this.#check(bytes);
      await this.#stored.storeWhole(file, chunk, chunk * chunkBytes, bytes, 0);
      this.#noteMemory();
      [chunk, filled, buffer] = [chunk + 1, 0, new Uint8Array(chunkBytes)];
    };
    await receive(this.#url, answer.response, this.#signal, async (arrived) => {
      this.#meter.add(arrived.length);
      for (let at = 0; at < arrived.length; ) {
        const part = arrived.subarray(at, at + chunkBytes - filled);
        buffer.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled === chunkBytes) await put();
      }
    });
    const found = chunk * chunkBytes + filled;
    if (told !== null && found < told) throw cutShort(this.#url, told, found);
    if (size !== null && found > size) throw unusable(this.#url, { verdict: "changed", validator: null });
    if (size === null) this.#stored.record.end(file, found);
    if (filled > 0) await put();
    await this.#stored.commit();
  }

  /** Refuses a GGUF file that does not begin as one, before the rest of it is fetched. */
  #check(first: Uint8Array): void {
    if (!this.#path.toLowerCase().endsWith(".gguf")) return;
    const found = new TextDecoder("latin1").decode(first.subarray(0, 4));
    if (found === "GGUF") return;
    throw new HoneLMError("not-a-model", `${this.#url}: not a GGUF file: found ${JSON.stringify(found)} at its beginning, expected "GGUF"`);
  }

  /** Keeps the file in memory if the browser does not allow the space for it. */
  async #room(bytes: number): Promise<void> {
    await this.#stored.makeRoom(bytes);
    this.#noteMemory();
  }

  #noteMemory(): void {
    if (this.#stored.inMemory) this.#meter.stage = "memory";
  }
}

function cutShort(url: string, wanted: number, found: number): HoneLMError {
  return new HoneLMError("cut-short", `${url}: the server sent ${found} of ${wanted} bytes; try again, it resumes`);
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
