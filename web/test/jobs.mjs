// Jobs of one model in one browser, for the tests and for `cargo xtask prove`.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { browser, findChromium, offered, open, POCKET, serve } from "./harness.mjs";
import { fileServer, sha256 } from "./store-server.mjs";

/** Loads a model in a page, and returns its facts and the result of `job(argument)`, which runs there. The page must log no errors. */
async function inPage(model, { device, ...options }, job, argument) {
  const [server, chromium] = [await serve(model), await browser({ webgpu: device === "gpu" })];
  try {
    const { page, problems } = await open(chromium, server.url);
    const url = await offered(page);
    const facts = await page.evaluate(({ url, options }) => honelm.load({ url }, options), { url, options: { device, ...options } });
    const found = await page.evaluate(job, argument);
    assert.deepEqual(problems, []);
    return { facts, found };
  } finally {
    await chromium.close();
    await server.stop();
  }
}

/** Returns a model's greedy tokens after each prompt in single precision, with the smallest margin. */
export async function tokens({ model, device, prompts, tokens }) {
  const write = async ({ prompts, tokens }) => {
    const answers = [];
    for (const prompt of prompts) {
      const settings = { max_tokens: tokens, temperature: 0, ignore_eos: true, logprobs: 2 };
      const { token_ids, logprobs } = await honelm.complete(prompt, settings);
      answers.push({ prompt, token_ids, margin: Math.min(...logprobs.map(({ top }) => top[0][1] - top[1][1])) });
    }
    return answers;
  };
  return (await inPage(model, { device, compute: "f32", cache_type: "f32" }, write, { prompts, tokens })).found;
}

/**
 * Compares a model with itself on the CPU in single precision on the held-out text. Also returns the reported progress, true if the
 * adapter has subgroups, and the result of the kernels' test.
 */
export async function check({ model, device, settings }) {
  const text = readFileSync(new URL("../../crates/honelm/data/heldout.txt", import.meta.url), "utf8");
  const compare = async ({ text, settings }) => {
    const heard = [];
    const found = await honelm.check(text, settings, ({ done, total }) => heard.push([done, total]));
    const adapter = await navigator.gpu?.requestAdapter();
    return { ...found, heard, subgroups: adapter?.features.has("subgroups") ?? false };
  };
  const { found, facts } = await inPage(model, { device }, compare, { text, settings });
  return { ...found, tested: facts.tested };
}

/** Returns the bytes of a model after its first token: on the device, and in the wasm heap. */
export async function memory({ model, device }) {
  const measure = async () => {
    await honelm.complete("Once upon a time", { max_tokens: 2, temperature: 0, ignore_eos: true });
    const { device, wasm_heap } = await honelm.memory();
    return { weights: device.weights, wasm_heap };
  };
  return (await inPage(model, { device }, measure)).found;
}

/** Generates this number of tokens, and measures the memory at each. */
export async function measure({ model, device, tokens }) {
  return (await inPage(model, { device }, async (tokens) => await honelm.measure({ tokens }), tokens)).found;
}

/**
 * Stores a file of this many bytes whose publisher's hash is known, with a tab that is killed at half of it; checks and deletes it. Returns
 * seconds, the bytes that were sent, those that had arrived in the tab and were lost with it, and the bytes that the site uses afterwards.
 */
export async function store({ bytes }) {
  const folder = mkdtempSync(join(tmpdir(), "honelm-large-"));
  const [server, files] = [await serve(POCKET), await fileServer(bytes)];
  const profile = await chromium.launchPersistentContext(folder, { executablePath: findChromium(), headless: true });
  const opened = async () => {
    const page = await profile.newPage();
    await page.goto(server.url);
    await page.evaluate(() => { globalThis.store = new ModelStore(); });
    return page;
  };
  try {
    files.behave.pace = 100 * 2 ** 20;
    const manifest = { files: [{ path: "big.gguf", bytes, sha256: await sha256(bytes) }] };
    const source = { url: files.url, manifest };
    const begin = performance.now();
    let page = await opened();
    // The last that the tab tells before it is killed.
    let arrived = 0;
    await page.exposeFunction("tell", (done) => { arrived = done; });
    await page.evaluate((source) => {
      store.download(source, ({ done }) => {
        globalThis.done = done;
        tell(done);
      }).catch(() => {});
    }, source);
    await page.waitForFunction((half) => globalThis.done > half, bytes / 2, { timeout: 0 });
    const devtools = await profile.newCDPSession(page);
    const gone = page.waitForEvent("crash");
    devtools.send("Page.crash").catch(() => {});
    await gone;
    page = await opened();
    const [{ stored: kept }] = await page.evaluate(() => store.list());
    const model = await page.evaluate((source) => store.download(source), source);
    const stored = performance.now();
    assert.deepEqual([model.state, model.stored, model.hashes, model.memory], ["complete", bytes, "manifest", false]);
    const { checked, damaged } = await page.evaluate((id) => store.verify(id), model.id);
    const verified = performance.now();
    await page.evaluate((id) => store.delete(id), model.id);
    const [models, { used }] = await page.evaluate(async () => [await store.list(), await store.space()]);
    assert.deepEqual(models, []);
    const seconds = { store: (stored - begin) / 1000, verify: (verified - stored) / 1000 };
    // What was sent and waited in the buffers of connections had not arrived.
    return { bytes, lost: Math.max(0, arrived - kept), sent: files.told.sent, checked, damaged, used, seconds };
  } finally {
    await profile.close();
    files.stop();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
