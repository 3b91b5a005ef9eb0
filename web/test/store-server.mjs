// A server of large files that are made on the fly, and that answers in odd ways when told to. It counts what it sends.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const BLOCK = 1 << 20;
const PIECE = 64 << 10;

/** The repeated bytes of all files; each piece of `PIECE` bytes gets its own number. */
const noise = Buffer.alloc(BLOCK);
for (let i = 0, x = 1; i < BLOCK; i++) {
  x = (Math.imul(x, 1664525) + 1013904223) | 0;
  noise[i] = x >>> 24;
}

/** Returns the piece of a file that begins at a multiple of `PIECE`. `version` makes another file. */
function piece(at, version) {
  const from = at % BLOCK;
  const bytes = Buffer.from(noise.subarray(from, from + PIECE));
  bytes.writeDoubleLE(at, 8);
  bytes.writeUInt32LE(version, 16);
  if (at === 0) bytes.write("GGUF", "latin1");
  return bytes;
}

/** Passes the bytes of a range of a file to `take`. */
async function* bytesOf(begin, end, version) {
  for (let at = begin - (begin % PIECE); at < end; at += PIECE) {
    yield piece(at, version).subarray(Math.max(0, begin - at), Math.min(PIECE, end - at));
  }
}

/** Returns the SHA-256 of a file of this size, or of a part of it. */
export async function sha256(size, version = 0, begin = 0) {
  const hash = createHash("sha256");
  for await (const bytes of bytesOf(begin, size, version)) hash.update(bytes);
  return hash.digest("hex");
}

/** Waits until a response can take more, or is closed. */
function drained(response) {
  return new Promise((resolve) => {
    const go = () => {
      response.off("drain", go).off("close", go);
      resolve();
    };
    response.on("drain", go).on("close", go);
  });
}

/**
 * Starts a server of another origin, whose `/big.gguf` has `size` bytes. `behave` can be changed at any time: `pace` (bytes a second
 * in all), `ranges`, `length` (of whole bodies), `version` (of the file), `html`, `hide` (Content-Range), `parts` (each
 * chunk of this many bytes is a file of its own, and there is no whole one).
 */
export async function fileServer(size) {
  const behave = { pace: Number.POSITIVE_INFINITY, ranges: true, length: true, version: 0, html: false, hide: false, parts: 0 };
  const told = { requests: [], sent: 0 };
  let free = performance.now();
  /** Waits until this many bytes may be sent. */
  const paced = async (bytes) => {
    const now = performance.now();
    free = Math.max(free, now) + (1000 * bytes) / behave.pace;
    if (free - now > 1) await new Promise((resolve) => setTimeout(resolve, free - now));
  };
  const server = createServer(async (request, response) => {
    const open = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": behave.hide ? "" : "Content-Range, ETag" };
    const part = behave.parts > 0 ? /^\/big\.gguf\.parts\/(\d{5})$/.exec(request.url) : null;
    const base = part ? Number(part[1]) * behave.parts : 0;
    const bytes = part ? Math.min(behave.parts, size - base) : size;
    if ((!part && (behave.parts > 0 || request.url !== "/big.gguf")) || bytes <= 0) return response.writeHead(404, open).end();
    const range = behave.ranges ? /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "") : null;
    told.requests.push({ method: request.method, range: request.headers.range ?? null, ...(part ? { part: part[1] } : {}) });
    if (behave.html) return response.writeHead(200, { ...open, "Content-Type": "text/html" }).end("<!doctype html><title>Sign in</title>");
    const begin = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]) + 1, bytes) : bytes;
    const version = behave.version;
    const headers = {
      ...open, ETag: `"v${version}"`, "Content-Type": "application/octet-stream",
      ...(range || behave.length ? { "Content-Length": end - begin } : {}),
      ...(range ? { "Content-Range": `bytes ${begin}-${end - 1}/${bytes}` } : {}),
    };
    response.writeHead(range ? 206 : 200, headers);
    if (request.method === "HEAD") return response.end();
    for await (const piece of bytesOf(base + begin, base + end, version)) {
      await paced(piece.length);
      if (response.destroyed) return;
      told.sent += piece.length;
      if (!response.write(piece)) await drained(response);
    }
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/big.gguf`, size, behave, told, stop };
}
