// What must never be shown as fine: a GPU that computes wrongly, and files of the page that were changed.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PATIENCE, ask, browser, firstBlock, inWorkers, list, load, open, serve, show, state } from "./harness.mjs";

const limit = { timeout: PATIENCE };
const folder = mkdtempSync(join(tmpdir(), "honelm-faults-"));
let server;
let chromium;

before(async () => {
  server = await serve(firstBlock(join(folder, "small")));
  chromium = await browser({ webgpu: true });
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Flips a bit of what is read from the GPU, the first `count` times. */
const wrongReads = (count) => `if (typeof GPUBuffer !== "undefined") {
  const get = GPUBuffer.prototype.getMappedRange;
  let left = ${count};
  GPUBuffer.prototype.getMappedRange = function (...range) {
    const found = get.apply(this, range);
    if ((this.usage & GPUBufferUsage.MAP_READ) !== 0 && left-- > 0) new Uint8Array(found)[2] ^= 0x40;
    return found;
  };
}`;
const ALWAYS = 1e9;
/** Kernels are timed by about 10 reads, and tested by about 12. */
const ONE_TEST = 15;
test("a GPU that computes wrongly is not used, and the reason is shown", limit, async () => {
  const { page, close } = await open(chromium, `${server.url}?device=gpu`);
  await inWorkers(page, wrongReads(ALWAYS));
  const { facts, error } = await load(page);
  assert.match(error ?? "(no error)", /wrong/i);
  assert.deepEqual(facts, {}, "nothing is in use");
  assert.ok(!(await page.textContent("#app")).includes("tested on this device"));
  await close();
});

test("with a GPU that computes wrongly, a device that may be chosen is the CPU, and answers are its own", limit, async () => {
  const { page, problems, close } = await open(chromium, server.url);
  // An adapter of this name is not known as a software implementation.
  await inWorkers(page, `${wrongReads(ALWAYS)};
    if (typeof GPUAdapter !== "undefined") Object.defineProperty(GPUAdapter.prototype, "info", { get: () => ({ vendor: "acme", architecture: "x", device: "", description: "", subgroupMinSize: 4, subgroupMaxSize: 4, isFallbackAdapter: false }) });`);
  const { facts, error } = await load(page);
  assert.equal(error, undefined);
  assert.match(facts["Runs on"], /^cpu/);
  assert.match(facts["Not on the GPU"], /wrong/i);
  assert.equal((await ask(page, "Hello."))[1][1].length > 0, true);
  await show(page, "device");
  const tested = await list(page, "#kernel-facts");
  assert.match(tested["Not on the GPU"], /wrong/i);
  assert.notEqual(tested.Result, "every kernel gives the right answers");
  assert.deepEqual(problems, []);
  await close();
});

test("kernels that compute wrongly are named, and others take their place", limit, async () => {
  const { page, close } = await open(chromium, `${server.url}?device=gpu`);
  await inWorkers(page, wrongReads(ONE_TEST));
  const { facts, error } = await load(page);
  assert.equal(error, undefined);
  assert.match(facts["Runs on"], /^WebGPU/);
  await show(page, "device");
  const tested = await list(page, "#kernel-facts");
  assert.equal(tested.Result, "some kernels give wrong answers and are not used");
  assert.match(tested["Not used"], /\(.+\)/, "with the reason");
  assert.equal(facts.Kernels, tested["Not used"]);
  await close();
});

test("a changed wasm module is refused before it is compiled, and a missing one is named", limit, async () => {
  const { page, close } = await open(chromium, server.url);
  await page.route(/honelm_web_bg[^/]*\.wasm/, async (route) => {
    const response = await route.fetch();
    const body = await response.body();
    body[body.length - 1] ^= 1;
    await route.fulfill({ response, body });
  });
  assert.match((await load(page)).error ?? "(no error)", /honelm_web_bg\.wasm: this is not the file that the page was built with \(found sha384-\S+, expected sha384-\S+\), so it is not run/);
  await page.unroute(/honelm_web_bg[^/]*\.wasm/);
  await page.route(/honelm_web_bg[^/]*\.wasm/, (route) => route.fulfill({ status: 404 }));
  await page.reload();
  assert.match((await load(page)).error ?? "(no error)", /honelm_web_bg\.wasm: the server answered 404/);
  await page.unroute(/honelm_web_bg[^/]*\.wasm/);
  await page.reload();
  assert.equal((await load(page)).error, undefined);
  assert.match((await state(page)).facts["Runs on"], /^cpu/);
  await close();
});
