// The page in a real browser.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { ask, browser, list, load, open, serve, text } from "./harness.mjs";

for (const webgpu of [true, false]) {
  describe(webgpu ? "with WebGPU" : "without WebGPU", () => {
    let server;
    let chromium;

    before(async () => {
      server = await serve();
      chromium = await browser({ webgpu });
    });
    after(async () => {
      await chromium?.close();
      await server?.stop();
    });

    test("says what the device can", async () => {
      const { page, problems, close } = await open(chromium, server.url);
      await page.waitForFunction(() => document.querySelectorAll("#adapter-facts dt").length > 0);
      const facts = await list(page, "#adapter-facts");
      const device = await text(page, "#device");
      if (webgpu) {
        assert.match(device, /^WebGPU: /);
        assert.ok("subgroups" in facts && "maxBufferSize" in facts, JSON.stringify(facts));
      } else {
        assert.match(device, /^no WebGPU: /);
      }
      assert.deepEqual(problems, []);
      await close();
    });

    test("loads the shipped model, and chats", async () => {
      const { page, problems, close } = await open(chromium, server.url);
      const { facts, error } = await load(page);
      assert.equal(error, undefined);
      assert.equal(facts.Name, "pocket");
      await page.$eval("#settings", (settings) => (settings.open = true));
      await page.fill("#max_tokens", "40");
      await page.fill("#seed", "1");
      const said = await ask(page, "Tell me a story about the sea.");
      assert.deepEqual(said.map(([role]) => role), ["user", "assistant"]);
      assert.ok(said[1][1].length > 20, said[1][1]);
      assert.match(await text(page, "#speed"), /answer \d+ tokens · [\d.]+ tok\/s/);
      const again = await ask(page, "And then?");
      assert.equal(again.length, 4);
      assert.match(await text(page, "#speed"), /\(\d+ cached\)/, "a conversation is not read twice");
      assert.deepEqual(problems, []);
      await close();
    });
  });
}
