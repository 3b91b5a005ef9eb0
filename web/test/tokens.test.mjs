// The greedy tokens on WebAssembly must equal those on the native CPU. `cargo xtask prove tokens` compares many more, also on WebGPU.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { PATIENCE, POCKET, honelm } from "./harness.mjs";
import { tokens } from "./jobs.mjs";

/** Smallest difference of the two largest logits at which rounding cannot change the token. */
const MARGIN = 1e-2;
const prompts = readFileSync(new URL("../../crates/honelm/tests/data/prompts.txt", import.meta.url), "utf8").trimEnd().split("\n");

/** What the shipped model writes natively after a prompt. */
function natively(prompt, count) {
  const how = ["--raw", "--temperature", "0", "--ignore-eos", "-n", String(count), "--compute", "f32", "--cache-type", "f32"];
  return honelm("run", POCKET, "-p", prompt, "--device", "cpu", ...how).token_ids;
}

test("greedy tokens on the CPU in a browser equal the native ones", { timeout: PATIENCE }, async () => {
  const [asked, count] = [prompts.slice(0, 4), 32];
  const found = await tokens({ model: POCKET, device: "cpu", prompts: asked, tokens: count });
  const clear = found.filter(({ margin }) => margin >= MARGIN);
  assert.ok(clear.length > 0, "no prompt has clear margins");
  for (const { prompt, token_ids } of clear) assert.deepEqual(token_ids, natively(prompt, count), prompt);
});
