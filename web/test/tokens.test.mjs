// The same greedy tokens as natively, prompt by prompt, on the processor and on WebGPU.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { PATIENCE, browser, honelm, open, serve } from "./harness.mjs";

/** Smallest difference of the two largest logits at which rounding cannot change the token. */
const MARGIN = 1e-2;
const prompts = readFileSync(new URL("../../crates/honelm/tests/data/prompts.txt", import.meta.url), "utf8").trimEnd().split("\n");

// A GPU in software takes seconds a token; HONELM_ALL_TOKENS=1 takes the time.
const all = process.env.HONELM_ALL_TOKENS === "1";
for (const { webgpu, count, tokens, least } of [
  { webgpu: false, count: 32, tokens: 64, least: 20 },
  all ? { webgpu: true, count: 32, tokens: 64, least: 20 } : { webgpu: true, count: 3, tokens: 10, least: 2 },
]) {
  const place = webgpu ? "WebGPU" : "the processor";
  test(`greedy tokens on ${place} equal the native processor's`, { timeout: all ? 20 * PATIENCE : 3 * PATIENCE }, async () => {
    const [server, chromium] = [await serve(), await browser({ webgpu })];
    const { page, problems, close } = await open(chromium, server.url);
    const asked = { prompts: prompts.slice(0, count), tokens, device: webgpu ? "gpu" : "cpu" };
    const found = await page.evaluate(async ({ prompts, tokens, device }) => {
      await honelm.load({ url: new URL("models/pocket/", document.baseURI).href }, { device, compute: "f32", cache_type: "f32" });
      const answers = [];
      for (const prompt of prompts) {
        const settings = { max_tokens: tokens, temperature: 0, ignore_eos: true, logprobs: 2 };
        const { token_ids, logprobs } = await honelm.complete(prompt, settings);
        answers.push({ token_ids, margin: Math.min(...logprobs.map(({ top }) => top[0][1] - top[1][1])) });
      }
      return answers;
    }, asked);
    let compared = 0;
    for (const [i, prompt] of asked.prompts.entries()) {
      if (found[i].margin < MARGIN) continue;
      const how = ["--raw", "--temperature", "0", "--ignore-eos", "-n", String(tokens), "--compute", "f32", "--cache-type", "f32"];
      assert.deepEqual(found[i].token_ids, honelm("run", "pocket", "-p", prompt, "--device", "cpu", ...how).token_ids, prompt);
      compared++;
    }
    console.log(`${compared} of ${count} prompts compared on ${place}`);
    assert.ok(compared >= least, `only ${compared} prompts have clear margins`);
    assert.deepEqual(problems, []);
    await close();
    await chromium.close();
    await server.stop();
  });
}
