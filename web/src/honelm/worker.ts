/** The dedicated worker, which owns the wasm module and one model. */
import init, { type ModelFiles, plan, probe, version, WebModel } from "../../pkg/honelm_web";
import { nameOf } from "./adapter";
import { ReadAhead } from "./ahead";
import { built } from "./built";
import { buildAhead, kernelsBuilt } from "./kernels";
import type { Call, Calls, FromWorker, ToWorker } from "./protocol";
import { filesOf } from "./sources";
import { type AnswerEvent, type DeviceState, type GenerationSettings, HoneLMError, type Measurement, type Memory, type ModelFacts, type Sample, type Source } from "./types";

declare const self: DedicatedWorkerGlobalScope & {
  honelmPanicked: (message: string) => void;
  honelmKernelsBuilt: typeof kernelsBuilt;
  /** Information about the GPU that was opened last, as JSON; the wasm module cannot ask for it. */
  honelmAdapter: string;
  /** The device that was opened last. Tests destroy it. */
  honelmDevice: GPUDevice | undefined;
};

/** The number of lost devices that an answer outlives. */
const RECOVERIES = 3;
/** The size of the heap from which a trap of the module without a message is a lack of memory, in bytes. */
const FULL = 3 * 2 ** 30;
/** Advice if memory is short. */
const ADVICE = "choose a smaller model, one with fewer bits per weight, a shorter context or the cache type q8_0 or q4_0, or close other tabs";

const ready = init({ module_or_path: built("honelm_web_bg.wasm", new URL("../../pkg/honelm_web_bg.wasm", import.meta.url)) });
let model: WebModel | undefined;
/** The source of the model. */
let origin: { source: Source; context: number | undefined } | undefined;
/** The answer that is being written, and the model that is being loaded. */
let writing: Promise<unknown> = Promise.resolve();
let loading: Promise<unknown> = Promise.resolve();
/** Aborts the reading of a model's files. */
let reading = new AbortController();
/** The message of a panic. The module cannot be used after it. */
let panic: string | undefined;

self.honelmPanicked = (message) => {
  panic = message;
};

self.honelmKernelsBuilt = kernelsBuilt;

if (typeof GPUAdapter !== "undefined") describe(GPUAdapter.prototype);
if (typeof GPUDevice !== "undefined") buildAhead(GPUDevice.prototype);

/** Passes information about each opened adapter to the wasm module, and requests subgroups if available. wgpu does neither in a browser. */
function describe(adapters: GPUAdapter): void {
  const request = adapters.requestDevice;
  adapters.requestDevice = function (this: GPUAdapter, descriptor: GPUDeviceDescriptor = {}) {
    const { info, features } = this;
    const has = features.has("subgroups");
    const sizes = [info.subgroupMinSize, info.subgroupMaxSize];
    const subgroups = has && sizes.every(Number.isInteger) ? sizes : null;
    self.honelmAdapter = JSON.stringify({ name: nameOf(info), is_fallback: info.isFallbackAdapter ?? false, subgroups });
    const requiredFeatures = [...(descriptor.requiredFeatures ?? []), ...(has ? ["subgroups" as const] : [])];
    const opened = request.call(this, { ...descriptor, requiredFeatures });
    void opened.then((device) => {
      self.honelmDevice = device;
    }, () => {});
    return opened;
  };
}

/** The implementation of each call; `tell` sends events. */
const does: { [C in Call]: (request: Calls[C]["request"], tell: (event: Calls[C]["event"]) => void) => Promise<Calls[C]["result"]> } = {
  async load({ source, options }, tell) {
    const mine = loading.catch(() => {}).then(async () => {
      await ready;
      await unload();
      model = await WebModel.load(await opened(source), JSON.stringify(options), (json: string) => tell(JSON.parse(json)));
      origin = { source, context: options.context };
      return facts(model);
    });
    loading = mine;
    return await mine;
  },
  async chat({ messages, settings }, tell) {
    const [model, heard] = [loaded(), (json: string) => tell(JSON.parse(json))];
    const chat = (): Promise<string> => model.chat(JSON.stringify(messages), JSON.stringify(settings), heard);
    return JSON.parse(await written(surviving(model, chat, () => model.resume(heard))));
  },
  async complete({ text, settings }, tell) {
    return JSON.parse(await written(complete(loaded(), text, settings, (json) => tell(JSON.parse(json)))));
  },
  async embed({ texts, settings }) {
    const model = loaded();
    const embed = (): Promise<string> => model.embed(JSON.stringify(texts), JSON.stringify(settings));
    return JSON.parse(await written(surviving(model, embed, embed)));
  },
  async measure({ prompt, tokens, adapter }, tell) {
    return await measure(loaded(), prompt, tokens, adapter, tell);
  },
  async check({ text, settings }, tell) {
    return JSON.parse(await written(check(loaded(), text, JSON.stringify(settings), (json) => tell(JSON.parse(json)))));
  },
  async memory() {
    return memory(loaded());
  },
  async plan({ source, options, measure }) {
    await ready;
    return JSON.parse(await plan(await filesOf(source, reading.signal), JSON.stringify(options), measure));
  },
  async probe({ encoding, options }) {
    await ready;
    return JSON.parse(await probe(encoding, JSON.stringify(options)));
  },
  async unload() {
    await unload();
    return null;
  },
};

/** Returns the files of a model that is to be loaded. */
async function opened(source: Source): Promise<ModelFiles> {
  return new ReadAhead(await filesOf(source, reading.signal));
}

/** Ends the answer that is being written, and the reading of a model's files. */
function stop(): void {
  reading.abort(new HoneLMError("interrupted", "loading was stopped"));
  reading = new AbortController();
  model?.abort();
}

/** Stops, and frees the model. */
async function unload(): Promise<void> {
  stop();
  await writing.catch(() => {});
  model?.free();
  model = undefined;
}

/** Continues a text. */
function complete(model: WebModel, text: string, settings: GenerationSettings, heard: (json: string) => void): Promise<string> {
  return surviving(model, () => model.complete(text, JSON.stringify(settings), heard), () => model.resume(heard));
}

/** Waits for an answer. If the device is lost, places the model again and goes on with `again`. */
async function surviving(model: WebModel, answer: () => Promise<string>, again: () => Promise<string>): Promise<string> {
  let next = answer;
  for (let lost = 0; ; lost++) {
    try {
      return await next();
    } catch (thrown) {
      if (HoneLMError.from(thrown).code !== "device-lost") throw thrown;
      const problem = lost < RECOVERIES ? await recovered(model, thrown) : thrown;
      if (problem !== undefined) {
        // The answer that waits for a device ends with what it has. That is the result if the user has stopped it.
        model.abort();
        const rest = await again().catch(() => undefined);
        if (rest !== undefined && HoneLMError.from(problem).code === "interrupted") return rest;
        throw problem;
      }
      next = again;
    }
  }
}

/** Places the model on a device again. Returns the reason if that fails. */
async function recovered(model: WebModel, lost: unknown): Promise<unknown> {
  const { message } = described(lost);
  const tell = (state: DeviceState): void => send({ id: null, state });
  try {
    if (!origin) throw lost;
    tell({ state: "recovering", message });
    const found = await model.recover(await opened(origin.source), (json: string) => tell({ state: "recovering", message, progress: JSON.parse(json) }));
    tell({ state: "ready", facts: JSON.parse(found) });
    return undefined;
  } catch (problem) {
    tell({ state: "lost", message: described(problem).message });
    return problem;
  }
}

/** Waits for an answer. Unloading the model waits for it too. */
async function written(answer: Promise<string>): Promise<string> {
  // A second answer is rejected at once, and must not hide the first.
  writing = Promise.allSettled([writing, answer]);
  return await answer;
}

function loaded(): WebModel {
  if (!model) throw new HoneLMError("no-model", "no model is loaded");
  return model;
}

function facts(model: WebModel): ModelFacts {
  return JSON.parse(model.facts());
}

function memory(model: WebModel): Memory {
  return JSON.parse(model.memory());
}

/** Compares the model with itself on the CPU in single precision. */
async function check(model: WebModel, text: string, settings: string, tell: (json: string) => void): Promise<string> {
  if (!origin) throw new HoneLMError("no-model", "no model is loaded");
  const exact = { device: "cpu", compute: "f32", cache_type: "f32", context: origin.context };
  const { signal } = reading;
  const reference = await WebModel.load(await opened(origin.source), JSON.stringify(exact), () => {});
  try {
    signal.throwIfAborted();
    return await model.check(reference, text, settings, tell);
  } finally {
    reference.free();
  }
}

async function measure(
  model: WebModel, prompt: string, tokens: number, adapter: string | null, tell: (sample: Sample) => void,
): Promise<Measurement> {
  const samples: Sample[] = [];
  const before = memory(model);
  let last = performance.now();
  const heard = (json: string): void => {
    const event: AnswerEvent = JSON.parse(json);
    if (event.token === undefined) return;
    const now = performance.now();
    const sample = { token: samples.length + 1, milliseconds: now - last, memory: memory(model), js_heap: null };
    last = now;
    samples.push(sample);
    tell(sample);
  };
  const settings = { max_tokens: tokens, temperature: 0, ignore_eos: true };
  const answer = JSON.parse(await written(complete(model, prompt, settings, heard)));
  return {
    honelm: version(),
    date: new Date().toISOString(),
    user_agent: navigator.userAgent,
    model: facts(model),
    adapter,
    prompt_tokens: answer.prompt_tokens,
    first_token_seconds: answer.first_token_seconds,
    decode_tokens_per_second: answer.decode_tokens_per_second,
    prefill_tokens_per_second: answer.prefill_tokens_per_second,
    before,
    samples,
  };
}

function send(message: FromWorker): void {
  self.postMessage(message);
}

/** Converts an error to a message; after a panic, the panic. */
function described(thrown: unknown): { code: string; message: string } {
  if (panic !== undefined) return { code: "panic", message: panic };
  const { code, message } = HoneLMError.from(thrown);
  return code === "out-of-memory" ? { code, message: `${message}; ${ADVICE}` } : { code, message };
}

// A trap leaves the module unusable, and the promises of its calls without an end.
self.addEventListener("error", (event) => {
  if (!(event.error instanceof WebAssembly.RuntimeError)) return;
  event.preventDefault();
  void ready.then(({ memory }) => {
    const isFull = panic === undefined && memory.buffer.byteLength > FULL;
    const thrown = isFull ? new HoneLMError("out-of-memory", "the memory of this tab is full") : event.error;
    send({ id: null, error: described(thrown) });
  });
});

async function handle<C extends Call>(id: number, call: C, request: Calls[C]["request"]): Promise<void> {
  try {
    const result = await does[call](request, (event) => send({ id, event }));
    send({ id, result });
  } catch (thrown) {
    send({ id, error: described(thrown) });
    if (panic !== undefined) send({ id: null, error: described(thrown) });
  }
}

self.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  if (data.call === "abort") stop();
  else void handle(data.id, data.call, data.request);
});
