// The vector kernels on the CPU in a browser, which must give the bits of the portable kernels, for each encoding.
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { POCKET, browser, make, open, serve } from "./harness.mjs";

/** Encodings with kernels of their own, and floats. */
const ENCODINGS = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"];

/** Writes the first block of the shipped model between its embedding and its output: every kernel runs, on a third of the weights. */
function firstBlock(folder) {
  mkdirSync(folder);
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(POCKET, name), join(folder, name));
  const config = JSON.parse(readFileSync(join(POCKET, "config.json"), "utf8"));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, num_hidden_layers: 1 }));
  const file = readFileSync(join(POCKET, "model.safetensors"));
  const data = 8 + Number(file.readBigUInt64LE(0));
  const tensors = Object.entries(JSON.parse(file.subarray(8, data).toString()));
  const [header, parts] = [{}, []];
  let end = 0;
  for (const [name, { dtype, shape, data_offsets }] of tensors) {
    if (name === "__metadata__" || /layers\.[1-9]/.test(name)) continue;
    const part = file.subarray(...data_offsets.map((offset) => data + offset));
    header[name] = { dtype, shape, data_offsets: [end, (end += part.length)] };
    parts.push(part);
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat([length, text, ...parts]));
  return folder;
}

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
