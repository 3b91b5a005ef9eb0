/** Types of the model store: models on this device, in chunks whose hashes are known. */

/** The address of a model that is to be stored. */
export interface StoreSource {
  /** The address of a GGUF file, or of a folder with `config.json`, safetensors and tokenizer. */
  url: string;
  /** The name that the model is listed under; by default the file's or folder's. */
  name?: string;
  /** The expected files. Without it, the hashes are recorded as the bytes arrive. */
  manifest?: Manifest;
}

/** The files of a model, as their publisher describes them (`honelm.json`). */
export interface Manifest {
  files: ManifestFile[];
}

/** One file of a manifest. */
export interface ManifestFile {
  /** The path below the folder's address; for a single file, its name. */
  path: string;
  bytes: number;
  /** The SHA-256 of the whole file, as 64 hexadecimal digits. The Hub publishes it for large files. */
  sha256?: string;
  /** The bytes per chunk of `chunks`: 1 to 64 MiB. */
  chunk_bytes?: number;
  /** The SHA-256 of each chunk. */
  chunks?: string[];
  /**
   * True if the server has each chunk of `chunk_bytes` as a file of its own, `PATH.parts/00000` and so on, instead of the whole file. It then
   * needs no byte ranges.
   */
  parts?: boolean;
}

/** A model in the store. */
export interface StoredModel {
  /** A name that never changes and no other model has. */
  id: string;
  name: string;
  /** The address that the model came from; null for an imported one. */
  url: string | null;
  /** The bytes of all known files. */
  bytes: number;
  /** The bytes that are stored. */
  stored: number;
  /** `partial`: `download` resumes it. `damaged`: `verify` repairs it. */
  state: "complete" | "partial" | "damaged";
  files: { path: string; bytes: number }[];
  /** The times of the download's start and of the last load, in milliseconds since 1970. */
  added: number;
  used: number | null;
  /** `manifest`: the publisher's hashes; `recorded`: those of the bytes as they arrived. */
  hashes: "manifest" | "recorded";
  /** True if bytes of it are only in this tab's memory, because the browser refused the space. `state` describes what is stored. */
  memory: boolean;
}

/** The space of the store in bytes. */
export interface StoreSpace {
  /** The bytes that this site uses, all its data included. */
  used: number;
  /** The bytes that the browser allows this site; null if it does not say. */
  quota: number | null;
  /** The bytes that are left; null if the browser does not say. */
  available: number | null;
  /** True if the browser does not delete the data by itself. */
  persisted: boolean;
  /** The place of the data: `memory` is lost when the tab closes. */
  backend: "opfs" | "indexeddb" | "memory";
}

/** The progress of a download, a check or an import. */
export interface DownloadProgress {
  /**
   * `waiting`: another tab stores the same model; `checking`: stored bytes are compared with their hashes; `memory`: the browser
   * refuses the space, so the rest is kept in this tab's memory.
   */
  stage: "waiting" | "downloading" | "memory" | "checking" | "importing";
  /** Bytes, of all files known so far. `total` is null while a size is unknown. */
  done: number;
  total: number | null;
  /** The speed over the last seconds. Bytes that were stored before do not count. */
  bytes_per_second: number;
  seconds_left: number | null;
  /** False if the server cannot send parts of a file: the file comes as a whole, and an interruption starts it again. */
  ranges: boolean;
}

/** The result of a check. The numbers count chunks. */
export interface Verified {
  checked: number;
  damaged: number;
  /** The damaged chunks that were fetched again. */
  repaired: number;
}

/**
 * The models on this device.
 *
 * Errors are `HoneLMError`s. An aborted call rejects with the code `interrupted`; what arrived is kept. Other codes: `html-page`,
 * `http-status`, `unreachable`, `file-not-found`, `file-changed`, `cut-short`, `wrong-hash`, `no-such-model`, `invalid-manifest`,
 * `not-a-model`, `store-full`.
 */
export interface ModelStoreApi {
  list(): Promise<StoredModel[]>;
  space(): Promise<StoreSpace>;
  /** Asks the browser to keep the data. Call it on a click: some browsers ask the user. */
  persist(): Promise<boolean>;
  /** Stores a model, or resumes it. The address identifies the model. Aborting pauses. */
  download(source: StoreSource, onProgress?: (progress: DownloadProgress) => void, signal?: AbortSignal): Promise<StoredModel>;
  /** Compares all stored chunks with their hashes, and fetches the damaged ones again. */
  verify(id: string, onProgress?: (progress: DownloadProgress) => void, signal?: AbortSignal): Promise<Verified>;
  rename(id: string, name: string): Promise<void>;
  delete(id: string): Promise<void>;
  /** Returns a GGUF file as it is, and a folder as an uncompressed tar archive. Nothing is copied until the blob is read. */
  export(id: string): Promise<{ name: string; blob: Blob }>;
  /** Stores files that the user chose: a GGUF file, a tar archive of `export`, or the files of a folder. */
  import(files: File[], onProgress?: (progress: DownloadProgress) => void, signal?: AbortSignal): Promise<StoredModel>;
  /** Returns the source for `HoneLM.load`: `{ stored: id }`, or the files of a model that is partly in memory. */
  source(id: string): Promise<{ stored: string } | { files: File[]; name: string }>;
  /** Calls `listener` after every change of the list, in any tab. Returns a function that ends it. */
  onChange(listener: () => void): () => void;
}
