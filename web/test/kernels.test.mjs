// The vector kernels of the browser's processor path, bit for bit the portable ones, encoding by encoding.
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { POCKET, browser, make, open, serve } from "./harness.mjs";

/** Encodings with kernels of their own, and floats. */
const ENCODINGS = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"];

test("vector kernels give the bits of the portable ones", { timeout: 600_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "honelm-kernels-"));
  const files = ENCODINGS.map((encoding) => join(folder, `${encoding}.gguf`));
  for (const [i, encoding] of ENCODINGS.entries()) make("quantize", "pocket", "--to", encoding, "--out", files[i]);
  for (const bits of ["4", "8"]) {
    files.push(join(folder, `gptq-${bits}`));
    make("quantize", "pocket", "--to", "gptq", "--bits", bits, "--group-size", "64", "--out", files.at(-1));
  }
  const [server, chromium] = [await serve(...files), await browser({ webgpu: false })];
  const { page, problems, close } = await open(chromium, server.url);
  for (const { url, name } of server.models) {
    const [portable, vectors] = await page.evaluate(async (url) => {
      const found = [];
      for (const isa of [{ isa: "generic" }, {}]) {
        const { description } = await honelm.load({ url: new URL(url, document.baseURI).href }, { device: "cpu", ...isa });
        // A prompt longer than a panel of activations, then single rows.
        const settings = { max_tokens: 6, temperature: 0, ignore_eos: true, logprobs: 20 };
        const { logprobs } = await honelm.complete("Once upon a time there was a little girl who lived in a house by the sea.", settings);
        found.push({ description, logprobs });
      }
      return found;
    }, url);
    assert.match(portable.description, /generic/);
    assert.match(vectors.description, /simd128/);
    assert.deepEqual(vectors.logprobs, portable.logprobs, name);
  }
  assert.deepEqual(problems, []);
  await close();
  await chromium.close();
  await server.stop();
});

test("on WebGPU a race decides whether subgroups do the sums", { timeout: 600_000 }, async () => {
  const [server, chromium] = [await serve(POCKET), await browser({ webgpu: true })];
  const { page, problems, close } = await open(chromium, server.url);
  const { tested, has } = await page.evaluate(async () => {
    const adapter = await navigator.gpu.requestAdapter();
    const url = new URL("models/pocket/", document.baseURI).href;
    const { tested } = await honelm.load({ url }, { device: "gpu" });
    return { tested, has: adapter.features.has("subgroups") };
  });
  const { sums, variants } = tested.trust;
  console.log(`subgroups: ${has}; ${JSON.stringify(sums)}`);
  assert.equal(sums !== null, has);
  if (has) {
    assert.ok(sums.by_subgroups > 0 && sums.by_memory > 0);
    assert.equal(variants.subgroups, sums.by_subgroups <= 1.03 * sums.by_memory);
  }
  assert.deepEqual(tested.demoted, []);
  assert.deepEqual(problems, []);
  await close();
  await chromium.close();
  await server.stop();
});
