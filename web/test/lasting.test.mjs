// A page that is used for long: no memory is lost over 30 turns, and the main thread stays free.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PATIENCE, POCKET, answered, browser, endless, firstBlock, inWorkers, load, open, serve, withoutService } from "./harness.mjs";
import { marked, tasksDuring } from "./trace.mjs";

const limit = { timeout: PATIENCE };
/** The longest task that people do not notice, in milliseconds. */
const LONGEST = 50;
const folder = mkdtempSync(join(tmpdir(), "honelm-lasting-"));
let server;

before(async () => {
  server = await serve(POCKET, firstBlock(join(folder, "small")));
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Counts the bytes of GPU buffers that were created and not destroyed. */
const COUNTED = `if (typeof GPUDevice !== "undefined") {
  self.live = 0;
  const create = GPUDevice.prototype.createBuffer;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const buffer = create.call(this, descriptor);
    const destroy = buffer.destroy;
    let size = descriptor.size;
    self.live += size;
    buffer.destroy = () => {
      self.live -= size;
      size = 0;
      destroy.call(buffer);
    };
    return buffer;
  };
}`;

for (const device of ["cpu", "gpu"]) {
  test(`30 turns do not make the memory grow (${device})`, limit, async () => {
    const chromium = await browser({ webgpu: device === "gpu" });
    const { page, problems, close } = await open(chromium, server.url);
    await inWorkers(page, COUNTED);
    // A GPU in software takes a second per step.
    const [model, context, max_tokens] = device === "gpu" ? ["small", 96, 1] : ["pocket", 256, 4];
    await page.evaluate(({ url, device, context }) => honelm.load({ url }, { device, context }), { url: `${server.url}models/${model}/`, device, context });
    const live = async () => {
      const found = await Promise.all(page.workers().map((worker) => worker.evaluate(() => self.live ?? 0)));
      return found.reduce((sum, each) => sum + each, 0);
    };
    const turns = [];
    for (let turn = 0; turn < 30; turn++) {
      // Each ten turns are the same work, so that whatever the last ten need more than the ten before is lost.
      const memory = await page.evaluate(async ({ turn, max_tokens }) => {
        if (turn === 0) globalThis.talk = [];
        talk.push({ role: "user", content: `Tell me more of the sea, of the boats on it and of the people who live beside it. ${turn}` });
        const { text } = await honelm.chat(talk, { max_tokens, seed: turn, overflow: "shift" });
        talk.push({ role: "assistant", content: text });
        return await honelm.memory();
      }, { turn: turn % 10, max_tokens });
      turns.push({ heap: memory.wasm_heap, ...memory.device, buffers: await live() });
    }
    const [before, last] = [turns[19], turns[29]];
    console.log(`# ${device}: after 20 turns ${JSON.stringify(before)}, after 30 ${JSON.stringify(last)}`);
    // On the CPU, scratch is a part of the heap, and that of the last steps, whose rows follow from measured times.
    if (device === "cpu") last.scratch = before.scratch;
    assert.deepEqual(last, before);
    if (device === "gpu") assert.ok(last.buffers >= last.weights, "the buffers were counted");
    assert.deepEqual(problems, []);
    await close();
    await chromium.close();
  });
}

test("the main thread has no long task while an answer streams, and opening the page blocks it briefly", limit, async () => {
  const chromium = await browser({ webgpu: false });
  const context = await marked(await withoutService(await chromium.newContext({ viewport: { width: 1280, height: 800 } })));
  const page = await context.newPage();
  await page.goto("about:blank");
  const opening = await tasksDuring(chromium, page, async () => {
    await page.goto(server.url);
    await page.waitForSelector(".offer");
  });
  const blocked = opening.reduce((sum, each) => sum + Math.max(0, each - LONGEST), 0);
  const painted = await page.evaluate(() => performance.getEntriesByType("paint").map(({ name, startTime }) => `${name} ${Math.round(startTime)} ms`).join(", "));
  console.log(`# opening: ${painted}, the longest task ${opening[0].toFixed(1)} ms, ${blocked.toFixed(1)} ms blocked`);
  assert.ok(blocked < 4 * LONGEST, `${blocked} ms`);
  await load(page);
  await endless(page);
  const streaming = await tasksDuring(chromium, page, async () => {
    await page.fill("#question", "Tell me a long story.");
    await page.press("#question", "Enter");
    await page.waitForFunction(() => !document.querySelector("#stop").hidden);
    await answered(page);
  });
  const long = streaming.filter((milliseconds) => milliseconds > LONGEST);
  console.log(`# 400 tokens: ${streaming.length} tasks, the longest ${streaming.slice(0, 3).map((each) => each.toFixed(1)).join(", ")} ms, ${long.length} over ${LONGEST} ms`);
  assert.deepEqual(long, []);
  await context.close();
  await chromium.close();
});
