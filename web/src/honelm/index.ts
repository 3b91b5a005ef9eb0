/**
 * HoneLM in a browser tab.
 *
 * ```ts
 * const honelm = new HoneLM();
 * await honelm.load({ url: "models/pocket/" }, {}, (progress) => console.log(progress));
 * const answer = await honelm.chat([{ role: "user", content: "Tell me a story." }], {}, ({ text }) => show(text ?? ""));
 * ```
 */
import { reportAdapter } from "./adapter";
import type { Call, Calls, FromWorker } from "./protocol";
import {
  type Answer, type AnswerEvent, type Check, type CheckSettings, type GenerationSettings, HoneLMError, type LoadOptions, type LoadProgress,
  type Measurement, type Memory, type Message, type ModelFacts, type Sample, type Source,
} from "./types";

export * from "./types";
export { type AdapterReport, reportAdapter } from "./adapter";

interface Pending {
  onEvent: (event: never) => void;
  resolve: (result: never) => void;
  reject: (error: HoneLMError) => void;
}

/** A model in its own worker. */
export class HoneLM {
  #worker: Worker | undefined;
  #pending = new Map<number, Pending>();
  #next = 0;

  /** Loads a model, replacing the previous one. */
  async load(source: Source, options: LoadOptions = {}, onProgress: (progress: LoadProgress) => void = () => {}): Promise<ModelFacts> {
    const place = await trustPlace();
    const found = await this.#call("load", { source, options: { ...options, trust: remembered(place) } }, onProgress);
    if (found.tested) remember(place, found.tested.key, found.tested.trust);
    return found;
  }

  /** Answers a conversation whose last message is the user's. The part that it shares with the previous one is not computed again. */
  chat(messages: Message[], settings: GenerationSettings = {}, onEvent: (event: AnswerEvent) => void = () => {}): Promise<Answer> {
    return this.#call("chat", { messages, settings }, onEvent);
  }

  /** Continues a text without a chat template. */
  complete(text: string, settings: GenerationSettings = {}, onEvent: (event: AnswerEvent) => void = () => {}): Promise<Answer> {
    return this.#call("complete", { text, settings }, onEvent);
  }

  /**
   * Ends the answer that is being written, which resolves with `finish_reason` `cancelled`, or the loading of a model, which rejects with
   * the error `interrupted`.
   */
  abort(): void {
    this.#worker?.postMessage({ call: "abort" });
  }

  /** Generates `tokens` tokens, and measures time and memory at each. */
  async measure(
    { prompt = "Once upon a time", tokens = 100, adapter = null as string | null } = {},
    onSample: (sample: Sample) => void = () => {},
  ): Promise<Measurement> {
    const heaps: (number | null)[] = [];
    const measured = await this.#call("measure", { prompt, tokens, adapter }, (sample) => {
      heaps.push(jsHeap());
      onSample({ ...sample, js_heap: heaps.at(-1) ?? null });
    });
    const samples = measured.samples.map((sample, i) => ({ ...sample, js_heap: heaps[i] ?? null }));
    return { ...measured, samples };
  }

  /**
   * Compares the model on this device with itself on the CPU in single precision, for each token of `text`. This loads the model a
   * second time. `abort` ends the check with the error `interrupted`.
   */
  check(
    text: string, settings: CheckSettings = {}, onProgress: (progress: { done: number; total: number }) => void = () => {},
  ): Promise<Check> {
    return this.#call("check", { text, settings }, onProgress);
  }

  /** Returns the bytes in use. */
  memory(): Promise<Memory> {
    return this.#call("memory", {}, () => {});
  }

  /** Ends the worker and frees its memory. The next call starts a new worker. */
  close(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#fail(new HoneLMError("closed", "the model was closed"));
  }

  #call<C extends Call>(
    call: C, request: Calls[C]["request"], onEvent: (event: Calls[C]["event"]) => void,
  ): Promise<Calls[C]["result"]> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { onEvent, resolve, reject });
      this.#started().postMessage({ id, call, request });
    });
  }

  #started(): Worker {
    if (!this.#worker) {
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "honelm" });
      worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => this.#heard(data));
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        this.#broken(new HoneLMError("worker", event.message || "the worker could not be started"));
      });
      this.#worker = worker;
    }
    return this.#worker;
  }

  #heard(message: FromWorker): void {
    if (message.id === null) {
      this.#broken(new HoneLMError(message.error.code, message.error.message));
      return;
    }
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    if ("event" in message) {
      pending.onEvent(message.event as never);
      return;
    }
    this.#pending.delete(message.id);
    if ("error" in message) pending.reject(new HoneLMError(message.error.code, message.error.message));
    else pending.resolve(message.result as never);
  }

  /** Discards a worker that cannot be used any more. */
  #broken(error: HoneLMError): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#fail(error);
  }

  #fail(error: HoneLMError): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of pending) call.reject(error);
  }
}

/** Returns the storage key of this GPU's test results: the browser's name of the adapter, and the browser's version. */
async function trustPlace(): Promise<string> {
  const report = await reportAdapter();
  return `honelm.gpu ${report.available ? report.name : ""} ${navigator.userAgent}`;
}

/** Returns the stored test results. */
function remembered(place: string): Record<string, unknown> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(place) ?? "{}");
    return typeof kept === "object" && kept !== null ? { ...kept } : {};
  } catch {
    // Without storage, or with invalid contents, the test runs again.
    return {};
  }
}

function remember(place: string, key: string, trust: unknown): void {
  try {
    localStorage.setItem(place, JSON.stringify({ ...remembered(place), [key]: trust }));
  } catch {
    // Without storage, the test runs again.
  }
}

/** Returns the size of the page's JavaScript heap, if the browser reports it. Workers cannot ask for theirs. */
function jsHeap(): number | null {
  const { memory } = performance as Performance & { memory?: { usedJSHeapSize: number } };
  return memory?.usedJSHeapSize ?? null;
}
