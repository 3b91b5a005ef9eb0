/** The bytes of a model: byte ranges of files on a server or on the user's disk. */
import type { ModelFiles } from "../../pkg/honelm_web";
import { storedFiles } from "./store/read";
import { HoneLMError, type Source } from "./types";

/** Returns the files of `source`. After `signal` aborts, reads throw its reason. */
export async function filesOf(source: Source, signal: AbortSignal): Promise<ModelFiles> {
  if ("url" in source) return new RemoteFiles(source.url, signal);
  const { files, name } = "stored" in source ? await storedFiles(source.stored) : source;
  return new LocalFiles(files, signal, name);
}

/** Files that the user chose, or that are stored. */
class LocalFiles implements ModelFiles {
  readonly name: string;
  readonly single: string | undefined;
  readonly #files: Map<string, File>;
  readonly #signal: AbortSignal;

  constructor(files: File[], signal: AbortSignal, name?: string) {
    this.#signal = signal;
    if (files.length === 0) throw new HoneLMError("no-files", "no file was chosen");
    this.#files = new Map(files.map((file) => [file.name, file]));
    const only = files.length === 1 ? files[0] : undefined;
    const gguf = files.find((file) => file.name.toLowerCase().endsWith(".gguf"));
    this.single = only?.name ?? (this.#files.has("config.json") ? undefined : gguf?.name);
    if (this.single === undefined && !this.#files.has("config.json")) {
      throw new HoneLMError("not-a-model", "choose a GGUF file, or all files of a model folder, including config.json");
    }
    this.name = this.single ?? name ?? (files[0]?.webkitRelativePath.split("/")[0] || "model");
  }

  async size(name: string): Promise<number | undefined> {
    return this.#files.get(name)?.size;
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    this.#signal.throwIfAborted();
    const file = this.#files.get(name);
    if (!file) throw new HoneLMError("file-not-found", `${name}: not among the chosen files`);
    try {
      return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
    } catch {
      throw new HoneLMError("file-changed", `${name}: the file was changed, moved or removed after it was chosen`);
    }
  }
}

/** A file on a server. */
interface Remote {
  url: string;
  size: number;
  etag: string | null;
  /** The whole file, if it was small enough for the first response. */
  whole: Uint8Array | undefined;
  /** The beginning of a larger file, until it is read. */
  head: Uint8Array | undefined;
}

/** The size below which files are read at once: configurations and tokenizers, for which some servers support no ranges. */
const WHOLE = 1 << 20;

/** A GGUF file at an address, or a folder below one. */
class RemoteFiles implements ModelFiles {
  readonly name: string;
  readonly single: string | undefined;
  readonly #base: URL;
  readonly #signal: AbortSignal;
  readonly #known = new Map<string, Promise<Remote | undefined>>();

  constructor(address: string, signal: AbortSignal) {
    this.#signal = signal;
    try {
      this.#base = new URL(address, self.location.href);
    } catch {
      throw new HoneLMError("invalid-url", `${address}: not a valid address`);
    }
    const name = decoded(this.#base.pathname.split("/").pop() ?? "");
    if (/\.(gguf|safetensors)$/i.test(name)) {
      this.single = name;
    } else if (!this.#base.pathname.endsWith("/")) {
      this.#base.pathname += "/";
    }
    const folder = this.#base.pathname.split("/").at(-2) ?? "";
    this.name = this.single ?? (decoded(folder) || this.#base.host);
  }

  async size(name: string): Promise<number | undefined> {
    return (await this.#find(name))?.size;
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    const file = await this.#find(name);
    if (!file) throw new HoneLMError("file-not-found", `${this.#url(name)}: file not found`);
    if (file.whole) return file.whole.slice(offset, offset + length);
    const { head } = file;
    if (offset !== 0 || head === undefined) return await this.#range(file, offset, length);
    file.head = undefined;
    if (length <= head.length) return head.slice(0, length);
    const bytes = new Uint8Array(length);
    bytes.set(await this.#range(file, head.length, length - head.length), head.length);
    bytes.set(head);
    return bytes;
  }

  async #range(file: Remote, offset: number, length: number): Promise<Uint8Array> {
    const response = await this.#request(file.url, { Range: `bytes=${offset}-${offset + length - 1}` });
    if (response.status === 200) {
      await response.body?.cancel();
      throw noRanges(file.url);
    }
    if (response.status !== 206) throw refused(file.url, response);
    const etag = response.headers.get("etag");
    if (file.etag !== null && etag !== null && etag !== file.etag) {
      throw new HoneLMError("file-changed", `${file.url}: the file changed while it was read; load it again`);
    }
    const bytes = await this.#body(file.url, response);
    if (bytes.length !== length) throw cutShort(file.url, length, bytes.length);
    return bytes;
  }

  #url(name: string): string {
    if (name === this.single) return this.#base.href;
    const url = new URL(encodeURIComponent(name), this.#base);
    // The query of a signed address applies to each of its files.
    url.search = this.#base.search;
    return url.href;
  }

  #find(name: string): Promise<Remote | undefined> {
    let found = this.#known.get(name);
    if (!found) {
      found = this.#look(name);
      this.#known.set(name, found);
    }
    return found;
  }

  /** Requests the beginning of a file, and with it the size. */
  async #look(name: string): Promise<Remote | undefined> {
    const url = this.#url(name);
    const response = await this.#request(url, { Range: `bytes=0-${WHOLE - 1}` });
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return undefined;
    }
    const etag = response.headers.get("etag");
    if (response.status === 416) {
      // The file is empty.
      await response.body?.cancel();
      return { url, size: 0, etag, whole: new Uint8Array(), head: undefined };
    }
    if (response.status !== 200 && response.status !== 206) throw refused(url, response);
    if (isHtml(response)) {
      await response.body?.cancel();
      // Many servers return their front page for every unknown address.
      if (name !== this.single && name !== "config.json") return undefined;
      throw new HoneLMError("html-page", `${url}: the server returned a web page instead of a model file; use the download address`);
    }
    if (response.status === 200) {
      const length = Number(response.headers.get("content-length") ?? Number.NaN);
      if (!(length <= WHOLE) && isLarge(name)) {
        await response.body?.cancel();
        throw noRanges(url);
      }
      const whole = await this.#body(url, response);
      return { url, size: whole.length, etag, whole, head: undefined };
    }
    const size = (await this.#totalOf(url, response)) ?? Number.NaN;
    const bytes = await this.#body(url, response);
    if (bytes.length !== Math.min(size, WHOLE)) throw cutShort(url, Math.min(size, WHOLE), bytes.length);
    return { url, size, etag, ...(size <= WHOLE ? { whole: bytes, head: undefined } : { whole: undefined, head: bytes }) };
  }

  /** Returns the size of the whole file; `response` has a part of it. */
  async #totalOf(url: string, response: Response): Promise<number | undefined> {
    const total = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (total !== undefined) return Number(total);
    // A server that hides this header from other sites may still show the length.
    const length = (await this.#request(url, {}, "HEAD")).headers.get("content-length");
    if (length !== null) return Number(length);
    throw new HoneLMError(
      "no-length",
      `${url}: the server hides the size of the file; it must send Access-Control-Expose-Headers: Content-Range`,
    );
  }

  async #request(url: string, headers: Record<string, string>, method = "GET"): Promise<Response> {
    try {
      return await fetch(url, { method, headers, cache: "no-store", signal: this.#signal });
    } catch {
      this.#signal.throwIfAborted();
      const where = new URL(url);
      const hint =
        where.origin === self.location.origin
          ? "is the server still running?"
          : `there is no connection, or ${where.host} does not allow other sites to read it (CORS: it must send Access-Control-Allow-Origin)`;
      throw new HoneLMError("unreachable", `${url}: cannot be read: ${hint}`);
    }
  }

  async #body(url: string, response: Response): Promise<Uint8Array> {
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch {
      this.#signal.throwIfAborted();
      throw new HoneLMError("cut-short", `${url}: the connection ended early; load it again`);
    }
  }
}

/** Decodes a segment of an address. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Returns true for a file of weights, which must be read in ranges. */
function isLarge(name: string): boolean {
  return /\.(gguf|safetensors)$/i.test(name);
}

function isHtml(response: Response): boolean {
  return (response.headers.get("content-type") ?? "").toLowerCase().startsWith("text/html");
}

function refused(url: string, response: Response): HoneLMError {
  const why = `${response.status} ${response.statusText}`.trim();
  return new HoneLMError("http-status", `${url}: the server answered ${why}`);
}

function noRanges(url: string): HoneLMError {
  return new HoneLMError(
    "no-ranges",
    `${url}: the server does not support byte ranges; download the file and open it from disk`,
  );
}

function cutShort(url: string, wanted: number, found: number): HoneLMError {
  return new HoneLMError("cut-short", `${url}: the server sent ${found} of ${wanted} bytes; load it again`);
}
