// A file of 400 MB goes to the GPU slab by slab: the wasm heap never holds the model.
import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { browser, make, open, serve } from "./harness.mjs";

const MEGA = 1e6;
const HEAP_LIMIT = 150 * MEGA;
const SHAPE = { width: 1024, ffn: 4096, layers: 24, heads: 16, kvHeads: 4, headWidth: 64 };
/** GGUF's numbers of value types and of the tensor types F32 and Q8_0. */
const [U32, F32_VALUE, STRING, ARRAY] = [4, 6, 8, 9];
const [F32, Q8_0] = [0, 8];
const VALUE_BYTES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };

/** Keys and values of a GGUF file, the values as their bytes with the type before. */
function metadata(file) {
  let at = 16;
  const count = () => Number(file.readBigUInt64LE((at += 8) - 8));
  const text = () => {
    const length = count();
    return file.subarray(at, (at += length)).toString();
  };
  const skip = (type) => {
    if (type === STRING) text();
    else if (type === ARRAY) {
      const [of, length] = [file.readUInt32LE((at += 4) - 4), count()];
      if (of === STRING) for (let i = 0; i < length; i++) text();
      else at += VALUE_BYTES[of] * length;
    } else at += VALUE_BYTES[type];
  };
  const pairs = new Map();
  for (let left = count(); left > 0; left--) {
    const [key, start] = [text(), at];
    skip(file.readUInt32LE((at += 4) - 4));
    pairs.set(key, file.subarray(start, at));
  }
  return pairs;
}

function string(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([number(bytes.length, 8), bytes]);
}

function number(value, bytes = 4) {
  const buffer = Buffer.alloc(bytes);
  if (bytes === 8) buffer.writeBigUInt64LE(BigInt(value));
  else buffer.writeUInt32LE(value);
  return buffer;
}

function value(type, content) {
  return Buffer.concat([number(type), content]);
}

/** Writes a llama of random Q8_0 weights with the tokenizer of `donor`. */
function writeRandomModel(path, donor) {
  const own = metadata(readFileSync(donor));
  const { width, ffn, layers, heads, kvHeads, headWidth } = SHAPE;
  const vocabulary = Number(own.get("tokenizer.ggml.tokens").readBigUInt64LE(8));
  const pairs = new Map([...own].filter(([key]) => key.startsWith("tokenizer.")));
  pairs.set("general.architecture", value(STRING, string("llama")));
  for (const [key, found] of Object.entries({
    block_count: layers, embedding_length: width, feed_forward_length: ffn, context_length: 512, vocab_size: vocabulary,
    "attention.head_count": heads, "attention.head_count_kv": kvHeads, "rope.dimension_count": headWidth,
  })) pairs.set(`llama.${key}`, value(U32, number(found)));
  const epsilon = Buffer.alloc(4);
  epsilon.writeFloatLE(1e-5);
  pairs.set("llama.attention.layer_norm_rms_epsilon", value(F32_VALUE, epsilon));

  const tensors = [["token_embd", width, vocabulary], ["output_norm", width]];
  for (let i = 0; i < layers; i++) {
    const [q, kv] = [heads * headWidth, kvHeads * headWidth];
    tensors.push(
      [`blk.${i}.attn_norm`, width], [`blk.${i}.attn_q`, width, q], [`blk.${i}.attn_k`, width, kv],
      [`blk.${i}.attn_v`, width, kv], [`blk.${i}.attn_output`, q, width], [`blk.${i}.ffn_norm`, width],
      [`blk.${i}.ffn_gate`, width, ffn], [`blk.${i}.ffn_up`, width, ffn], [`blk.${i}.ffn_down`, ffn, width],
    );
  }
  let offset = 0;
  const entries = tensors.map(([name, cols, rows]) => {
    const size = rows === undefined ? cols * 4 : (cols / 32) * 34 * rows;
    const shape = rows === undefined ? [cols] : [cols, rows];
    const dimensions = Buffer.concat([number(shape.length), ...shape.map((d) => number(d, 8))]);
    const entry = Buffer.concat([string(`${name}.weight`), dimensions, number(rows === undefined ? F32 : Q8_0), number(offset, 8)]);
    const padded = Math.ceil(size / 32) * 32;
    offset += padded;
    return { entry, size, padded, norm: rows === undefined };
  });
  const header = Buffer.concat([
    Buffer.from("GGUF"), number(3), number(tensors.length, 8), number(pairs.size, 8),
    ...[...pairs].flatMap(([key, bytes]) => [string(key), bytes]), ...entries.map(({ entry }) => entry),
  ]);
  const file = openSync(path, "w");
  writeSync(file, Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32)]));
  // Blocks of 32: a scale of 2^-10 and codes from a small generator.
  const random = Buffer.alloc(34 * 4096);
  let state = 1;
  for (let at = 0; at < random.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    random[at] = at % 34 === 0 ? 0x00 : at % 34 === 1 ? 0x14 : state >>> 24;
  }
  for (const { size, padded, norm } of entries) {
    const bytes = Buffer.alloc(padded);
    if (norm) for (let at = 0; at < size; at += 4) bytes.writeFloatLE(1, at);
    else for (let at = 0; at < size; at += random.length) random.copy(bytes, at, 0, Math.min(random.length, size - at));
    writeSync(file, bytes);
  }
  closeSync(file);
  return header.length + offset;
}

test("a model of 400 MB loads with a small wasm heap", { timeout: 600_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "honelm-large-"));
  const [donor, large] = [join(folder, "pocket.gguf"), join(folder, "large.gguf")];
  make("quantize", "pocket", "--to", "q8_0", "--out", donor);
  const size = writeRandomModel(large, donor);
  assert.ok(size > 390 * MEGA && size < 420 * MEGA, `${size} bytes`);
  const [server, chromium] = [await serve(large), await browser({ webgpu: true })];
  const { page, problems, close } = await open(chromium, server.url);
  const { facts, answer, memory } = await page.evaluate(async () => {
    const facts = await honelm.load({ url: new URL("models/large.gguf", document.baseURI).href }, { device: "gpu" });
    const answer = await honelm.complete("Once upon a time", { max_tokens: 2, temperature: 0, ignore_eos: true });
    return { facts, answer, memory: await honelm.memory() };
  });
  assert.equal(facts.device, "gpu");
  assert.equal(answer.completion_tokens, 2);
  assert.ok(memory.device.weights > 380 * MEGA, `${memory.device.weights} bytes of weights`);
  console.log(`${(size / MEGA).toFixed(0)} MB, wasm heap ${(memory.wasm_heap / MEGA).toFixed(0)} MB, loaded in ${facts.load_seconds.toFixed(1)} s`);
  assert.ok(memory.wasm_heap <= HEAP_LIMIT, `wasm heap of ${memory.wasm_heap} bytes`);
  assert.deepEqual(problems, []);
  await close();
  await chromium.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});
