/**
 * HoneLM in a browser tab.
 *
 * ```ts
 * const honelm = new HoneLM();
 * await honelm.load({ url: "models/pocket/" }, {}, (progress) => console.log(progress));
 * const answer = await honelm.chat([{ role: "user", content: "Tell me a story." }], {}, ({ text }) => show(text ?? ""));
 * ```
 */
import type { ChatFacts, ChatModel, ChatModelEntry } from "./chat";
import type { Call, Calls, FromWorker } from "./protocol";
import {
  type Answer, type AnswerEvent, type Check, type CheckSettings, type DeviceState, type Embeddings, type EmbeddingSettings,
  type GenerationSettings, HoneLMError, type LoadOptions, type LoadProgress, type Measurement, type Memory, type Message, type ModelFacts,
  type ModelPlan, type PlanOptions, type Probe, type Sample, type Source,
} from "./types";

export * from "./types";
export * from "./chat";
export { type AdapterReport, reportAdapter } from "./adapter";
export { OpenAI } from "./openai";
export type * as openai from "./openai";
export { RemoteModel, type RemoteOptions } from "./remote";
export * from "./gateway";
export { HybridModel, type HybridOptions } from "./hybrid";
export * from "./store";

interface Pending {
  onEvent: (event: never) => void;
  resolve: (result: never) => void;
  reject: (error: HoneLMError) => void;
}

/** A model in its own worker. */
export class HoneLM implements ChatModel {
  readonly place = "tab";
  #worker: Worker | undefined;
  /** The properties of the loaded model. */
  #loaded: ModelFacts | undefined;
  readonly #listeners = new Set<(state: DeviceState) => void>();
  #pending = new Map<number, Pending>();
  #next = 0;

  /** Loads a model, replacing the previous one. */
  async load(source: Source, options: LoadOptions = {}, onProgress: (progress: LoadProgress) => void = () => {}): Promise<ModelFacts> {
    this.#loaded = undefined;
    const found = await this.#call("load", { source: absolute(source), options: { ...options, trust: remembered() } }, onProgress);
    if (found.tested) remember(found.tested.key, found.tested.trust);
    this.#loaded = found;
    return found;
  }

  /** Returns the properties of the loaded model, or null. */
  async facts(): Promise<ChatFacts | null> {
    const found = this.#loaded;
    if (!found) return null;
    const { name, context, description, capabilities, generation } = found;
    return { name, place: "tab", context, device: description, capabilities, generation };
  }

  /** Returns the loaded model as a list. */
  async models(): Promise<ChatModelEntry[]> {
    const found = this.#loaded;
    if (!found) return [];
    const { name, context, architecture, capabilities } = found;
    return [{ id: name, loaded: true, bytes: null, context, architecture, capabilities }];
  }

  /**
   * Calls `listener` when the device of the model is lost, and when the model runs on a device again. Answers go on by themselves.
   * Returns a function that ends this.
   */
  onState(listener: (state: DeviceState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
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

  /** Computes the embeddings of texts: vectors of length 1, whose product says how near their meanings are. */
  embed(texts: string[], settings: EmbeddingSettings = {}): Promise<Embeddings> {
    return this.#call("embed", { texts, settings }, () => {});
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

  /**
   * Returns the memory that a model will need, from the headers of its files: nothing else is read. With `measure`, the CPU's kernels are
   * measured for its weights, in 0.2 s for each encoding, and the plan has the speed. A model in use stays loaded.
   */
  plan(source: Source, options: PlanOptions = {}, { measure = false } = {}): Promise<ModelPlan> {
    return this.#call("plan", { source: absolute(source), options, measure }, () => {});
  }

  /** Measures the CPU's kernels for weights of an encoding (`Q4_0`, `F16`, …), in 0.2 s. */
  probe(encoding = "Q4_0", options: PlanOptions = {}): Promise<Probe> {
    return this.#call("probe", { encoding, options }, () => {});
  }

  /** Returns the bytes in use. */
  memory(): Promise<Memory> {
    return this.#call("memory", {}, () => {});
  }

  /** Ends the worker and frees its memory. The next call starts a new worker. */
  close(): void {
    this.#broken(new HoneLMError("closed", "the model was closed"));
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
      if ("state" in message) this.#changed(message.state);
      else this.#broken(new HoneLMError(message.error.code, message.error.message));
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

  #changed(state: DeviceState): void {
    if (state.state === "ready") this.#loaded = state.facts;
    for (const listener of this.#listeners) listener(state);
  }

  /** Discards a worker that cannot be used any more. */
  #broken(error: HoneLMError): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#loaded = undefined;
    this.#fail(error);
  }

  #fail(error: HoneLMError): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of pending) call.reject(error);
  }
}

/** Resolves an address against that of the page; the worker has another one. */
function absolute(source: Source): Source {
  if (!("url" in source) || typeof document === "undefined") return source;
  try {
    return { ...source, url: new URL(source.url, document.baseURI).href };
  } catch {
    // The worker says what is wrong with it.
    return source;
  }
}

/** Returns the storage key of the test results of this browser's GPUs. */
function trustPlace(): string {
  return `honelm.gpu ${navigator.userAgent}`;
}

/** Returns the stored test results by adapter. */
function remembered(): Record<string, unknown> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(trustPlace()) ?? "{}");
    return typeof kept === "object" && kept !== null ? { ...kept } : {};
  } catch {
    // Without storage, or with invalid contents, the test runs again.
    return {};
  }
}

function remember(key: string, trust: unknown): void {
  try {
    localStorage.setItem(trustPlace(), JSON.stringify({ ...remembered(), [key]: trust }));
  } catch {
    // Without storage, the test runs again.
  }
}

/** Returns the size of the page's JavaScript heap, if the browser reports it. Workers cannot ask for theirs. */
function jsHeap(): number | null {
  const { memory } = performance as Performance & { memory?: { usedJSHeapSize: number } };
  return memory?.usedJSHeapSize ?? null;
}
