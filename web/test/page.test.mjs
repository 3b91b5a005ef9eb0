// The page in a real browser: load, chat, stop, measure, with WebGPU and without.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { PATIENCE, POCKET, answered, ask, browser, endless, list, load, loaded, make, messages, open, serve, settings, show, state, text } from "./harness.mjs";

const folder = mkdtempSync(join(tmpdir(), "honelm-page-"));
const gguf = join(folder, "pocket-Q4_0.gguf");
let server;

before(async () => {
  make("quantize", "pocket", "--to", "q4_0", "--out", gguf);
  server = await serve(POCKET, gguf);
});
after(async () => {
  assert.equal(await server?.stop(), 0, "Ctrl-C ends the server cleanly");
});

for (const webgpu of [true, false]) {
  describe(webgpu ? "with WebGPU" : "without WebGPU", { timeout: 4 * PATIENCE }, () => {
    // A GPU in software takes seconds per token.
    const tokens = webgpu ? 8 : 40;
    const device = webgpu ? "gpu" : "cpu";
    /** The page; a GPU in software is not taken unasked. */
    const opened = (settings = {}) => {
      const asked = new URLSearchParams({ ...settings, ...(webgpu ? { device } : {}) });
      return open(chromium, `${server.url}?${asked}`);
    };
    let chromium;
    before(async () => {
      chromium = await browser({ webgpu });
    });
    after(() => chromium?.close());

    test("shows the device's properties", async () => {
      const { page, problems, close } = await open(chromium, `${server.url}#device`);
      const interactive = await page.evaluate(() => performance.getEntriesByType("navigation")[0].domInteractive);
      console.log(`# interactive after ${Math.round(interactive)} ms`);
      await page.waitForFunction(() => document.querySelectorAll("#adapter-facts dt").length > 0);
      const facts = await list(page, "#adapter-facts");
      if (webgpu) {
        assert.match(await text(page, "#device"), /^WebGPU: /);
        assert.ok("subgroups" in facts && "largest buffer" in facts, JSON.stringify(facts));
      } else {
        assert.match(await text(page, "#device"), /^no WebGPU: /);
      }
      assert.deepEqual(problems, []);
      await close();
    });

    test("loads the shipped model, chats, and remembers", async () => {
      const { page, problems, close } = await opened();
      const { facts, error } = await load(page);
      assert.equal(error, undefined);
      assert.equal(facts.Name, "pocket");
      if (webgpu) {
        assert.match(facts["Runs on"], /^WebGPU: /);
        assert.equal(facts.Kernels, "tested on this device");
      } else {
        assert.match(facts["Runs on"], /^cpu \(simd128/);
        assert.match(facts["Not on the GPU"], /this browser has no usable GPU/);
      }
      await settings(page, { max_tokens: tokens, seed: 1 });
      const said = await ask(page, "Tell me a story about the sea.");
      assert.deepEqual(said.map(([role]) => role), ["user", "assistant"]);
      assert.ok(said[1][1].length > tokens / 2, said[1][1]);
      assert.match(await text(page, "#speed"), /answer \d+ tokens at [\d.]+ tok\/s/);
      const again = await ask(page, "And then?");
      assert.equal(again.length, 4);
      assert.match(await text(page, "#speed"), /\(\d+ cached\)/, "the conversation so far is cached");
      await show(page, "device");
      const memory = await list(page, "#memory-facts");
      assert.match(memory.Weights, /^\d[\d.]* MB$/);
      assert.equal((await page.$$("#device-chart path")).length, 4, "memory over the conversation");
      assert.deepEqual(problems, []);
      await close();
    });

    if (webgpu) {
      test("chooses the CPU rather than a GPU in software", async () => {
        const { page, problems, close } = await open(chromium, server.url);
        const { facts } = await load(page);
        assert.match(facts["Runs on"], /^cpu \(simd128/);
        assert.match(facts["Not on the GPU"], /a software implementation \(.*swiftshader/i);
        assert.deepEqual(problems, []);
        await close();
      });
    }

    test("opens a GGUF file from disk, and can be stopped", async () => {
      const { page, problems, close } = await opened();
      await page.setInputFiles("#model-file", gguf);
      await loaded(page);
      assert.equal((await state(page)).error, undefined);
      await endless(page);
      await page.fill("#question", "Tell me a story.");
      await page.press("#question", "Enter");
      await page.waitForFunction(() => /^[5-9]\d* tokens/.test(document.querySelector("#speed").textContent), undefined, { timeout: PATIENCE });
      await page.focus("#stop");
      await page.keyboard.press("Enter");
      await answered(page);
      assert.equal(await page.textContent("#messages .note"), "Stopped.");
      assert.equal(await page.evaluate(() => document.activeElement.id), "question", "Stop by keyboard keeps the focus in the composer");
      const tokens = Number(/answer (\d+) tokens/.exec(await text(page, "#speed"))[1]);
      assert.ok(tokens >= 5 && tokens < 400, `${tokens} tokens`);
      assert.deepEqual(problems, []);
      await close();
    });

    // A GPU in software takes a minute, so check.test.mjs and `cargo xtask prove growth` do this.
    if (webgpu) return;
    test("measures, compares two runs, exports, and checks", async () => {
      // More tokens than a page of the cache has positions.
      const wanted = 90;
      const { page, problems, close } = await opened({ tokens: wanted });
      await load(page, "models/pocket-Q4_0.gguf");
      await show(page, "measure");
      const measured = await measure(page);
      assert.equal(measured.model.device, device);
      assert.equal(measured.samples.length, wanted);
      assert.ok(measured.samples.every((sample, i) => sample.token === i + 1 && sample.milliseconds >= 0));
      assert.ok(measured.decode_tokens_per_second > 0);
      console.log(`# ${measured.decode_tokens_per_second.toFixed(1)} tokens a second on the ${device}`);
      const [first, last] = [measured.samples[0].memory, measured.samples.at(-1).memory];
      assert.equal(first.device.weights, last.device.weights, "weights do not grow");
      assert.equal(last.device.cache % measured.model.page_bytes, 0, "the cache is whole pages");
      const pages = Math.ceil((measured.prompt_tokens + wanted - 1) / measured.model.page_positions);
      assert.equal(last.device.cache, pages * measured.model.page_bytes, "the cache has the pages that its tokens need");
      assert.ok(last.wasm_heap > 0);
      assert.equal((await page.$$("#speed-chart path")).length, 1);
      assert.ok((await page.$$("#memory-chart path")).length >= 2);
      const width = () => page.$eval("#speed-chart .chart", (chart) => [Number(chart.getAttribute("viewBox").split(" ")[2]), chart.parentElement.clientWidth]);
      const wide = await width();
      await page.setViewportSize({ width: 500, height: 800 });
      await page.waitForFunction((wide) => Number(document.querySelector("#speed-chart .chart").getAttribute("viewBox").split(" ")[2]) < wide, wide[0]);
      assert.equal(...(await width()), "a chart is drawn again when the window narrows, so its text stays readable");
      await page.setViewportSize({ width: 1280, height: 800 });
      await measure(page);
      assert.match(await page.textContent("#comparison"), /Decode \(tok\/s\)/);
      const record = JSON.stringify({ ...measured, decode_tokens_per_second: measured.decode_tokens_per_second / 2 });
      await page.setInputFiles("#record-file", { name: "old.json", mimeType: "application/json", buffer: Buffer.from(record) });
      await page.waitForFunction(() => Number(document.querySelector("#comparison tbody tr td:last-child").textContent) > 1);
      await page.setInputFiles("#record-file", { name: "bad.json", mimeType: "application/json", buffer: Buffer.from("{}") });
      await page.waitForFunction(() => /bad\.json: honelm: found undefined, expected a text/.test(document.querySelector("#compared").textContent));
      await checks(page);
      assert.deepEqual(problems, []);
      await close();
    });
  });
}

/** Has the model measured; returns the exported record. */
async function measure(page) {
  await page.click("#run");
  await page.waitForFunction(() => !document.querySelector("#export").disabled, undefined, { timeout: PATIENCE });
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  return JSON.parse(readFileSync(await download.path(), "utf8"));
}

/** Has the model checked, stopped once, then to the end. */
async function checks(page) {
  const ended = () => page.waitForFunction(() => !document.querySelector("#check").disabled, undefined, { timeout: PATIENCE });
  await page.click("#check");
  await page.waitForFunction(() => /^part/.test(document.querySelector("#check-progress").textContent), undefined, { timeout: PATIENCE });
  await page.click("#stop-check");
  await ended();
  assert.deepEqual([await text(page, "#check-facts"), await text(page, "#check-error")], [undefined, undefined]);
  await page.click("#check");
  await ended();
  const facts = await list(page, "#check-facts");
  assert.equal(facts.Tokens, String(4 * 63));
  assert.ok(Number(facts["KL divergence"]) < 8e-4, facts["KL divergence"]);
  const [changed, clear] = facts["Confident tokens changed"].split(" of ").map(Number);
  assert.ok(clear > 126 && changed <= 0.02 * clear, facts["Confident tokens changed"]);
}

test("an answer continues after the tab was hidden and frozen", async () => {
  const chromium = await browser({ webgpu: false });
  const { page, problems, close } = await open(chromium, server.url);
  await load(page);
  await endless(page);
  await settings(page, { max_tokens: 300 });
  await page.fill("#question", "Tell me a story.");
  await page.press("#question", "Enter");
  await page.waitForFunction(() => /^\d+ tokens/.test(document.querySelector("#speed").textContent), undefined, { timeout: PATIENCE });
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await answered(page);
  assert.match(await text(page, "#speed"), /answer 300 tokens/);
  assert.equal(await text(page, "#chat-error"), undefined);
  assert.equal((await messages(page)).length, 2);
  assert.deepEqual(problems, []);
  await close();
  await chromium.close();
});
