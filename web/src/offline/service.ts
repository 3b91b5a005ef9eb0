/**
 * The service worker of the page: keeps the page's own files, so that it opens without a network. It never stores models, and never
 * answers for another address. The build puts in the list of files with their hashes.
 */
export {};

declare const self: ServiceWorkerGlobalScope;

/** The files of this version: addresses relative to the page, and their hashes in the form of the attribute `integrity`. */
declare const __HONELM_FILES__: [path: string, integrity: string][];
/** A hash of all of them. */
declare const __HONELM_VERSION__: string;

const PREFIX = "honelm-page-";
const CACHE = PREFIX + __HONELM_VERSION__;
const scope = new URL("./", self.location.href).href;
/** The page's document. A server may add to it, so it has no hash. */
const PAGE = scope;
const FILES = new Map(__HONELM_FILES__.map(([path, integrity]) => [new URL(path, scope).href, integrity]));

self.addEventListener("install", (event) => event.waitUntil(keep()));

self.addEventListener("activate", (event) => {
  event.waitUntil(caches.keys().then((names) => {
    const old = names.filter((name) => name.startsWith(PREFIX) && name !== CACHE);
    return Promise.all(old.map((name) => caches.delete(name)));
  }));
});

self.addEventListener("message", ({ data }) => {
  if (data === "take-over") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  url.search = "";
  url.hash = "";
  if (request.method !== "GET" || request.headers.has("range")) return;
  if (request.mode === "navigate" && (url.href === PAGE || url.href === `${PAGE}index.html`)) event.respondWith(page(request));
  else if (FILES.has(url.href)) event.respondWith(file(url.href, request));
});

/** Keeps the page and its files; a file whose hash differs belongs to another version, so this one is not installed. */
async function keep(): Promise<void> {
  const cache = await caches.open(CACHE);
  const get = async (url: string, integrity?: string): Promise<void> => {
    const request = new Request(url, { cache: "no-cache", ...(integrity === undefined ? {} : { integrity }) });
    const response = await fetch(request);
    if (!response.ok) throw new Error(`${url}: ${response.status}`);
    await cache.put(url, response);
  };
  await Promise.all([get(PAGE), ...[...FILES].map(([url, integrity]) => get(url, integrity))]);
}

/** Returns the server's page if there is a network, and the kept one otherwise. */
async function page(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (thrown) {
    const kept = await caches.match(PAGE, { cacheName: CACHE });
    if (kept) return kept;
    throw thrown;
  }
}

/** Returns a file of this version, whose name or hash never changes. */
async function file(url: string, request: Request): Promise<Response> {
  const kept = await caches.match(url, { cacheName: CACHE });
  return kept ?? (await fetch(request));
}
