// A quantised model on WebGPU compared with itself on the CPU in single precision, by token of a text, and its kernels.
// `cargo xtask prove chunks` uses more of the text, other encodings and the CPU.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PATIENCE, make } from "./harness.mjs";
import { check } from "./jobs.mjs";

test("a quantised model on WebGPU agrees with itself in single precision, and the faster kind of sums is used", { timeout: PATIENCE }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "honelm-check-"));
  try {
    const model = join(folder, "q4_0.gguf");
    make("quantize", "pocket", "--to", "q4_0", "-o", model);
    const found = await check({ model, device: "gpu", settings: { protocol: "llama.cpp-64", chunks: 2 } });
    assert.deepEqual(found.heard, [[0, 2], [1, 2], [2, 2]]);
    assert.ok(found.kl_divergence <= 1e-4, `KL ${found.kl_divergence}`);
    assert.ok(found.clear_positions > found.tokens / 2);
    assert.equal(found.clear_positions_changed, 0);
    const { sums, variants } = found.tested.trust;
    assert.equal(sums !== null, found.subgroups);
    if (found.subgroups) {
      assert.ok(sums.by_subgroups > 0 && sums.by_memory > 0);
      assert.equal(variants.subgroups, sums.by_subgroups <= 1.03 * sums.by_memory);
    }
    assert.deepEqual(found.tested.demoted, []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
