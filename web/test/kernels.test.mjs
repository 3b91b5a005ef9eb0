// The vector kernels on the CPU in a browser, which must give the bits of the portable kernels, for each encoding.
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { browser, firstBlock, make, open, serve } from "./harness.mjs";

/** Encodings with kernels of their own, and floats. */
const ENCODINGS = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"];

test("vector kernels give the bits of the portable ones", { timeout: 600_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "honelm-kernels-"));
  const model = firstBlock(join(folder, "model"));
  const files = ENCODINGS.map((encoding) => join(folder, `${encoding}.gguf`));
  for (const [i, encoding] of ENCODINGS.entries()) make("quantize", model, "--to", encoding, "--out", files[i]);
  for (const bits of ["4", "8"]) {
    files.push(join(folder, `gptq-${bits}`));
    make("quantize", model, "--to", "gptq", "--bits", bits, "--group-size", "64", "--out", files.at(-1));
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
