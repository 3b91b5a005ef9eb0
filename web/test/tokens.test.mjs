// The same greedy tokens as natively, prompt by prompt.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { browser, honelm, open, serve } from "./harness.mjs";

const TOKENS = 64;
/** Smallest difference of the two largest logits at which rounding cannot change the token. */
const MARGIN = 1e-2;
const prompts = readFileSync(new URL("../../crates/honelm/tests/data/prompts.txt", import.meta.url), "utf8").trimEnd().split("\n");

test("greedy tokens equal the native processor's", { timeout: 600_000 }, async () => {
  const [server, chromium] = [await serve(), await browser({ webgpu: false })];
  const { page, problems, close } = await open(chromium, server.url);
  const found = await page.evaluate(async ({ prompts, tokens }) => {
    await honelm.load({ url: new URL("models/pocket/", document.baseURI).href }, { device: "cpu", compute: "f32", cache_type: "f32" });
    const answers = [];
    for (const prompt of prompts) {
      const settings = { max_tokens: tokens, temperature: 0, ignore_eos: true, logprobs: 2 };
      const { token_ids, logprobs } = await honelm.complete(prompt, settings);
      answers.push({ token_ids, margin: Math.min(...logprobs.map(({ top }) => top[0][1] - top[1][1])) });
    }
    return answers;
  }, { prompts, tokens: TOKENS });
  let compared = 0;
  for (const [i, prompt] of prompts.entries()) {
    if (found[i].margin < MARGIN) continue;
    const how = ["--raw", "--temperature", "0", "--ignore-eos", "-n", String(TOKENS), "--compute", "f32", "--cache-type", "f32"];
    assert.deepEqual(found[i].token_ids, honelm("run", "pocket", "-p", prompt, ...how).token_ids, prompt);
    compared++;
  }
  console.log(`${compared} of ${prompts.length} prompts compared`);
  assert.ok(compared >= 20, `only ${compared} prompts have clear margins`);
  assert.deepEqual(problems, []);
  await close();
  await chromium.close();
  await server.stop();
});
