/** Requests for parts of a model's files. What an answer means is decided by the code that the native store shares. */
import { judge_reply } from "../../../pkg/honelm_web";
import { HoneLMError } from "../types";

/** The meaning of an answer. */
export interface Verdict {
  verdict: "part" | "whole" | "changed" | "empty" | "missing" | "html" | "other_part" | "refused";
  /** The size of the file, if the server tells it. */
  total?: number | null;
  status?: number;
  /** The version of the file, if the server tells it. */
  validator: string | null;
}

/** A request for bytes of a file. */
export interface Asked {
  url: string;
  offset: number;
  /** Missing: the whole file, without a range. */
  length?: number;
  /** The knowledge about the file. */
  total: number | null;
  validator: string | null;
}

export interface Answer extends Verdict {
  response: Response;
}

/** Sends a request. Answers without a model's bytes have no open body. */
export async function request(asked: Asked, signal: AbortSignal): Promise<Answer> {
  const { url, offset, length, total, validator } = asked;
  const headers: Record<string, string> = {};
  if (length !== undefined) headers.Range = `bytes=${offset}-${offset + length - 1}`;
  // Other sites would have to allow this header, and few do; their answers' own versions are compared instead.
  const strong = validator?.startsWith('"') && new URL(url).origin === self.location.origin;
  if (strong && length !== undefined && validator !== null) headers["If-Range"] = validator;
  const response = await send(url, { headers, cache: "no-store", signal });
  const header = (name: string): string | null => response.headers.get(name);
  const bytes = Number(header("content-length") ?? Number.NaN);
  const reply = {
    status: response.status, content_range: header("content-range"), content_type: header("content-type"), etag: header("etag"),
    last_modified: header("last-modified"),
    // The length of an encoded body is not that of the file.
    content_length: Number.isSafeInteger(bytes) && header("content-encoding") === null ? bytes : null,
  };
  const verdict: Verdict = JSON.parse(judge_reply(JSON.stringify({ offset, length: length ?? null, total, validator }), JSON.stringify(reply)));
  if (verdict.verdict !== "part" && verdict.verdict !== "whole") await response.body?.cancel();
  return { ...verdict, response };
}

/** Returns the size of a file whose parts came without it. */
export async function sizeOf(url: string, signal: AbortSignal): Promise<number> {
  const response = await send(url, { method: "HEAD", cache: "no-store", signal });
  const length = Number(response.headers.get("content-length") ?? Number.NaN);
  if (response.ok && Number.isSafeInteger(length)) return length;
  throw new HoneLMError(
    "no-length", `${url}: the server hides the size of the file; it must send Access-Control-Expose-Headers: Content-Range`,
  );
}

async function send(url: string, options: RequestInit & { signal: AbortSignal }): Promise<Response> {
  try {
    return await fetch(url, options);
  } catch {
    options.signal.throwIfAborted();
    const { origin, host } = new URL(url);
    const why =
      origin === self.location.origin
        ? "is the server still running?"
        : `there is no connection, or ${host} does not allow other sites to read it (CORS: it must send Access-Control-Allow-Origin)`;
    throw new HoneLMError("unreachable", `${url}: cannot be read: ${why}`);
  }
}

/** Passes the bytes of a body to `take` as they arrive. */
export async function receive(url: string, response: Response, signal: AbortSignal, take: (bytes: Uint8Array) => Promise<void> | void): Promise<void> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      let found: ReadableStreamReadResult<Uint8Array>;
      try {
        found = await reader.read();
      } catch {
        signal.throwIfAborted();
        throw new HoneLMError("cut-short", `${url}: the connection ended early; try again, it resumes`);
      }
      if (found.done) return;
      await take(found.value);
    }
  } finally {
    // Ends the connection if `take` failed.
    reader.cancel().catch(() => {});
  }
}

/** Returns the error of an answer that is not a part of the file that was asked for. */
export function unusable(url: string, { verdict, status }: Verdict): HoneLMError {
  switch (verdict) {
    case "html":
      return new HoneLMError("html-page", `${url}: the server returned a web page instead of a model file; use the download address`);
    case "missing":
      return new HoneLMError("file-not-found", `${url}: file not found`);
    case "refused":
      return new HoneLMError("http-status", `${url}: the server answered ${status}`);
    case "changed":
      return new HoneLMError("file-changed", `${url}: the server's file changed while it was read; try again`);
    default:
      return new HoneLMError("wrong-range", `${url}: the server sent other bytes than those that were asked for`);
  }
}

/** Returns true for an error that another attempt may not meet. */
export function isPassing(thrown: unknown): boolean {
  if (!(thrown instanceof HoneLMError)) return false;
  if (thrown.code === "http-status") return /answered (408|429|5\d\d)$/.test(thrown.message);
  return thrown.code === "cut-short" || thrown.code === "unreachable";
}
