/** Files of this package that are fetched at run time, checked against the digests that the build wrote into the script. */
import { INTEGRITY } from "../../pkg/integrity";
import { HoneLMError } from "./types";

/** A file that the build knows. */
export type Built = keyof typeof INTEGRITY;

/**
 * Fetches a file of this package. The browser compares its SHA-384 with the one that the script was built with before anything reads it.
 *
 * Rejects with `wrong-hash` if the file is another one, and with `unreachable` if it cannot be read.
 */
export async function built(name: Built, url: URL): Promise<Response> {
  try {
    // The body of an answer that is no success has another digest.
    return await fetch(url, { integrity: INTEGRITY[name] });
  } catch {
    throw await reasonOf(name, url);
  }
}

/** Finds out why a file could not be fetched: the browser does not say if it was another one. */
async function reasonOf(name: Built, url: URL): Promise<HoneLMError> {
  try {
    const response = await fetch(url, { cache: "no-store" });
    if (!response.ok) return new HoneLMError("unreachable", `${name}: the server answered ${response.status}`);
    const found = await digest(await response.arrayBuffer());
    if (found === INTEGRITY[name]) return new HoneLMError("wrong-hash", `${name}: the file was another one at first; reload the page`);
    const both = found === null ? "" : ` (found ${found.slice(0, 19)}…, expected ${INTEGRITY[name].slice(0, 19)}…)`;
    return new HoneLMError("wrong-hash", `${name}: this is not the file that the page was built with${both}, so it is not run. Reload the page; if that does not help, the files of this site are damaged or were changed`);
  } catch {
    return new HoneLMError("unreachable", `${name}: cannot be read; is there a connection?`);
  }
}

/** Returns the SHA-384 of bytes in the form of the attribute `integrity`; null in pages that have no such function. */
async function digest(bytes: ArrayBuffer): Promise<string | null> {
  if (!globalThis.crypto?.subtle) return null;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-384", bytes));
  return `sha384-${btoa(String.fromCharCode(...hash))}`;
}
