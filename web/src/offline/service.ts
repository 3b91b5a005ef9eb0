/**
 * The service worker of the page: keeps the page's own files, so that it opens without a network. It never stores models, and never
 * answers for another address. The build puts in the list of files with their hashes.
 */
export {};

declare const self: ServiceWorkerGlobalScope;

/**
 * The files of this version: addresses relative to the page, and their hashes in the form of the attribute `integrity`. Those marked `later` are
 * kept when they are first needed.
 */
declare const __HONELM_FILES__: [path: string, integrity: string, later?: "later"][];
/** A hash of all of them. */
declare const __HONELM_VERSION__: string;

const PREFIX = "honelm-page-";
const CACHE = PREFIX + __HONELM_VERSION__;
const scope = new URL("./", self.location.href).href;
/** The page's document. A server may add to it, so it has no hash. */
const PAGE = scope;
const FILES = new Map(__HONELM_FILES__.map(([path, integrity, later]) => [new URL(path, scope).href, { integrity, later: later === "later" }]));

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
  const first = [...FILES].filter(([, { later }]) => !later);
  await Promise.all([fetched(PAGE), ...first.map(([url, { integrity }]) => fetched(url, integrity))]);
}

/** Fetches a file and keeps it. */
async function fetched(url: string, integrity?: string): Promise<Response> {
  const response = await fetch(new Request(url, { cache: "no-cache", ...(integrity === undefined ? {} : { integrity }) }));
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  await (await caches.open(CACHE)).put(url, response.clone());
  return response;
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
  if (kept) return kept;
  const { integrity, later } = FILES.get(url) ?? { integrity: undefined, later: false };
  // Another file than that of this version is the page's to judge.
  return later ? await fetched(url, integrity).catch(() => fetch(request)) : await fetch(request);
}
