/**
 * Estimates of what a model needs here, before anything is downloaded.
 *
 * Memory is the size of the file (weights stay in their encoding), the key-value cache of a conversation where the shape of the model is
 * known, and a fixed share for the program. Speed follows from the bytes that are read for each token, which are nearly all weights.
 */
import { type AdapterReport, reportAdapter } from "../honelm";
import { bytes, rate } from "./format";
import { recall, remember } from "./preferences";

/** The numbers that determine the key-value cache. */
export interface Shape {
  layers: number;
  key_value_heads: number;
  head_width: number;
}

/** The memory that a model needs. */
export interface Need {
  weights: number;
  /** Null if the shape is unknown. */
  cache: number | null;
  total: number;
}

/** A judgement of a model on this device. */
export interface Verdict {
  level: "good" | "maybe" | "bad" | "unknown";
  text: string;
  /** The reasons, for those who ask. */
  detail: string;
}

/** The facts about this device. */
export interface Device {
  /** The name under which speeds are remembered. */
  name: string;
  gpu: boolean;
  /** The bytes of memory that the browser tells, rounded and with a limit of its own; null if it does not say. */
  memory: number | null;
  /** The bytes per second that it can read at most; null before they were measured. */
  reads: number | null;
  /** The bytes of weights per second that it has read while it answered; null before the first answer. */
  answers: number | null;
}

/** The tokens of a conversation whose cache is counted. */
export const CONVERSATION = 2048;
/** The bytes of a cached number (F16). */
const CACHED = 2;
/** The share of module, tokenizer and working memory. 20 MB were measured with the shipped model; a larger vocabulary needs more. */
const PROGRAM = 64e6;
/** The largest heap of a wasm module, of which the CPU's models are a part. */
const HEAP = 3.5e9;
/** The parts of the memory that a tab may take without and with hesitation. */
const EASY = 0.4;
const HARD = 0.7;

/** Returns the memory that a model needs with the cache of a conversation. */
export function need(weights: number, shape: Shape | null, tokens = CONVERSATION): Need {
  const cache = shape === null ? null : 2 * CACHED * shape.layers * shape.key_value_heads * shape.head_width * tokens;
  return { weights, cache, total: weights + (cache ?? 0) + PROGRAM };
}

/** Judges if a model fits this device. */
export function fits({ weights, cache, total }: Need, { gpu, memory }: Device): Verdict {
  const parts = [`weights ${bytes(weights)}`, ...(cache === null ? [] : [`${CONVERSATION} tokens of conversation ${bytes(cache)}`]), `program ${bytes(PROGRAM)}`];
  const whole = memory === null ? "The browser does not say how much memory there is." : `The browser reports ${memory >= 8e9 ? "at least " : ""}${bytes(memory)}.`;
  const detail = `Estimated: ${parts.join(", ")}. ${whole}`;
  if (!gpu && total > HEAP) return { level: "bad", text: "too large without a GPU", detail: `${detail} Without a GPU, a tab holds ${bytes(HEAP)} at most.` };
  if (memory === null) return { level: "unknown", text: `needs ${bytes(total)}`, detail };
  if (total <= memory * EASY) return { level: "good", text: "fits", detail };
  // Some browsers never tell more than 8 GB, so more may be there.
  if (total <= memory * HARD || memory >= 8e9) return { level: "maybe", text: "may fit", detail };
  return { level: "bad", text: "too large here", detail };
}

/** Returns the likely speed of answers. */
export function speed(weights: number, { reads, answers }: Device): { text: string; detail: string } | null {
  if (answers !== null) return { text: `about ${rate(answers / weights)}`, detail: "From the speed of earlier answers on this device." };
  if (reads !== null) return { text: `up to ≈ ${rate(reads / weights)}`, detail: "From the speed at which this device read memory when this page was opened; it is more on an idle device." };
  return null;
}

/** Remembers the speed of an answer for later estimates; returns the bytes of weights per second. */
export function learn(device: string, weights: number, tokensPerSecond: number): number {
  const before = recall("rates")[device] ?? 0;
  // A long context slows an answer down, so the best speed describes the device; an old one counts less and less.
  const rate = Math.max(weights * tokensPerSecond, 0.9 * before);
  remember("rates", { ...recall("rates"), [device]: rate });
  return rate;
}

/** Asks the browser about this device. */
export async function describeDevice(report?: AdapterReport): Promise<Device> {
  const adapter = report ?? (await reportAdapter());
  const gpu = adapter.available && !isSoftware(adapter.name);
  const name = gpu && adapter.available ? adapter.name : "cpu";
  const { deviceMemory } = navigator as Navigator & { deviceMemory?: number };
  const memory = deviceMemory === undefined ? null : deviceMemory * 1e9;
  return { name, gpu, memory, reads: gpu ? await gpuReads() : cpuReads(), answers: recall("rates")[name] ?? null };
}

/** Returns true for an adapter that computes on the CPU; the package then prefers its own kernels. */
export function isSoftware(name: string): boolean {
  return /swiftshader|llvmpipe|lavapipe|software|basic render/i.test(name);
}

/** Measures how fast one thread reads memory: the best of some passes over 8 MB, of which the first let the browser compile the loop. */
function cpuReads(): number {
  const numbers = new Float64Array(1 << 20).fill(1);
  let best = 0;
  for (let pass = 0; pass < 5; pass++) {
    const begin = performance.now();
    const total = sum(numbers);
    const elapsed = performance.now() - begin;
    if (total > 0 && elapsed > 0) best = Math.max(best, (1000 * numbers.byteLength) / elapsed);
  }
  return best;
}

/** Adds numbers in four sums, so that no addition waits for the one before. */
function sum(numbers: Float64Array): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < numbers.length; i += 4) {
    a += numbers[i] ?? 0;
    b += numbers[i + 1] ?? 0;
    c += numbers[i + 2] ?? 0;
    d += numbers[i + 3] ?? 0;
  }
  return a + b + c + d;
}

/** Measures how fast the GPU copies a buffer, which reads and writes each byte. */
async function gpuReads(): Promise<number | null> {
  const size = 64 << 20;
  const copies = 8;
  try {
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
    const device = await adapter?.requestDevice();
    if (!device) return null;
    const [from, to] = [0, 1].map(() => device.createBuffer({ size, usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST }));
    if (!from || !to) return null;
    const copy = async (times: number): Promise<number> => {
      const encoder = device.createCommandEncoder();
      for (let i = 0; i < times; i++) encoder.copyBufferToBuffer(from, 0, to, 0, size);
      const begin = performance.now();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return performance.now() - begin;
    };
    // The first copy also clears the buffers.
    await copy(1);
    const elapsed = await copy(copies);
    device.destroy();
    return elapsed > 0 ? (1000 * 2 * copies * size) / elapsed : null;
  } catch {
    return null;
  }
}
