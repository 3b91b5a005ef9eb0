/** Where the bytes of a model come from: byte ranges of files, of the network or of the user's disk. */
import type { ModelFiles } from "../../pkg/honelm_web";
import { HoneLMError, type Source } from "./types";

/** The files that `source` names, until `signal` says that no more shall be read; what is read then throws its reason. */
export function filesOf(source: Source, signal: AbortSignal): ModelFiles {
  return "url" in source ? new RemoteFiles(source.url, signal) : new LocalFiles(source.files, signal);
}

/** Files that the user chose. */
class LocalFiles implements ModelFiles {
  readonly name: string;
  readonly single: string | undefined;
  readonly #files: Map<string, File>;
  readonly #signal: AbortSignal;

  constructor(files: File[], signal: AbortSignal) {
    this.#signal = signal;
    if (files.length === 0) throw new HoneLMError("no-files", "no file was chosen");
    this.#files = new Map(files.map((file) => [file.name, file]));
    const only = files.length === 1 ? files[0] : undefined;
    const gguf = files.find((file) => file.name.toLowerCase().endsWith(".gguf"));
    this.single = only?.name ?? (this.#files.has("config.json") ? undefined : gguf?.name);
    if (this.single === undefined && !this.#files.has("config.json")) {
      throw new HoneLMError("not-a-model", "choose a GGUF file, or all files of a model folder (config.json among them)");
    }
    this.name = this.single ?? (files[0]?.webkitRelativePath.split("/")[0] || "model");
  }

  async size(name: string): Promise<number | undefined> {
    return this.#files.get(name)?.size;
  }

  async read(name: string, offset: number, length: number): Promise<Uint8Array> {
    this.#signal.throwIfAborted();
    const file = this.#files.get(name);
    if (!file) throw new HoneLMError("file-not-found", `${name} is not among the chosen files`);
    try {
      return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
    } catch {
      throw new HoneLMError("file-changed", `${name} can no longer be read: it was changed, moved or removed since it was chosen`);
    }
  }
}

/** What is known of a file on a server. */
interface Remote {
  url: string;
  size: number;
  etag: string | null;
  /** All of it, where it was small enough to come with the first answer. */
  whole: Uint8Array | undefined;
}

/** Files below this size are read at once: configurations and tokenizers, which some servers give no ranges of. */
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
      throw new HoneLMError("invalid-url", `${address} is no address`);
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
    if (!file) throw new HoneLMError("file-not-found", `${this.#url(name)} was not found`);
    if (file.whole) return file.whole.slice(offset, offset + length);
    const response = await this.#request(file.url, { Range: `bytes=${offset}-${offset + length - 1}` });
    if (response.status === 200) {
      await response.body?.cancel();
      throw noRanges(file.url);
    }
    if (response.status !== 206) throw refused(file.url, response);
    const etag = response.headers.get("etag");
    if (file.etag !== null && etag !== null && etag !== file.etag) {
      throw new HoneLMError("file-changed", `${file.url} changed while it was read; load it again`);
    }
    const bytes = await this.#body(file.url, response);
    if (bytes.length !== length) throw cutShort(file.url, length, bytes.length);
    return bytes;
  }

  #url(name: string): string {
    if (name === this.single) return this.#base.href;
    const url = new URL(encodeURIComponent(name), this.#base);
    // What a signed address carries behind the question mark belongs to each of its files.
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

  /** Asks for the beginning of a file, which also tells its size. */
  async #look(name: string): Promise<Remote | undefined> {
    const url = this.#url(name);
    const response = await this.#request(url, { Range: `bytes=0-${WHOLE - 1}` });
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return undefined;
    }
    const etag = response.headers.get("etag");
    if (response.status === 416) {
      // No first byte to give.
      await response.body?.cancel();
      return { url, size: 0, etag, whole: new Uint8Array() };
    }
    if (response.status !== 200 && response.status !== 206) throw refused(url, response);
    if (isHtml(response)) {
      await response.body?.cancel();
      // Many servers answer every unknown address with their front page.
      if (name !== this.single && name !== "config.json") return undefined;
      throw new HoneLMError("html-page", `${url} answers with a web page, not with a model's file: use the download address`);
    }
    if (response.status === 200) {
      const length = Number(response.headers.get("content-length") ?? Number.NaN);
      if (!(length <= WHOLE) && isLarge(name)) {
        await response.body?.cancel();
        throw noRanges(url);
      }
      const whole = await this.#body(url, response);
      return { url, size: whole.length, etag, whole };
    }
    const size = (await this.#totalOf(url, response)) ?? Number.NaN;
    const bytes = await this.#body(url, response);
    if (bytes.length !== Math.min(size, WHOLE)) throw cutShort(url, Math.min(size, WHOLE), bytes.length);
    return { url, size, etag, whole: size <= WHOLE ? bytes : undefined };
  }

  /** The size of the whole file, of which `response` has a part. */
  async #totalOf(url: string, response: Response): Promise<number | undefined> {
    const total = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (total !== undefined) return Number(total);
    // A server that does not show the header to other sites may still show the length.
    const length = (await this.#request(url, {}, "HEAD")).headers.get("content-length");
    if (length !== null) return Number(length);
    throw new HoneLMError(
      "no-length",
      `${new URL(url).host} does not tell the size of ${url}: it must send Access-Control-Expose-Headers: Content-Range`,
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
          : `either there is no connection, or ${where.host} does not allow other sites to read it (CORS: it must send Access-Control-Allow-Origin)`;
      throw new HoneLMError("unreachable", `${url} cannot be read: ${hint}`);
    }
  }

  async #body(url: string, response: Response): Promise<Uint8Array> {
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch {
      this.#signal.throwIfAborted();
      throw new HoneLMError("cut-short", `${url}: the connection ended in the middle of an answer; load it again`);
    }
  }
}

/** A segment of an address as people write it. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Whether a file is one of weights, which must come in ranges. */
function isLarge(name: string): boolean {
  return /\.(gguf|safetensors)$/i.test(name);
}

function isHtml(response: Response): boolean {
  return (response.headers.get("content-type") ?? "").toLowerCase().startsWith("text/html");
}

function refused(url: string, response: Response): HoneLMError {
  const why = `${response.status} ${response.statusText}`.trim();
  return new HoneLMError("http-status", `${url}: the server answers ${why}`);
}

function noRanges(url: string): HoneLMError {
  return new HoneLMError(
    "no-ranges",
    `${new URL(url).host} gives no byte ranges of ${url}; download the file and open it from disk`,
  );
}

function cutShort(url: string, wanted: number, found: number): HoneLMError {
  return new HoneLMError("cut-short", `${url}: ${found} of ${wanted} bytes came; load it again`);
}
