/** Models that come from the user's disk into the store, and go back as a file. */
import { StoreRecord } from "../../../pkg/honelm_web";
import { HoneLMError } from "../types";
import { packed, unpacked } from "./archive";
import type { Backend } from "./backend";
import { Meter } from "./meter";
import { Stored } from "./stored";
import type { DownloadProgress, StoredModel } from "./types";

/** A model on the user's disk. */
export interface Chosen {
  name: string;
  files: { path: string; blob: Blob }[];
}

const GGUF = /\.gguf$/i;

/** Returns the model among files that the user chose: a GGUF file, a tar archive, or the files of a folder. */
export async function chosen(files: File[]): Promise<Chosen> {
  const [only] = files;
  if (!only) throw new HoneLMError("no-files", "no file was chosen");
  if (files.length === 1 && /\.tar$/i.test(only.name)) return await ofArchive(only);
  if (files.length === 1 && GGUF.test(only.name)) {
    const magic = await only.slice(0, 4).text();
    if (magic === "GGUF") return { name: only.name.replace(GGUF, ""), files: [{ path: only.name, blob: only }] };
    throw new HoneLMError("not-a-model", `${only.name}: not a GGUF file: found ${JSON.stringify(magic)} at its beginning, expected "GGUF"`);
  }
  const named = files.map((file): [string, Blob] => [file.webkitRelativePath || file.name, file]);
  return ofFolder(new Map(named), "model", "choose a GGUF file, a tar archive, or all files of a model folder, including config.json");
}

async function ofArchive(archive: File): Promise<Chosen> {
  const name = archive.name.replace(/\.tar$/i, "");
  return ofFolder(await unpacked(archive), name, `${archive.name}: no model: found no config.json, expected a model folder`);
}

/** Returns the files beside the `config.json` that is nearest to the root. */
function ofFolder(files: Map<string, Blob>, name: string, problem: string): Chosen {
  const depth = (path: string): number => path.split("/").length;
  const configs = [...files.keys()].filter((path) => path === "config.json" || path.endsWith("/config.json"));
  const config = configs.sort((a, b) => depth(a) - depth(b))[0];
  if (config === undefined) throw new HoneLMError("not-a-model", problem);
  const base = config.slice(0, -"config.json".length);
  const within = [...files].filter(([path]) => path.startsWith(base) && !path.slice(base.length).includes("/"));
  const kept = within.map(([path, blob]) => ({ path: path.slice(base.length), blob })).filter(({ path }) => !path.startsWith("."));
  return { name: base.split("/").at(-2) || name, files: kept };
}

/** Stores a model. The caller must be the only writer. */
export async function store(
  backend: Backend, id: string, model: Chosen, tell: (progress: DownloadProgress) => void, signal: AbortSignal,
): Promise<File[] | undefined> {
  const { name, files } = model;
  const create = (): StoreRecord => StoreRecord.create(JSON.stringify({ id, name, url: null, added: Date.now() }));
  const stored = await Stored.open(backend, id, create);
  try {
    const meter = new Meter(tell);
    meter.stage = "importing";
    meter.total = files.reduce((sum, { blob }) => sum + blob.size, 0);
    await stored.makeRoom(meter.total);
    for (const { path, blob } of files) await copy(stored, path, blob, meter, signal);
    stored.record.list();
    await stored.commit();
    meter.tell();
  } catch (thrown) {
    await stored.close();
    await backend.remove(id);
    throw thrown;
  }
  return await stored.close();
}

async function copy(stored: Stored, path: string, blob: Blob, meter: Meter, signal: AbortSignal): Promise<void> {
  const file = await stored.add({ path, bytes: blob.size });
  for (let wanted; (wanted = stored.take(file, false)); ) {
    signal.throwIfAborted();
    const { chunk, begin, length } = wanted;
    let bytes: Uint8Array;
    try {
      bytes = new Uint8Array(await blob.slice(begin, begin + length).arrayBuffer());
    } catch {
      throw new HoneLMError("file-changed", `${path}: the file was changed, moved or removed after it was chosen`);
    }
    await stored.storeWhole(file, chunk, begin, bytes, 0);
    meter.add(length);
  }
}

/** Returns a complete model as one file: a GGUF file as it is, a folder as a tar archive. */
export function exported({ name, files }: Pick<StoredModel, "name" | "files">, contents: File[]): { name: string; blob: Blob } {
  const [only] = contents;
  if (files.length === 1 && only) return { name: only.name, blob: only };
  const folder = name.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^\.+/, "") || "model";
  return { name: `${folder}.tar`, blob: packed(folder, contents.map((file) => ({ path: file.name, file }))) };
}
