/** A catalogue of models: a JSON file that anyone can host. web/README.md describes its form. */
import type { Shape } from "./estimate";

/** A model of a catalogue. */
export interface Entry {
  id: string;
  name: string;
  publisher: string;
  licence: string;
  summary: string;
  parameters: number | null;
  context: number | null;
  shape: Shape | null;
  /** `ORG/REPO` on the Hub, whose files are listed on demand. */
  hub: string | null;
  /** The encoding that is offered first. */
  prefer: string | null;
  files: EntryFile[];
}

/** A file of a model. */
export interface EntryFile {
  label: string;
  url: string;
  bytes: number | null;
  sha256: string | null;
  proof: Proof | null;
}

/** The verdict of the gate on a file (docs/report.md). */
export interface Proof {
  /** The accepted increase of the perplexity in percent, and the upper bound that was found. */
  budget_percent: number;
  increase_percent_upper95: number;
  /** The mean KL divergence from the original in nats. */
  kl_divergence: number;
  /** The address of the report. */
  report: string | null;
}

/** A catalogue, with the problems of entries that were left out. */
export interface Catalogue {
  models: Entry[];
  problems: string[];
}

/** The largest number of entries that is shown. */
const LIMIT = 500;

/** The bits per weight of encodings, for the size of a file that is not listed yet. */
const BITS: Record<string, number> = { F16: 16, BF16: 16, Q8_0: 8.5, Q6_K: 6.5625, Q5_K_M: 5.7, Q4_K_M: 4.9, Q4_0: 4.5 };

/** Estimates the size of an entry's preferred file; null if nothing is known. */
export function expectedBytes({ parameters, prefer, files }: Entry): { bytes: number; exact: boolean } | null {
  const listed = files[0]?.bytes ?? null;
  if (listed !== null) return { bytes: listed, exact: true };
  const bits = prefer === null ? undefined : BITS[prefer];
  return parameters === null || bits === undefined ? null : { bytes: (parameters * bits) / 8, exact: false };
}

/** Fetches a catalogue. */
export async function fetchCatalogue(address: string): Promise<Catalogue> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: the server answered ${answer.status}`);
  if ((answer.headers.get("content-type") ?? "").startsWith("text/html")) throw new Error(`${address}: found a web page, expected a catalogue in JSON`);
  const read: unknown = await answer.json().catch(() => {
    throw new Error(`${address}: found a text that is not JSON, expected a catalogue`);
  });
  return parse(address, read, answer.url || address);
}

/** Reads a catalogue; addresses in it are relative to `base`. Entries with a problem are left out, and the problem is told. */
export function parse(name: string, read: unknown, base: string): Catalogue {
  if (!isRecord(read) || !Array.isArray(read.models)) throw new Error(`${name}: models: found nothing, expected a list`);
  if (read.version !== 1) throw new Error(`${name}: version: found ${JSON.stringify(read.version)}, expected 1; update this page`);
  const models: Entry[] = [];
  const problems: string[] = [];
  for (const [i, each] of read.models.slice(0, LIMIT).entries()) {
    try {
      const made = entry(each, base);
      if (models.some(({ id }) => id === made.id)) throw new Error(`id: found ${JSON.stringify(made.id)} twice`);
      models.push(made);
    } catch (problem) {
      problems.push(`${name}: models[${i}]: ${problem instanceof Error ? problem.message : String(problem)}`);
    }
  }
  return { models, problems };
}

function entry(read: unknown, base: string): Entry {
  if (!isRecord(read)) throw new Error("found no object");
  const files = read.files === undefined ? [] : list("files", read.files).map((each, i) => file(`files[${i}]`, each, base));
  const hub = read.hub === undefined ? null : text("hub", read.hub);
  if (hub !== null && !/^[\w.-]+\/[\w.-]+$/.test(hub)) throw new Error(`hub: found ${JSON.stringify(hub)}, expected ORG/REPO`);
  if (files.length === 0 && hub === null) throw new Error("files: found nothing, expected a file, or hub");
  return {
    id: text("id", read.id), name: text("name", read.name), files, hub,
    publisher: optional("publisher", read.publisher) ?? "", licence: optional("licence", read.licence) ?? "",
    summary: optional("summary", read.summary) ?? "", prefer: optional("prefer", read.prefer),
    parameters: positive("parameters", read.parameters), context: positive("context", read.context),
    shape: shape(read.shape),
  };
}

function file(place: string, read: unknown, base: string): EntryFile {
  if (!isRecord(read)) throw new Error(`${place}: found no object`);
  const url = new URL(text(`${place}.url`, read.url), base);
  if (url.protocol !== "https:" && url.protocol !== "http:") throw new Error(`${place}.url: found ${url.protocol}, expected https:`);
  const sha256 = optional(`${place}.sha256`, read.sha256);
  if (sha256 !== null && !/^[\da-f]{64}$/.test(sha256)) throw new Error(`${place}.sha256: found ${JSON.stringify(sha256)}, expected 64 hexadecimal digits`);
  return { label: text(`${place}.label`, read.label), url: url.href, bytes: positive(`${place}.bytes`, read.bytes), sha256, proof: proof(`${place}.proof`, read.proof, base) };
}

function proof(place: string, read: unknown, base: string): Proof | null {
  if (read === undefined) return null;
  if (!isRecord(read)) throw new Error(`${place}: found no object`);
  const number = (name: string): number => {
    const value = read[name];
    if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`${place}.${name}: found ${JSON.stringify(value)}, expected a number`);
    return value;
  };
  const report = optional(`${place}.report`, read.report);
  return {
    budget_percent: number("budget_percent"), increase_percent_upper95: number("increase_percent_upper95"),
    kl_divergence: number("kl_divergence"), report: report === null ? null : new URL(report, base).href,
  };
}

function shape(read: unknown): Shape | null {
  if (read === undefined) return null;
  if (!isRecord(read)) throw new Error("shape: found no object");
  const number = (name: keyof Shape): number => {
    const value = positive(`shape.${name}`, read[name]);
    if (value === null) throw new Error(`shape.${name}: found nothing, expected a whole number`);
    return value;
  };
  return { layers: number("layers"), key_value_heads: number("key_value_heads"), head_width: number("head_width") };
}

function isRecord(read: unknown): read is Record<string, unknown> {
  return typeof read === "object" && read !== null && !Array.isArray(read);
}

function list(place: string, read: unknown): unknown[] {
  if (!Array.isArray(read)) throw new Error(`${place}: found ${JSON.stringify(read)}, expected a list`);
  return read;
}

function text(place: string, read: unknown): string {
  const found = optional(place, read);
  if (found === null || found === "") throw new Error(`${place}: found nothing, expected a text`);
  return found;
}

function optional(place: string, read: unknown): string | null {
  if (read === undefined || read === null) return null;
  if (typeof read !== "string" || read.length > 2000) throw new Error(`${place}: expected a text of at most 2000 characters`);
  return read;
}

function positive(place: string, read: unknown): number | null {
  if (read === undefined || read === null) return null;
  if (typeof read !== "number" || !Number.isSafeInteger(read) || read <= 0) throw new Error(`${place}: found ${JSON.stringify(read)}, expected a whole number above 0`);
  return read;
}
