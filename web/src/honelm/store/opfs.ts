/** The origin's private file system: a folder per model, with its log and its numbered files. */
import type { Backend, Place } from "./backend";

const ROOT = "honelm-models";
const LOG = "log";
/** The attempts to open a file that another worker has open. A worker that was ended keeps its files for a moment. */
const ATTEMPTS = 40;
const PAUSE = 50;

export class Opfs implements Backend {
  readonly kind = "opfs";
  readonly #root: FileSystemDirectoryHandle;

  private constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  /** Returns undefined where the browser has no such file system, or does not allow it. */
  static async open(): Promise<Opfs | undefined> {
    try {
      if (!("createSyncAccessHandle" in FileSystemFileHandle.prototype)) return undefined;
      const origin = await navigator.storage.getDirectory();
      return new Opfs(await origin.getDirectoryHandle(ROOT, { create: true }));
    } catch {
      return undefined;
    }
  }

  async ids(): Promise<string[]> {
    const found: string[] = [];
    for await (const [name, handle] of this.#root.entries()) {
      if (handle.kind === "directory") found.push(name);
    }
    return found;
  }

  async log(id: string): Promise<Uint8Array | undefined> {
    try {
      const folder = await this.#root.getDirectoryHandle(id);
      const file = await (await folder.getFileHandle(LOG)).getFile();
      return new Uint8Array(await file.arrayBuffer());
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      throw thrown;
    }
  }

  async open(id: string, valid: number): Promise<Place> {
    const folder = await this.#root.getDirectoryHandle(id, { create: true });
    const log = await access(folder, LOG);
    log.truncate(valid);
    return new OpfsPlace(folder, log, valid);
  }

  async file(id: string, file: number, name: string): Promise<File> {
    const folder = await this.#root.getDirectoryHandle(id);
    const found = await (await folder.getFileHandle(String(file))).getFile();
    return new File([found], name);
  }

  async remove(id: string): Promise<void> {
    try {
      await this.#root.removeEntry(id, { recursive: true });
    } catch (thrown) {
      if (!isMissing(thrown)) throw thrown;
    }
  }
}

class OpfsPlace implements Place {
  readonly #folder: FileSystemDirectoryHandle;
  readonly #log: FileSystemSyncAccessHandle;
  readonly #files = new Map<number, Promise<FileSystemSyncAccessHandle>>();
  #end: number;
  #closed = false;

  constructor(folder: FileSystemDirectoryHandle, log: FileSystemSyncAccessHandle, end: number) {
    this.#folder = folder;
    this.#log = log;
    this.#end = end;
  }

  async append(lines: Uint8Array): Promise<void> {
    write(this.#log, lines, this.#end);
    this.#log.flush();
    this.#end += lines.length;
  }

  async store(file: number, begin: number, bytes: Uint8Array, from: number): Promise<void> {
    const handle = await this.#open(file);
    write(handle, bytes.subarray(from), begin + from);
    handle.flush();
  }

  async read(file: number, begin: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const found = (await this.#open(file)).read(bytes, { at: begin });
    // A file that was cut reads as zeros, so its hash differs.
    bytes.fill(0, found);
    return bytes;
  }

  async clear(file: number): Promise<void> {
    (await this.#open(file)).truncate(0);
  }

  close(): void {
    this.#closed = true;
    this.#log.close();
    for (const handle of this.#files.values()) void handle.then((handle) => handle.close(), () => {});
    this.#files.clear();
  }

  #open(file: number): Promise<FileSystemSyncAccessHandle> {
    if (this.#closed) throw new DOMException("the model was closed", "InvalidStateError");
    let handle = this.#files.get(file);
    if (!handle) {
      handle = access(this.#folder, String(file));
      this.#files.set(file, handle);
    }
    return handle;
  }
}

/** Writes all bytes. */
function write(handle: FileSystemSyncAccessHandle, bytes: Uint8Array, at: number): void {
  const written = handle.write(bytes as Uint8Array<ArrayBuffer>, { at });
  if (written !== bytes.length) throw new DOMException(`wrote ${written} of ${bytes.length} bytes`, "QuotaExceededError");
}

async function access(folder: FileSystemDirectoryHandle, name: string): Promise<FileSystemSyncAccessHandle> {
  const handle = await folder.getFileHandle(name, { create: true });
  for (let attempt = 1; ; attempt++) {
    try {
      return await handle.createSyncAccessHandle();
    } catch (thrown) {
      const taken = thrown instanceof DOMException && thrown.name === "NoModificationAllowedError";
      if (!taken || attempt === ATTEMPTS) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof DOMException && (thrown.name === "NotFoundError" || thrown.name === "TypeMismatchError");
}
