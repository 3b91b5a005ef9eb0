// The model store: killed tabs, flipped bytes, two tabs, refused space, odd servers, and the page without a network.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { chromium } from "playwright-core";
import { findChromium, make, PATIENCE, POCKET, serve } from "./harness.mjs";
import { fileServer, sha256 } from "./store-server.mjs";

const MIB = 1 << 20;
const CHUNK = 4 * MIB;
const SIZE = 10 * CHUNK + 12345;
const limit = { timeout: PATIENCE };
const folder = mkdtempSync(join(tmpdir(), "honelm-store-"));
let page;
let server;
/** A browser with a profile on disk; the tests share it, each with an empty store. */
let profile;
let files;

before(async () => {
  server = await serve(POCKET);
  files = await fileServer(SIZE);
  profile = await chromium.launchPersistentContext(join(folder, "profile"), {
    executablePath: findChromium(), headless: true, args: ["--disable-features=WebGPU,WebGPUService", "--disable-gpu"],
  });
});
after(async () => {
  await profile?.close();
  files?.stop();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  Object.assign(files.behave, { pace: Number.POSITIVE_INFINITY, ranges: true, length: true, version: 0, html: false, hide: false, parts: 0 });
  page ??= await opened();
  await page.evaluate(async () => {
    for (const { id } of await store.list()) await store.delete(id);
  });
  await page.close();
  page = undefined;
});

/** Opens the page with a store, `store`, and functions for tests. */
async function opened(options = {}) {
  const page = await profile.newPage();
  await page.goto(server.url);
  await page.evaluate((options) => {
    globalThis.store = new ModelStore(options);
    globalThis.heard = [];
    globalThis.start = (source) => {
      globalThis.pause = new AbortController();
      globalThis.going = store.download(source, (progress) => heard.push(progress), pause.signal);
      going.catch(() => {});
    };
    globalThis.failure = async (work) => await work.then(() => "no error", ({ code, message }) => `${code}: ${message}`);
    globalThis.digest = async (blob) => {
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
      return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    };
  }, options);
  return page;
}

/** Stores the server's file to the end, and returns the model. */
function fetched(page, source = { url: files.url }) {
  return page.evaluate(async (source) => {
    start(source);
    return await going;
  }, source);
}

/** Returns the SHA-256 of a stored file. */
function hashOf(page, id) {
  return page.evaluate(async (id) => await digest((await store.export(id)).blob), id);
}

/** Returns the list of stored models. */
function list(page) {
  return page.evaluate(() => store.list());
}

/** Changes stored bytes of a model's first file. */
function flip(page, id, position) {
  return page.evaluate(async ({ id, position }) => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("honelm-models");
    const file = await (await root.getDirectoryHandle(id)).getFileHandle("0");
    const writable = await file.createWritable({ keepExistingData: true });
    await writable.write({ type: "write", position, data: new Uint8Array([1, 2, 3]) });
    await writable.close();
  }, { id, position });
}

test("a tab that is killed three times loses less than a chunk each time, and the file is right", limit, async () => {
  files.behave.pace = 16 * MIB;
  let before = { sent: files.told.sent, stored: 0 };
  const first = before.sent;
  for (const share of [0.3, 0.6, 0.9]) {
    page = await opened();
    await page.evaluate((source) => start(source), { url: files.url });
    await page.waitForFunction((bytes) => (heard.at(-1)?.done ?? 0) >= bytes, share * SIZE, { timeout: PATIENCE, polling: 20 });
    const gone = page.waitForEvent("crash");
    const devtools = await profile.newCDPSession(page);
    devtools.send("Page.crash").catch(() => {});
    await gone;
    const { sent } = files.told;
    await page.close();
    page = await opened();
    const [{ state, stored }] = await list(page);
    assert.equal(state, "partial");
    const lost = sent - before.sent - (stored - before.stored);
    console.log(`# killed at ${Math.round(100 * share)} %: ${Math.round(lost / 1024)} KiB are fetched again`);
    assert.ok(lost <= CHUNK, `lost ${lost} bytes`);
    before = { sent, stored };
    await page.close();
  }
  page = await opened();
  files.behave.pace = Number.POSITIVE_INFINITY;
  const model = await fetched(page);
  assert.equal(model.state, "complete");
  assert.ok(files.told.sent - first - SIZE <= 3 * CHUNK);
  assert.equal(await hashOf(page, model.id), await sha256(SIZE));
});

test("a pause keeps all bytes, and a flipped byte is found and its chunk alone fetched again", limit, async () => {
  page = await opened();
  files.behave.pace = 32 * MIB;
  const paused = await page.evaluate(async (source) => {
    start(source);
    while ((heard.at(-1)?.done ?? 0) < 6e6) await new Promise((resolve) => setTimeout(resolve, 5));
    pause.abort();
    return await failure(going);
  }, { url: files.url });
  assert.match(paused, /^interrupted: /);
  const [partial] = await list(page);
  assert.ok(partial.stored >= 6e6 - 128 * 1024, `stored ${partial.stored}`);
  files.behave.pace = Number.POSITIVE_INFINITY;
  const { id } = await fetched(page);
  await flip(page, id, 5 * CHUNK + 77);
  files.told.requests = [];
  const found = await page.evaluate((id) => store.verify(id), id);
  assert.deepEqual(found, { checked: 11, damaged: 1, repaired: 1 });
  assert.deepEqual(files.told.requests, [{ method: "GET", range: `bytes=${5 * CHUNK}-${6 * CHUNK - 1}` }]);
  assert.equal(await hashOf(page, id), await sha256(SIZE));
  assert.deepEqual(await page.evaluate((id) => store.verify(id), id), { checked: 11, damaged: 0, repaired: 0 });
});

test("of two tabs one writes, and the other waits for it", limit, async () => {
  page = await opened();
  const other = await opened();
  const sent = files.told.sent;
  files.behave.pace = 64 * MIB;
  await page.evaluate((source) => start(source), { url: files.url });
  await page.waitForFunction(() => heard.length > 1, undefined, { polling: 20 });
  const models = await Promise.all([fetched(other), page.evaluate(() => going)]);
  assert.deepEqual(models.map(({ state }) => state), ["complete", "complete"]);
  assert.equal(await other.evaluate(() => heard[0].stage), "waiting");
  assert.equal(files.told.sent - sent, SIZE, "every byte was sent once");
  await other.close();
});

test("refused space is told, and the model is kept in memory", limit, async () => {
  page = await opened();
  const devtools = await profile.newCDPSession(page);
  const origin = new URL(server.url).origin;
  const { used } = await page.evaluate(() => store.space());
  await devtools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: used + 10 * MIB });
  try {
    const model = await fetched(page);
    assert.deepEqual([model.memory, model.state], [true, "partial"]);
    assert.equal(await page.evaluate(() => heard.at(-1).stage), "memory");
    assert.equal(await hashOf(page, model.id), await sha256(SIZE));
    await page.evaluate((id) => store.delete(id), model.id);
    // Without a length nothing is known in advance: the space ends within the file.
    Object.assign(files.behave, { ranges: false, length: false });
    const streamed = await fetched(page);
    assert.equal(streamed.memory, true);
    assert.ok(streamed.stored >= CHUNK, `stored ${streamed.stored}`);
    assert.equal(await hashOf(page, streamed.id), await sha256(SIZE));
  } finally {
    await devtools.send("Storage.overrideQuotaForOrigin", { origin });
  }
});

test("odd servers: no ranges, a hidden size, a changed file, a web page, a publisher's hashes", limit, async () => {
  page = await opened();
  files.behave.ranges = false;
  let model = await fetched(page);
  assert.deepEqual([model.state, await page.evaluate(() => heard.some(({ ranges }) => !ranges))], ["complete", true]);
  assert.equal(await hashOf(page, model.id), await sha256(SIZE));
  await page.evaluate((id) => store.delete(id), model.id);
  Object.assign(files.behave, { ranges: true, hide: true });
  model = await fetched(page);
  assert.equal(await hashOf(page, model.id), await sha256(SIZE));
  await page.evaluate((id) => store.delete(id), model.id);
  // The file changes while it is paused: it begins again.
  Object.assign(files.behave, { hide: false, pace: 32 * MIB });
  await page.evaluate(async (source) => {
    start(source);
    while ((heard.at(-1)?.done ?? 0) < 12e6) await new Promise((resolve) => setTimeout(resolve, 5));
    pause.abort();
    await failure(going);
  }, { url: files.url });
  Object.assign(files.behave, { version: 1, pace: Number.POSITIVE_INFINITY });
  model = await fetched(page);
  assert.equal(await hashOf(page, model.id), await sha256(SIZE, 1), "nothing of the old file is left");
  await page.evaluate((id) => store.delete(id), model.id);
  const fails = (source) => page.evaluate((source) => failure(store.download(source)), source);
  files.behave.html = true;
  assert.match(await fails({ url: files.url }), /^html-page: .*big\.gguf: the server returned a web page/);
  files.behave.html = false;
  assert.match(await fails({ url: files.url.replace("big", "none") }), /^file-not-found: .*none\.gguf/);
  assert.match(await fails({ url: "ftp://host/x.gguf" }), /^invalid-url: /);
  const file = { path: "big.gguf", bytes: SIZE, chunk_bytes: CHUNK, chunks: Array(11).fill("0".repeat(64)) };
  assert.match(await fails({ url: files.url, manifest: { files: [file] } }), /^wrong-hash: .*chunk \d+: /);
  assert.match(await fails({ url: files.url, manifest: { files: [{ ...file, chunks: ["x"] }] } }), /^invalid-manifest: /);
  assert.deepEqual(await list(page), [], "a failure leaves nothing behind");
  const whole = { path: "big.gguf", bytes: SIZE, sha256: await sha256(SIZE, 1) };
  model = await fetched(page, { url: files.url, name: "Large", manifest: { files: [whole] } });
  assert.deepEqual([model.name, model.hashes, model.state], ["Large", "manifest", "complete"]);
});

test("a model in parts: with ranges and without, a pause, repair, a wrong and a missing part", limit, async () => {
  files.behave.parts = CHUNK;
  const chunks = await Promise.all(Array.from({ length: 11 }, (_, i) => sha256(Math.min(SIZE, (i + 1) * CHUNK), 0, i * CHUNK)));
  const file = { path: "big.gguf", bytes: SIZE, sha256: await sha256(SIZE), chunk_bytes: CHUNK, chunks, parts: true };
  const source = { url: files.url, manifest: { files: [file] } };
  page = await opened();
  for (const ranges of [true, false]) {
    Object.assign(files.behave, { ranges, pace: 32 * MIB });
    await page.evaluate(async (source) => {
      heard.length = 0;
      start(source);
      while ((heard.at(-1)?.done ?? 0) < 14e6) await new Promise((resolve) => setTimeout(resolve, 5));
      pause.abort();
      await failure(going);
    }, source);
    const [{ stored }] = await list(page);
    assert.ok(stored >= CHUNK, `stored ${stored}`);
    files.behave.pace = Number.POSITIVE_INFINITY;
    const sent = files.told.sent;
    const model = await fetched(page, source);
    // Without ranges, chunks that had begun come again from their beginning.
    assert.ok(files.told.sent - sent <= SIZE - stored + (ranges ? 0 : 4 * CHUNK), `sent ${files.told.sent - sent} with ${stored} stored`);
    assert.deepEqual([model.state, model.hashes], ["complete", "manifest"]);
    assert.equal(await hashOf(page, model.id), await sha256(SIZE));
    if (!ranges) break;
    await flip(page, model.id, 5 * CHUNK + 77);
    files.told.requests = [];
    assert.deepEqual(await page.evaluate((id) => store.verify(id), model.id), { checked: 11, damaged: 1, repaired: 1 });
    assert.equal(files.told.requests.at(-1).part, "00005", "the damaged part alone is fetched again");
    await page.evaluate((id) => store.delete(id), model.id);
  }
  await page.evaluate(async () => { for (const { id } of await store.list()) await store.delete(id); });
  const fails = (source) => page.evaluate((source) => failure(store.download(source)), source);
  const changed = (change) => ({ url: files.url, manifest: { files: [{ ...file, ...change }] } });
  assert.match(await fails(changed({ chunks: chunks.with(3, "0".repeat(64)) })), /^wrong-hash: .*chunk 3: /);
  assert.match(await fails(changed({ bytes: SIZE + 4 * CHUNK, chunks: [...chunks, ...chunks.slice(0, 4)] })), /big\.gguf\.parts\/000(1[0-4])/);
  assert.match(await fails({ url: files.url, manifest: { files: [{ path: "big.gguf", bytes: SIZE, parts: true }] } }), /^invalid-manifest: .*chunk_bytes beside parts/);
});

test("IndexedDB takes the models where there is no private file system", limit, async () => {
  page = await opened({ backend: "indexeddb" });
  files.behave.pace = 32 * MIB;
  await page.evaluate(async (source) => {
    start(source);
    while ((heard.at(-1)?.done ?? 0) < 10e6) await new Promise((resolve) => setTimeout(resolve, 5));
    pause.abort();
    await failure(going);
  }, { url: files.url });
  await page.close();
  page = await opened({ backend: "indexeddb" });
  files.behave.pace = Number.POSITIVE_INFINITY;
  const [{ stored }] = await list(page);
  const sent = files.told.sent;
  const { id } = await fetched(page);
  assert.equal(files.told.sent - sent, SIZE - stored, "only what was missing is fetched");
  assert.equal(await hashOf(page, id), await sha256(SIZE));
  assert.equal((await page.evaluate(() => store.space())).backend, "indexeddb");
  assert.deepEqual(await page.evaluate((id) => store.verify(id), id), { checked: 11, damaged: 0, repaired: 0 });
});

test("models go out as one file and come in again", limit, async () => {
  page = await opened();
  const out = join(folder, "pocket.tar");
  const { id } = await fetched(page, { url: `${server.url}models/pocket/` });
  await page.evaluate(async (id) => {
    const { name, blob } = await store.export(id);
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    globalThis.save = () => link.click();
  }, id);
  const [download] = await Promise.all([page.waitForEvent("download"), page.evaluate(() => save())]);
  await download.saveAs(out);
  execFileSync("tar", ["xf", out, "-C", folder]);
  for (const name of ["config.json", "model.safetensors", "tokenizer.json"]) {
    assert.deepEqual(readFileSync(join(folder, "pocket", name)), readFileSync(join(POCKET, name)), name);
  }
  await page.evaluate((id) => store.rename(id, "My pocket"), id);
  const gguf = join(folder, "small.gguf");
  make("quantize", "pocket", "--to", "q4_0", "--out", gguf);
  const cut = join(folder, "cut.tar");
  writeFileSync(cut, readFileSync(out).subarray(0, 1 * MIB));
  const wrong = join(folder, "wrong.gguf");
  writeFileSync(wrong, "<!doctype html>");
  await page.evaluate(() => {
    const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, id: "given" });
    document.body.append(input);
  });
  const taken = async (path) => {
    await page.setInputFiles("#given", path);
    return await page.evaluate(async () => {
      const files = [...document.querySelector("#given").files];
      return await store.import(files).catch(({ code, message }) => `${code}: ${message}`);
    });
  };
  for (const path of [out, gguf]) {
    const model = await taken(path);
    const facts = await page.evaluate(async (id) => await honelm.load(await store.source(id), { device: "cpu" }), model.id);
    assert.deepEqual([model.state, model.url, facts.architecture], ["complete", null, "llama"]);
  }
  assert.match(await taken(cut), /^not-a-model: cut\.tar: .*cut short/);
  assert.match(await taken(wrong), /^not-a-model: wrong\.gguf: .*expected "GGUF"/);
  const names = (await list(page)).map(({ name }) => name).sort();
  assert.deepEqual(names, ["My pocket", "pocket", "small"]);
});

test("a stored model is loaded again after a reload", limit, async () => {
  page = await opened();
  await page.evaluate(async (url) => {
    const { id, name } = await store.download({ url });
    localStorage.setItem("honelm.page", JSON.stringify({ model: { place: "store", id, name } }));
  }, `${server.url}models/pocket/`);
  await page.reload();
  await page.waitForFunction(() => document.querySelector("#model-name").textContent === "pocket", undefined, { timeout: PATIENCE });
  await page.evaluate(() => {
    localStorage.removeItem("honelm.page");
    globalThis.store = new ModelStore();
  });
});

test("the page and a stored model work without a network", limit, async () => {
  const own = await serve(POCKET);
  page = await profile.newPage();
  await page.goto(own.url);
  await page.evaluate(() => navigator.serviceWorker.ready);
  const { id } = await page.evaluate(async (url) => await new ModelStore().download({ url }), `${own.url}models/pocket/`);
  assert.equal(await own.stop(), 0);
  await page.reload();
  await page.waitForFunction(() => globalThis.ModelStore);
  const answer = await page.evaluate(async (id) => {
    const store = new ModelStore();
    await honelm.load(await store.source(id), { device: "cpu" });
    return await honelm.chat([{ role: "user", content: "Tell me a story." }], { max_tokens: 16, temperature: 0 });
  }, id);
  assert.equal(answer.completion_tokens, 16);
  await page.close();
  page = undefined;
});
