/** Records of measurements: kept for comparison, exported, and read back. */
import type { Measurement } from "../honelm";

/** The measured numbers that are compared. */
export interface Row {
  name: string;
  unit: string;
  values: (number | null)[];
  /** The second value over the first; null if either is missing. */
  ratio: number | null;
}

/** Reads an exported record. */
export function fromJson(name: string, text: string): Measurement {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    throw new Error(`${name}: is not JSON; choose a record that this page has exported`);
  }
  const record = read as Partial<Measurement> | null;
  if (typeof record !== "object" || record === null || Array.isArray(record)) throw new Error(`${name}: found no object, expected a record of a measurement`);
  for (const field of ["honelm", "date", "user_agent"] as const) {
    if (typeof record[field] !== "string") throw new Error(`${name}: ${field}: found ${JSON.stringify(record[field])}, expected a text`);
  }
  for (const field of ["first_token_seconds", "decode_tokens_per_second", "prefill_tokens_per_second"] as const) {
    const value = record[field];
    if (value !== null && !(typeof value === "number" && value >= 0)) throw new Error(`${name}: ${field}: found ${JSON.stringify(value)}, expected a number or null`);
  }
  const { model, samples } = record;
  if (typeof model?.name !== "string" || (model.device !== "cpu" && model.device !== "gpu")) throw new Error(`${name}: model: found no name and device`);
  const valid = Array.isArray(samples) && samples.every((sample) =>
    typeof sample?.milliseconds === "number" && typeof sample.memory?.wasm_heap === "number" && typeof sample.memory.device?.weights === "number");
  if (!valid) throw new Error(`${name}: samples: expected a list of tokens with their time and memory`);
  return record as Measurement;
}

/** Returns a record's name for people. */
export function nameOf({ model, adapter, date }: Measurement): string {
  const place = model.device === "gpu" ? `WebGPU${adapter === null ? "" : ` (${adapter})`}` : "CPU";
  return `${model.name || "model"}, ${place}, ${date.slice(0, 16).replace("T", " ")}`;
}

/** Compares records, the first being the base. */
export function compare(records: [Measurement, Measurement]): Row[] {
  const row = (name: string, unit: string, take: (record: Measurement) => number | null): Row => {
    const values = records.map(take);
    const [base, other] = values;
    return { name, unit, values, ratio: base !== null && base !== undefined && base > 0 && other !== null && other !== undefined ? other / base : null };
  };
  return [
    row("Decode", "tok/s", (record) => record.decode_tokens_per_second),
    row("Prefill", "tok/s", (record) => record.prefill_tokens_per_second),
    row("First token", "s", (record) => record.first_token_seconds),
    row("Median time of a token", "ms", ({ samples }) => quantile(samples.slice(1).map(({ milliseconds }) => milliseconds), 0.5)),
    row("Slowest of 20 tokens", "ms", ({ samples }) => quantile(samples.slice(1).map(({ milliseconds }) => milliseconds), 0.95)),
    row("Weights", "MB", ({ samples }) => mega(samples.at(-1)?.memory.device.weights)),
    row("Wasm heap", "MB", ({ samples }) => mega(samples.at(-1)?.memory.wasm_heap)),
  ];
}

function mega(bytes: number | undefined): number | null {
  return bytes === undefined ? null : bytes / 1e6;
}

function quantile(values: number[], at: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(at * sorted.length))] ?? null;
}
