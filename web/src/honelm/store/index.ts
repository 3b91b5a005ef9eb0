/**
 * The models on this device.
 *
 * ```ts
 * const store = new ModelStore();
 * const { id } = await store.download({ url: "models/pocket/" }, ({ done, total }) => show(done, total));
 * await honelm.load(await store.source(id));
 * ```
 */
import { HoneLMError } from "../types";
import { CHANGES, type FromStore, type StoreCall, type StoreCalls, type ToStore } from "./protocol";
import type { DownloadProgress, ModelStoreApi, StoredModel, StoreSource, StoreSpace, Verified } from "./types";

export * from "./types";

type OnProgress = (progress: DownloadProgress) => void;

interface Pending {
  onProgress: OnProgress;
  resolve: (result: never) => void;
  reject: (error: HoneLMError) => void;
}

/** The models on this device, which a worker reads and writes. */
export class ModelStore implements ModelStoreApi {
  readonly #backend: StoreSpace["backend"] | undefined;
  readonly #changes = new BroadcastChannel(CHANGES);
  #worker: Worker | undefined;
  #pending = new Map<number, Pending>();
  #next = 0;

  /** `backend` chooses the place of the models; by default the best one of this browser. */
  constructor({ backend }: { backend?: StoreSpace["backend"] } = {}) {
    this.#backend = backend;
  }

  list(): Promise<StoredModel[]> {
    return this.#call("list", null);
  }

  space(): Promise<StoreSpace> {
    return this.#call("space", null);
  }

  async persist(): Promise<boolean> {
    return (await navigator.storage?.persist?.()) ?? false;
  }

  download(source: StoreSource, onProgress: OnProgress = () => {}, signal?: AbortSignal): Promise<StoredModel> {
    // The worker has another base address.
    let { url } = source;
    try {
      url = new URL(url, document.baseURI).href;
    } catch {
      // The worker tells of it.
    }
    return this.#call("download", { ...source, url }, onProgress, signal);
  }

  verify(id: string, onProgress: OnProgress = () => {}, signal?: AbortSignal): Promise<Verified> {
    return this.#call("verify", { id }, onProgress, signal);
  }

  async rename(id: string, name: string): Promise<void> {
    await this.#call("rename", { id, name });
  }

  async delete(id: string): Promise<void> {
    await this.#call("delete", { id });
  }

  export(id: string): Promise<{ name: string; blob: Blob }> {
    return this.#call("export", { id });
  }

  import(files: File[], onProgress: OnProgress = () => {}, signal?: AbortSignal): Promise<StoredModel> {
    return this.#call("import", { files }, onProgress, signal);
  }

  source(id: string): Promise<{ stored: string } | { files: File[]; name: string }> {
    return this.#call("source", { id });
  }

  onChange(listener: () => void): () => void {
    this.#changes.addEventListener("message", listener);
    return () => this.#changes.removeEventListener("message", listener);
  }

  /** Ends the worker. A download ends with it, and can be resumed. */
  close(): void {
    this.#broken(new HoneLMError("closed", "the store was closed"));
    this.#changes.close();
  }

  #call<C extends StoreCall>(
    call: C, request: StoreCalls[C]["request"], onProgress: OnProgress = () => {}, signal?: AbortSignal,
  ): Promise<StoreCalls[C]["result"]> {
    const id = this.#next++;
    const worker = this.#started();
    const abort = (): void => worker.postMessage({ id, call: "abort" } satisfies ToStore);
    const result = new Promise<StoreCalls[C]["result"]>((resolve, reject) => {
      this.#pending.set(id, { onProgress, resolve, reject });
      worker.postMessage({ id, call, request });
    });
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    return result.finally(() => signal?.removeEventListener("abort", abort));
  }

  #started(): Worker {
    if (!this.#worker) {
      const name = `honelm-store ${this.#backend ?? ""}`;
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name });
      worker.addEventListener("message", ({ data }: MessageEvent<FromStore>) => this.#heard(data));
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        this.#broken(new HoneLMError("worker", event.message || "the worker of the store could not be started"));
      });
      this.#worker = worker;
    }
    return this.#worker;
  }

  #heard(message: FromStore): void {
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    if ("progress" in message) {
      pending.onProgress(message.progress);
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
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of pending) call.reject(error);
  }
}
