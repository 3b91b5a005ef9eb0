// Pictures of every state of the page, wide and narrow, light and dark: node test/screenshots.mjs FOLDER [NAME ...]
// With `readme` as a name, those of the README are written to docs/images, too.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { apiServer } from "./api-server.mjs";
import { POCKET, ask, browser, load, serve, settings, show, withoutService } from "./harness.mjs";

const [folder, ...wanted] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: node test/screenshots.mjs FOLDER [NAME ...]");
mkdirSync(folder, { recursive: true });

/** The pictures of the README. */
const README = { "story-wide-light": "page-chat", "models-narrow-dark": "page-models" };
const images = new URL("../../docs/images/", import.meta.url);

/** Turns a picture into WebP. */
async function webp(page, png) {
  const text = await page.evaluate(async (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/webp", quality: 0.82 });
    return btoa(Array.from(new Uint8Array(await blob.arrayBuffer()), (byte) => String.fromCharCode(byte)).join(""));
  }, png.toString("base64"));
  return Buffer.from(text, "base64");
}

const WIDE = { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 };
const NARROW = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

const ANSWER = `A **language model** predicts the next piece of a text. It works in three steps:

1. The text is cut into *tokens*, which are words or parts of words.
2. Each token becomes a list of numbers, and layers of arithmetic mix them.
3. The result is a probability for every token that could come next.

| part | size |
|---|---:|
| embedding | 8,192 × 256 |
| layers | 8 |

\`\`\`python
def next_token(model, tokens):
    logits = model(tokens)
    return logits[-1].argmax()
\`\`\`

> The same arithmetic runs on a phone and in a data centre.`;

/** Lets the model in use say a text, or wait forever after its first words. */
async function saying(page, answer, { reasoning = "", stay = false } = {}) {
  await page.evaluate(({ answer, reasoning, stay }) => {
    honelm.chat = (_, __, hear) => new Promise((resolve) => {
      hear({ prefill: [24, 24] });
      if (reasoning) hear({ token: 1, reasoning });
      for (const piece of (stay ? answer.slice(0, 240) : answer).match(/[^]{1,9}/gu) ?? []) hear({ token: 1, text: piece });
      if (stay) return;
      resolve({
        text: answer, ...(reasoning ? { reasoning_content: reasoning } : {}), token_ids: [], finish_reason: "stop", prompt_tokens: null, cached_tokens: null,
        completion_tokens: null, prefill_tokens_per_second: null, decode_tokens_per_second: null, first_token_seconds: null,
      });
    });
  }, { answer, reasoning, stay });
}

/** Turns on the help of a server. */
async function helped(page) {
  await load(page);
  await show(page, "models");
  await page.check("#hybrid", { force: true });
  await page.fill("#hybrid-url", api.url);
  await page.selectOption("#hybrid-policy", "cloud-first");
  await page.click("#hybrid-connect");
  await page.waitForSelector("#helper:not([hidden])");
}

/** The states: each prepares a page of a server. */
const STATES = {
  welcome: async (page) => {
    await page.waitForSelector(".offer");
  },
  story: async (page) => {
    await load(page);
    await settings(page, { max_tokens: 120, temperature: 0.7, seed: 3 });
    await ask(page, "Tell me a story about the sea.");
    await ask(page, "What happened then?");
  },
  chat: async (page) => {
    await load(page);
    for (const question of ["Write a haiku about autumn.", "Tell me a story about the sea."]) {
      await saying(page, "Leaves drift to the ground.");
      await page.evaluate(() => document.querySelector("#new-talk").click());
      await ask(page, question);
    }
    await page.evaluate(() => document.querySelector("#new-talk").click());
    await saying(page, ANSWER, { reasoning: "The user wants a short explanation.\nThree steps, then an example." });
    await ask(page, "Explain what a language model is, with an example.");
    await page.$eval("#scroller", (place) => { place.scrollTop = 0; });
  },
  streaming: async (page) => {
    await load(page);
    await saying(page, ANSWER, { stay: true });
    await page.fill("#question", "Explain what a language model is, with an example.");
    await page.press("#question", "Enter");
    await page.waitForSelector("#messages .assistant .text p");
  },
  ready: async (page) => {
    await load(page);
  },
  models: async (page) => {
    await show(page, "models");
    await page.locator("#served-models").getByRole("button", { name: "Load" }).click();
    await page.waitForFunction(() => document.querySelector("#model-name").textContent === "pocket");
    await show(page, "models");
    await page.locator("#catalogue-models").getByText("fits").first().waitFor();
  },
  hub: async (page) => {
    const sizes = { IQ4_XS: 90, Q4_0: 92, Q4_K_M: 105, Q6_K: 138, Q8_0: 145, F16: 271 };
    const siblings = Object.entries(sizes).map(([name, size]) => ({ rfilename: `Small-135M-${name}.gguf`, size: size * 1e6, lfs: { sha256: "5f0c".repeat(16) } }));
    await page.route("https://huggingface.co/api/**", (route) => route.fulfill({ json: { gated: false, siblings }, headers: { "Access-Control-Allow-Origin": "*" } }));
    await show(page, "models");
    await page.fill("#model-url", "org/Small-135M-GGUF");
    await page.click("#load");
    await page.waitForSelector("#hub .card");
  },
  loading: async (page) => {
    await load(page);
    await page.route("**/models/slow.gguf", () => {});
    await show(page, "models");
    await page.fill("#model-url", "models/slow.gguf");
    await page.click("#load");
    await page.waitForSelector("#stop-load");
    await show(page, "chat");
  },
  download: async (page) => {
    const file = Buffer.alloc(24 << 20, 7);
    file.write("GGUF");
    let served = 0;
    await page.route("https://models.test/**", async (route) => {
      const [, from, to] = /bytes=(\d+)-(\d*)/.exec(route.request().headers().range ?? "bytes=0-") ?? [];
      const headers = { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*", "Access-Control-Expose-Headers": "*", ETag: '"1"', "Accept-Ranges": "bytes" };
      if (route.request().method() === "OPTIONS") return route.fulfill({ status: 204, headers });
      if (served > 9 << 20) return;
      const part = file.subarray(Number(from), to ? Number(to) + 1 : file.length);
      served += part.length;
      await route.fulfill({ status: 206, headers: { ...headers, "Content-Range": `bytes ${from}-${Number(from) + part.length - 1}/${file.length}` }, body: part });
    });
    await show(page, "models");
    await page.fill("#model-url", "https://models.test/Small-135M-Q4_0.gguf");
    await page.click("#load");
    await page.waitForFunction(() => /MB of/.test(document.querySelector(".download .state")?.textContent ?? ""), undefined, { timeout: 20_000 });
    await page.waitForTimeout(1500);
  },
  error: async (page) => {
    await load(page);
    await saying(page, ANSWER);
    await ask(page, "Explain what a language model is.");
    await load(page, "models/no-such-model.gguf");
  },
  full: async (page) => {
    await load(page);
    await saying(page, ANSWER);
    await ask(page, "Explain what a language model is.");
    await page.fill("#question", "And now in ten times as many words, please. ".repeat(60));
    await page.evaluate(() => { honelm.chat = async () => { throw Object.assign(new Error("the prompt is too long: found 1210 tokens, the context holds 1024"), { code: "prompt-too-long" }); }; });
    await page.press("#question", "Enter");
    await page.waitForSelector("#full:not([hidden])");
  },
  settings: async (page) => {
    await load(page);
    await page.click("#settings-open");
  },
  device: async (page) => {
    await load(page);
    await page.click("#settings-open");
    await page.fill("#max_tokens", "60");
    await page.keyboard.press("Escape");
    await ask(page, "Tell me a story about the sea.");
    await show(page, "device");
    await page.waitForSelector("#device-chart .chart");
  },
  measure: async (page) => {
    await load(page);
    await show(page, "measure");
    for (const _ of [1, 2]) {
      await page.click("#run");
      await page.waitForSelector("#run:not([disabled])", { timeout: 120_000 });
    }
    await page.waitForSelector("#comparison");
  },
  menu: async (page) => {
    await load(page);
    await saying(page, ANSWER);
    await ask(page, "Explain what a language model is.");
    if (await page.isVisible("#menu")) await page.click("#menu");
  },
  help: async (page) => {
    await helped(page);
    await page.locator("#hybrid-form").scrollIntoViewIfNeeded();
    await page.locator("#hybrid-title").evaluate((title) => title.scrollIntoView());
  },
  sent: async (page) => {
    await helped(page);
    await show(page, "chat");
    api.behave.say = ({ content }) => `Here is a draft:\n\n> Dear ${/\b([A-Z]\w+ [A-Z]\w+)\b/.exec(content)?.[1]}, your card has arrived. You can collect it any day before noon.`;
    await ask(page, "Please write to Margaret Thornton at margaret.thornton@mailbox.org about her card 4111 1111 1111 1111.");
    await page.click("#messages .sent summary");
  },
  offline: async (page) => {
    await load(page);
    await page.context().setOffline(true);
  },
};

const server = await serve(POCKET);
const api = await apiServer();
const chromium = await browser({ webgpu: false });
try {
  for (const [name, prepare] of Object.entries(STATES)) {
    const named = wanted.filter((each) => each !== "readme");
    if (named.length > 0 && !named.includes(name)) continue;
    for (const [shape, options] of [["wide", WIDE], ["narrow", NARROW]]) {
      const context = await withoutService(await chromium.newContext({ ...options, colorScheme: "light", reducedMotion: "reduce" }));
      const page = await context.newPage();
      await page.goto(`${server.url}?tokens=60`);
      await prepare(page);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        const picture = `${name}-${shape}-${colorScheme}`;
        const png = await page.screenshot({ path: join(folder, `${picture}.png`) });
        if (wanted.includes("readme") && README[picture]) writeFileSync(new URL(`${README[picture]}.webp`, images), await webp(page, png));
      }
      await context.close();
    }
    console.log(name);
  }
} finally {
  await chromium.close();
  api.stop();
  await server.stop();
}
