/** Streams of events as asynchronous iterators, and requests that wait for each other. */
import type { ChatModel } from "./chat";
import { HoneLMError } from "./types";

/** Sends the items of a stream. */
type Push<T> = (item: T) => void;

/** The items of an answer, in order. It can be iterated once. Leaving the loop ends the answer. */
export class EventStream<T> implements AsyncIterable<T> {
  /** Ends the answer. */
  readonly controller = new AbortController();
  readonly #items: T[] = [];
  #error: unknown;
  #ended = false;
  #iterated = false;
  #wake: () => void = () => {};

  /** Runs `write`, which pushes the items. Resolves with the stream once there is an item; rejects if `write` does so before. */
  static async start<T>(write: (push: Push<T>, signal: AbortSignal) => Promise<void>, signal?: AbortSignal | null): Promise<EventStream<T>> {
    const stream = new EventStream<T>();
    const { controller } = stream;
    const abort = (): void => controller.abort();
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    const push = (item: T): void => {
      stream.#items.push(item);
      stream.#wake();
    };
    void write(push, controller.signal)
      .catch((thrown: unknown) => {
        // An ended answer is no error, as in the package `openai`.
        if (!controller.signal.aborted) stream.#error = thrown;
      })
      .finally(() => {
        signal?.removeEventListener("abort", abort);
        stream.#ended = true;
        stream.#wake();
      });
    await stream.#changed();
    if (stream.#items.length === 0 && stream.#error !== undefined) throw stream.#error;
    return stream;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    if (this.#iterated) throw new HoneLMError("invalid-argument", "the stream was read already; it can be read once");
    this.#iterated = true;
    try {
      for (;;) {
        await this.#changed();
        while (this.#items.length > 0) yield this.#items.shift() as T;
        if (this.#error !== undefined) throw this.#error;
        if (this.#ended) return;
      }
    } finally {
      this.controller.abort();
    }
  }

  /** Waits until there is an item or the end. */
  async #changed(): Promise<void> {
    while (this.#items.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** The last request of each model in this tab, which writes one answer at a time. */
const last = new WeakMap<ChatModel, Promise<unknown>>();

/** Runs `work` once earlier requests of the model have ended. An abort ends the work, or the waiting. */
export async function inTurn<T>(model: ChatModel, signal: AbortSignal | null | undefined, work: () => Promise<T>): Promise<T> {
  const before = model.place === "tab" ? (last.get(model) ?? Promise.resolve()) : Promise.resolve();
  const mine = before.then(async () => {
    signal?.throwIfAborted();
    const abort = (): void => model.abort();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      return await work();
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  });
  last.set(model, mine.catch(() => {}));
  try {
    return await mine;
  } catch (thrown) {
    throw signal?.aborted ? new HoneLMError("interrupted", "the request was ended") : thrown;
  }
}
