// How far quantised models are, in each place, from themselves on the processor in single precision, token by token of a text.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PATIENCE, browser, make, offered, open, serve } from "./harness.mjs";

const text = readFileSync(new URL("../../crates/honelm/data/heldout.txt", import.meta.url), "utf8");

/** Bounds of the mean divergence in nats, and of the share of clear positions that change: 8-bit activations on the processor, float
 * ones on the GPU. */
const BOUND = { cpu: { kl: 8e-4, changed: 0.02 }, gpu: { kl: 1e-4, changed: 0 } };
const GPTQ = ["--bits", "4", "--group-size", "128"];

// A GPU in software takes minutes for 20 chunks; HONELM_ALL_TOKENS=1 takes the time.
const all = process.env.HONELM_ALL_TOKENS === "1";
const encodings = all ? ["q4_0", "q5_0", "q4_k", "gptq"] : ["q4_0", "gptq"];
const settings = all ? { chunks: 20 } : { protocol: "llama.cpp-64", chunks: 2 };

for (const device of ["cpu", "gpu"]) {
  test(`quantised models on the ${device} are what they are in single precision`, { timeout: (all ? 40 : 3) * PATIENCE }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "honelm-check-"));
    const chromium = await browser({ webgpu: device === "gpu" });
    try {
      for (const encoding of encodings) {
        const path = join(folder, encoding === "gptq" ? encoding : `${encoding}.gguf`);
        make("quantize", "pocket", "--to", encoding, "-o", path, ...(encoding === "gptq" ? GPTQ : []));
        const server = await serve(path);
        const { page, problems, close } = await open(chromium, server.url);
        const { found, heard } = await page.evaluate(async ({ url, text, settings, device }) => {
          await honelm.load({ url }, { device });
          const heard = [];
          const found = await honelm.check(text, settings, ({ done, total }) => heard.push([done, total]));
          return { found, heard };
        }, { url: await offered(page), text, settings, device });
        const { kl_divergence, same_top_percent, clear_positions, clear_positions_changed, tokens } = found;
        console.log(
          `${encoding} on the ${device}: ${tokens} tokens, KL ${kl_divergence.toExponential(2)}, same top ${same_top_percent.toFixed(2)}%, ` +
            `${clear_positions_changed} of ${clear_positions} clear positions changed`,
        );
        const chunks = settings.chunks;
        assert.deepEqual(heard, Array.from({ length: chunks + 1 }, (_, done) => [done, chunks]));
        assert.ok(kl_divergence <= BOUND[device].kl, `KL ${kl_divergence}`);
        assert.ok(clear_positions > tokens / 2);
        assert.ok(clear_positions_changed <= BOUND[device].changed * clear_positions);
        assert.deepEqual(problems, []);
        await close();
        await server.stop();
      }
    } finally {
      await chromium.close();
      rmSync(folder, { recursive: true });
    }
  });
}
