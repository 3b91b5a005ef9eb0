// The same greedy tokens as on the native processor, prompt by prompt: on WebAssembly, on WebGPU, on the native GPU.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { PATIENCE, POCKET, browser, honelm, offered, open, serve } from "./harness.mjs";

/** Smallest difference of the two largest logits at which rounding cannot change the token. */
const MARGIN = 1e-2;
const prompts = readFileSync(new URL("../../crates/honelm/tests/data/prompts.txt", import.meta.url), "utf8").trimEnd().split("\n");

// A GPU in software takes seconds a token; HONELM_ALL_TOKENS=1 takes the time, for the larger model of HONELM_TEST_DATA too.
const all = process.env.HONELM_ALL_TOKENS === "1";
const reference = join(process.env.HONELM_TEST_DATA ?? "", "models/reference");
const models = all && existsSync(reference) ? [POCKET, reference] : [POCKET];
const some = all ? { count: 32, tokens: 64, least: 20 } : { count: 3, tokens: 10, least: 2 };
const places = [
  { place: "the processor in a browser", device: "cpu", count: 32, tokens: 64, least: 20 },
  { place: "WebGPU", device: "gpu", ...some },
];

/** What a model writes natively after a prompt, and on which device. */
function natively(model, prompt, tokens, device) {
  const how = ["--raw", "--temperature", "0", "--ignore-eos", "-n", String(tokens), "--compute", "f32", "--cache-type", "f32"];
  return honelm("run", model, "-p", prompt, "--device", device, ...how).token_ids;
}

/** What a model writes in a browser, with the smallest margin on the way. */
async function inBrowser(model, device, prompts, tokens) {
  const [server, chromium] = [await serve(model), await browser({ webgpu: device === "gpu" })];
  const { page, problems, close } = await open(chromium, server.url);
  const found = await page.evaluate(async ({ url, prompts, tokens, device }) => {
    await honelm.load({ url }, { device, compute: "f32", cache_type: "f32" });
    const answers = [];
    for (const prompt of prompts) {
      const settings = { max_tokens: tokens, temperature: 0, ignore_eos: true, logprobs: 2 };
      const { token_ids, logprobs } = await honelm.complete(prompt, settings);
      answers.push({ token_ids, margin: Math.min(...logprobs.map(({ top }) => top[0][1] - top[1][1])) });
    }
    return answers;
  }, { url: await offered(page), prompts, tokens, device });
  assert.deepEqual(problems, []);
  await close();
  await chromium.close();
  await server.stop();
  return found;
}

for (const model of models) {
  const name = model.split("/").pop();
  for (const { place, device, count, tokens, least } of places) {
    test(`greedy tokens of ${name} on ${place} equal the native processor's`, { timeout: all ? 40 * PATIENCE : 3 * PATIENCE }, async () => {
      const asked = prompts.slice(0, count);
      const found = await inBrowser(model, device, asked, tokens);
      const clear = asked.map((prompt, i) => ({ prompt, ...found[i] })).filter(({ margin }) => margin >= MARGIN);
      for (const { prompt, token_ids } of clear) assert.deepEqual(token_ids, natively(model, prompt, tokens, "cpu"), prompt);
      console.log(`${name}: ${clear.length} of ${count} prompts compared on ${place}`);
      assert.ok(clear.length >= least, `only ${clear.length} prompts have clear margins`);
      if (!all || device === "cpu") return;
      for (const { prompt, token_ids } of clear) assert.deepEqual(natively(model, prompt, tokens, "gpu"), token_ids, prompt);
      console.log(`${name}: ${clear.length} of ${count} prompts compared on the native GPU`);
    });
  }
}
