/** The dedicated worker of the store: only workers may write to the private file system without copies. */
import init from "../../../pkg/honelm_web";
import { built } from "../built";
import { HoneLMError } from "../types";
import { type Backend, backends } from "./backend";
import { address, download } from "./download";
import { chosen, exported, store } from "./import";
import { CHANGES, type FromStore, type StoreCall, type StoreCalls, type ToStore } from "./protocol";
import { contents, summaryOf } from "./read";
import { noSuchModel, Stored } from "./stored";
import type { DownloadProgress, Manifest, ManifestFile, StoredModel, StoreSpace } from "./types";
import { verify } from "./verify";

declare const self: DedicatedWorkerGlobalScope;

const ready = init({ module_or_path: built("honelm_web_bg.wasm", new URL("../../../pkg/honelm_web_bg.wasm", import.meta.url)) });
/** The places of models; the first gets new ones. The worker's name can choose it. */
const places = backends().then((found) => {
  const wanted = found.filter(({ kind }) => self.name.endsWith(` ${kind}`));
  return wanted.length > 0 ? wanted : found;
});
/** Files of models that are partly in this tab's memory. */
const refused = new Map<string, File[]>();
const changes = new BroadcastChannel(CHANGES);
const running = new Map<number, AbortController>();

type Tell = (progress: DownloadProgress) => void;

const does: { [C in StoreCall]: (request: StoreCalls[C]["request"], tell: Tell, signal: AbortSignal) => Promise<StoreCalls[C]["result"]> } = {
  async list() {
    const found: StoredModel[] = [];
    for (const backend of await places) {
      for (const id of await backend.ids()) {
        const summary = await summaryOf(backend, id);
        if (summary) found.push({ ...summary, memory: refused.has(id) || backend.kind === "memory" });
      }
    }
    return found.sort((a, b) => (b.used ?? b.added) - (a.used ?? a.added));
  },
  async space() {
    return await space(await best());
  },
  async download(source, tell, signal) {
    const from = await address(source);
    const files = described(source.manifest, from.single);
    const backend = (await holder(from.id)) ?? (await best());
    return await alone(from.id, tell, signal, async () => {
      if (!refused.has(from.id)) keep(from.id, await download(backend, from, files, tell, signal));
      return await listed(backend, from.id);
    });
  },
  async verify({ id }, tell, signal) {
    const backend = await required(id);
    return await alone(id, tell, signal, () => verify(backend, id, tell, signal));
  },
  async rename({ id, name }, tell, signal) {
    const backend = await required(id);
    await alone(id, tell, signal, () => noted(backend, id, (stored) => stored.record.rename(name)));
    return null;
  },
  async delete({ id }, tell, signal) {
    await alone(id, tell, signal, async () => {
      for (const backend of await places) await backend.remove(id);
      refused.delete(id);
    });
    return null;
  },
  async export({ id }) {
    const backend = await required(id);
    const { name, files } = await listed(backend, id);
    return exported({ name, files }, refused.get(id) ?? (await contents(backend, id)).files);
  },
  async import({ files }, tell, signal) {
    const model = await chosen(files);
    const id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const backend = await best();
    return await alone(id, tell, signal, async () => {
      keep(id, await store(backend, id, model, tell, signal));
      return await listed(backend, id);
    });
  },
  async source({ id }, _, signal) {
    const backend = await required(id);
    const { name } = await listed(backend, id);
    const kept = refused.get(id);
    if (kept) return { files: kept, name };
    if (backend.kind === "memory") return await contents(backend, id);
    await unlessTaken(id, signal, () => noted(backend, id, (stored) => stored.record.used(Date.now())));
    return { stored: id };
  },
};

/** Remembers the files of a model that is partly in memory. */
function keep(id: string, files: File[] | undefined): void {
  if (files) refused.set(id, files);
  else refused.delete(id);
}

async function best(): Promise<Backend> {
  const [first] = await places;
  if (!first) throw new HoneLMError("internal", "no place for models");
  return first;
}

/** Returns the place that has a model. */
async function holder(id: string): Promise<Backend | undefined> {
  for (const backend of await places) if (await summaryOf(backend, id)) return backend;
  return undefined;
}

async function required(id: string): Promise<Backend> {
  const found = await holder(id);
  if (!found) throw noSuchModel(id);
  return found;
}

async function listed(backend: Backend, id: string): Promise<StoredModel> {
  const summary = await summaryOf(backend, id);
  if (!summary) throw noSuchModel(id);
  return { ...summary, memory: refused.has(id) || backend.kind === "memory" };
}

/** Changes the record of a model. */
async function noted(backend: Backend, id: string, change: (stored: Stored) => void): Promise<void> {
  const stored = await Stored.open(backend, id);
  try {
    change(stored);
    await stored.commit();
  } finally {
    await stored.close();
  }
}

async function space(backend: Backend): Promise<StoreSpace> {
  const estimate = (await navigator.storage?.estimate?.()) ?? {};
  const [used, quota] = [estimate.usage ?? 0, estimate.quota ?? null];
  const persisted = (await navigator.storage?.persisted?.()) ?? false;
  return { used, quota, available: quota === null ? null : Math.max(0, quota - used), persisted, backend: backend.kind };
}

/** Returns a publisher's files. A single file has the name of its address. */
function described(manifest: Manifest | undefined, single: string | undefined): ManifestFile[] | undefined {
  if (manifest === undefined) return undefined;
  const invalid = (expected: string): HoneLMError => new HoneLMError("invalid-manifest", `manifest: files: expected ${expected}`);
  const { files } = manifest;
  if (!Array.isArray(files) || files.length === 0) throw invalid("a list of files");
  const whole = files.find(({ parts, chunk_bytes }) => parts === true && chunk_bytes === undefined);
  if (whole) throw invalid(`chunk_bytes beside parts for ${whole.path}`);
  const first = files[0];
  if (single === undefined || !first) return files;
  if (files.length !== 1) throw invalid("one file, since the address is that of a file");
  return [{ ...first, path: single }];
}

/** Runs `work` while no other tab changes the model. */
async function alone<T>(id: string, tell: Tell, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  // Without locks (pages without HTTPS), only IndexedDB is used, whose changes are atomic.
  if (!navigator.locks) return await work();
  const name = `honelm-store ${id}`;
  const taken = Symbol();
  const found = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => (lock ? await work() : taken));
  if (found !== taken) return found as T;
  tell({ stage: "waiting", done: 0, total: null, bytes_per_second: 0, seconds_left: null, ranges: true });
  return (await navigator.locks.request(name, { signal }, work)) as T;
}

/** Runs `work` unless another tab changes the model. */
async function unlessTaken(id: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  signal.throwIfAborted();
  if (!navigator.locks) return await work();
  await navigator.locks.request(`honelm-store ${id}`, { ifAvailable: true }, async (lock) => {
    if (lock) await work();
  });
}

function send(message: FromStore): void {
  self.postMessage(message);
}

async function handle<C extends StoreCall>(id: number, call: C, request: StoreCalls[C]["request"]): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  try {
    await ready;
    const result = await does[call](request, (progress) => send({ id, progress }), controller.signal);
    send({ id, result });
  } catch (thrown) {
    const { code, message } = HoneLMError.from(thrown);
    send({ id, error: { code, message } });
  } finally {
    running.delete(id);
    if (call !== "list" && call !== "space" && call !== "export") changes.postMessage(call);
  }
}

self.addEventListener("message", ({ data }: MessageEvent<ToStore>) => {
  if (data.call === "abort") running.get(data.id)?.abort(new HoneLMError("interrupted", "the work was stopped; it can be resumed"));
  else void handle(data.id, data.call, data.request);
});
