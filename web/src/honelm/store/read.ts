/** Stored models for reading. Nothing here changes them, and nothing reaches the network. */
import { StoreRecord } from "../../../pkg/honelm_web";
import { HoneLMError } from "../types";
import { type Backend, backends } from "./backend";
import { noSuchModel } from "./stored";
import type { StoredModel } from "./types";

/** Returns a model as it is listed; undefined if there is none of this id, or its log is damaged from the beginning. */
export async function summaryOf(backend: Backend, id: string): Promise<Omit<StoredModel, "memory"> | undefined> {
  const log = await backend.log(id);
  if (log === undefined) return undefined;
  try {
    const record = StoreRecord.replay(log);
    const summary = JSON.parse(record.summary());
    record.free();
    return summary;
  } catch {
    return { id, name: id, url: null, bytes: 0, stored: 0, state: "damaged", files: [], added: 0, used: null, hashes: "recorded" };
  }
}

/** Returns the files of a complete model. Their bytes are read when they are needed. */
export async function contents(backend: Backend, id: string): Promise<{ name: string; files: File[] }> {
  const summary = await summaryOf(backend, id);
  if (!summary) throw noSuchModel(id);
  const { name, state, files } = summary;
  if (state === "damaged") throw new HoneLMError("damaged", `${name}: some of its stored bytes are damaged; check it, which fetches them again`);
  if (state === "partial") throw new HoneLMError("not-complete", `${name}: it is not completely stored; resume its download`);
  return { name, files: await Promise.all(files.map(({ path }, file) => backend.file(id, file, path))) };
}

/** Returns the files of a complete model, wherever it is stored. The wasm module must be there. */
export async function storedFiles(id: string): Promise<{ name: string; files: File[] }> {
  for (const backend of await backends()) {
    if ((await backend.log(id)) !== undefined) return await contents(backend, id);
  }
  throw noSuchModel(id);
}
