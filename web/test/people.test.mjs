// Uses of the page, and what people stumbled over: each test is one of these.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { PATIENCE, POCKET, answered, ask, browser, endless, load, loaded, messages, open, serve, serveModels, settings, show, state, text, withoutService } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DIST = fileURLToPath(new URL("../dist", import.meta.url));
let server;
let chromium;

before(async () => {
  server = await serve(POCKET);
  chromium = await browser({ webgpu: false });
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** Opens the page with the shipped model and short answers. */
async function ready({ query = "", max_tokens = 8, ...options } = {}) {
  const opened = await open(chromium, server.url + query, options);
  assert.equal((await load(opened.page)).error, undefined);
  if (max_tokens !== null) await settings(opened.page, { max_tokens, seed: 1 });
  return opened;
}

/** Lets the model in use say `text`, in pieces. */
async function saying(page, answer, reasoning) {
  await page.evaluate(({ answer, reasoning }) => {
    honelm.chat = async (_, __, hear) => {
      if (reasoning) hear({ token: 1, reasoning });
      for (const piece of answer.match(/[^]{1,7}/gu) ?? []) {
        hear({ token: 2, text: piece });
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      return {
        text: answer, ...(reasoning ? { reasoning_content: reasoning } : {}), token_ids: [], finish_reason: "stop", prompt_tokens: 5, cached_tokens: 0,
        completion_tokens: 5, prefill_tokens_per_second: 10, decode_tokens_per_second: 10, first_token_seconds: 1,
      };
    };
  }, { answer, reasoning });
}

test("a reload keeps conversation, model, settings and view", async () => {
  const { page, problems, close } = await ready();
  await settings(page, { temperature: 0.5, system: "Be brief." });
  const before = await ask(page, "Tell me a story.");
  await show(page, "measure");
  await page.reload();
  await page.waitForSelector("#run:not([disabled])", { timeout: PATIENCE });
  await show(page, "chat");
  assert.deepEqual(await messages(page), before);
  assert.equal(await text(page, "#model-name"), "pocket");
  await page.click("#settings-open");
  assert.deepEqual(await page.$$eval("#temperature, #max_tokens, #system", (all) => all.map(({ value }) => value).sort()), ["0.5", "8", "Be brief."]);
  await page.keyboard.press("Escape");
  assert.equal((await ask(page, "And then?")).length, 4);
  assert.deepEqual(problems, []);
  await close();
});

test("a full context asks once, then leaves out the oldest messages visibly", async () => {
  const { page, problems, close } = await ready({ query: "?context=160", max_tokens: 24 });
  let asked = 0;
  for (let turn = 0; turn < 10; turn++) {
    await page.fill("#question", "Tell me more about the little boat on the wide sea.");
    await page.press("#question", "Enter");
    await page.waitForFunction(() => !document.querySelector("#full").hidden || document.querySelector("#stop").hidden, undefined, { timeout: PATIENCE });
    if (await page.isVisible("#full-shift")) {
      asked++;
      assert.match(await page.textContent("#full"), /no longer fits.*160 tokens/s);
      await page.click("#full-shift");
    }
    await answered(page);
    assert.equal(await text(page, "#chat-error"), undefined, `turn ${turn + 1}`);
  }
  assert.equal(asked, 1);
  assert.equal((await messages(page)).length, 20, "all messages stay on the page");
  assert.equal(await page.locator("#messages .divider").count(), 1);
  assert.match(await page.textContent("#messages .divider"), /no longer sees the messages above/);
  assert.deepEqual(problems, []);
  await close();
});

test("one message that is longer than the context is refused, and the page remains usable", async () => {
  const { page, problems, close } = await ready({ query: "?context=64" });
  await ask(page, "word ".repeat(200));
  assert.match(await text(page, "#chat-error"), /the prompt is too long: found \d+ tokens, the context holds 64/);
  assert.match(await page.inputValue("#question"), /^word word/, "the message is not lost");
  assert.equal((await ask(page, "Hello.")).length, 2);
  assert.equal(await text(page, "#chat-error"), undefined);
  assert.deepEqual(problems, []);
  await close();
});

test("a mistyped address keeps the model and the conversation, and Stop while loading does too", async () => {
  const { page, close } = await ready();
  const before = await ask(page, "Hello.");
  const { error } = await load(page, `${server.url}models/no-such-model.gguf`);
  assert.match(error, /no-such-model: .*file not found.*pocket is still loaded/s);
  assert.deepEqual(await messages(page), before);
  await show(page, "models");
  await page.route("**/models/slow.gguf", () => {});
  await page.fill("#model-url", "models/slow.gguf");
  await page.click("#load");
  await page.waitForSelector("#stop-load");
  assert.equal(await page.isDisabled("#question"), false, "a message can be written meanwhile");
  await page.focus("#stop-load");
  await page.keyboard.press("Enter");
  await loaded(page);
  assert.equal(await page.evaluate(() => document.activeElement.id), "model-button", "the focus is not lost");
  assert.equal((await state(page)).facts.Name, "pocket");
  await show(page, "chat");
  assert.equal((await ask(page, "And then?")).length, 4);
  await close();
});

test("repositories and addresses say what is wrong with them", async () => {
  const { page, problems, close } = await open(chromium, `${server.url}#models`);
  const siblings = [
    { rfilename: "README.md", size: 10 }, { rfilename: "m-Q4_0.gguf", size: 90_000_000, lfs: { sha256: "ab".repeat(32) } },
    { rfilename: "m-Q8_0.gguf", size: 150_000_000 }, { rfilename: "big-F16-00001-of-00002.gguf", size: 5 },
  ];
  await page.route("https://huggingface.co/api/models/org/repo*", (route) => route.fulfill({ json: { gated: false, siblings }, headers: { "Access-Control-Allow-Origin": "*" } }));
  await page.route("https://huggingface.co/api/models/org/none*", (route) => route.fulfill({ status: 404, headers: { "Access-Control-Allow-Origin": "*" } }));
  const enter = async (address) => {
    await page.fill("#model-url", address);
    await page.click("#load");
  };
  for (const address of ["org/repo", "https://huggingface.co/org/repo", "huggingface.co/org/repo/tree/main"]) {
    await enter(address);
    await page.waitForSelector("#hub .card");
    assert.deepEqual(await page.$$eval("#hub .card h3", (all) => all.map(({ textContent }) => textContent)), ["Q4_0", "Q8_0"]);
    assert.match(await page.textContent("#hub"), /90\.0 MB.*big-F16: several parts/s);
  }
  for (const [address, expected] of [
    ["http://", /http:\/\/: not an address/], ["", /Enter the address/], ["file:///m.gguf", /Open a file/], ["ftp://x/m.gguf", /found ftp:, expected/],
    ["org/none", /org\/none: not found on the Hugging Face Hub/], ["https://huggingface.co/models", /not the page of a model/],
  ]) {
    await enter(address);
    await page.waitForFunction((source) => new RegExp(source).test(document.querySelector("#address-error").textContent), expected.source);
    assert.equal(await page.isVisible("#address-error"), true, address);
  }
  assert.deepEqual(problems.filter((problem) => !/404/.test(problem)), [], "nothing is thrown in the console");
  await close();
});

test("served models are a list, with what they need here", async () => {
  const { page, problems, close } = await open(chromium, `${server.url}#models`);
  const card = page.locator("#served-models .card", { hasText: "pocket" });
  await card.getByText("needs").waitFor();
  assert.match(await card.textContent(), /16\.8 MB.*needs ≈ [\d.]+ MB.*fits.*up to ≈ [\d.]+ tok\/s/s);
  await card.getByRole("button", { name: "Load" }).click();
  await loaded(page);
  assert.equal((await ask(page, "Hello.")).length, 2);
  await show(page, "models");
  await card.getByText("about").waitFor();
  assert.match(await card.textContent(), /in use.*about [\d.]+ tok\/s/s, "the speed of the first answer is the estimate of the next visit");
  assert.deepEqual(problems, []);
  await close();
});

test("a catalogue with nonsense shows what is right in it, and says the rest", async () => {
  const { page, close } = await open(chromium, `${server.url}?catalogue=odd.json#models`);
  await page.getByText(/The catalogue cannot be read: odd\.json: the server answered 404/).waitFor();
  await close();
  const context = await withoutService(await chromium.newContext());
  const other = await context.newPage();
  const models = [
    { id: "a", name: "Good", files: [{ label: "Q4_0", url: "a.gguf", bytes: 5_000_000, proof: { budget_percent: 1, increase_percent_upper95: 0.62, kl_divergence: 0.011 } }] },
    { id: "a", name: "Twice", hub: "x/y" }, { id: "b", name: "Bad", files: [{ label: "x", url: "javascript:alert(1)" }] }, 5, { id: "c", name: "<img src=x onerror=alert(1)>", hub: "x/y" },
  ];
  await other.route("**/odd.json", (route) => route.fulfill({ json: { version: 1, models } }));
  await other.goto(`${server.url}?catalogue=odd.json#models`);
  await other.waitForSelector("#catalogue-models .card");
  assert.deepEqual(await other.$$eval("#catalogue-models h3", (all) => all.map(({ textContent }) => textContent)), ["Good", "<img src=x onerror=alert(1)>"]);
  const whole = await other.textContent("#models");
  assert.match(whole, /at most 0\.62% above the original \(budget 1%\), KL divergence 0\.011/);
  for (const told of [/models\[1\]: id: found "a" twice/, /models\[2\]: files\[0\]\.url: found javascript:/, /models\[3\]: found no object/]) assert.match(whole, told);
  await context.close();
});

test("messages can be edited, written again, compared, deleted and found", async () => {
  const { page, problems, close } = await ready();
  await settings(page, { temperature: 1, seed: "" });
  await ask(page, "Tell me of a whale.");
  await page.click("#messages .assistant [aria-label='Write again']");
  await answered(page);
  assert.equal(await page.textContent("#messages .assistant .versions"), "2 / 2");
  await page.click("#messages .assistant [aria-label='Previous version']");
  assert.equal(await page.textContent("#messages .assistant .versions"), "1 / 2");
  await page.focus("#question");
  await page.keyboard.press("ArrowUp");
  assert.equal(await page.inputValue("#question"), "Tell me of a whale.");
  await page.keyboard.press("Escape");
  assert.equal(await page.inputValue("#question"), "");
  await page.keyboard.press("ArrowUp");
  await ask(page, "Tell me of a mouse.");
  assert.deepEqual((await messages(page)).map(([, text]) => text)[0], "Tell me of a mouse.");
  assert.equal(await page.textContent("#messages .user .versions"), "2 / 2");
  await page.click("#messages .user [aria-label='Previous version']");
  assert.equal((await messages(page))[0][1], "Tell me of a whale.");
  await page.click("#new-talk");
  await ask(page, "Something else.");
  assert.equal(await page.locator("#history .talk").count(), 2);
  await page.fill("#search", "mouse");
  assert.deepEqual(await page.$$eval("#history .open", (all) => all.map(({ textContent }) => textContent)), ["Tell me of a whale."]);
  await page.click("#history .open");
  assert.equal((await messages(page))[0][1], "Tell me of a whale.");
  await page.hover("#history .talk");
  await page.click("#history .talk .ghost");
  await page.click("#history .sure");
  await page.waitForFunction(() => document.querySelectorAll("#history .talk").length === 0);
  await page.fill("#search", "");
  assert.equal(await page.locator("#history .talk").count(), 1);
  assert.deepEqual(problems, []);
  await close();
});

test("conversations are exported, imported, and refused if another version wrote them", async () => {
  const { page, problems, close } = await ready();
  const said = await ask(page, "Tell me of a whale.");
  const exported = async (name) => {
    await page.click("#talk-export");
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name }).click()]);
    return readFileSync(await download.path(), "utf8");
  };
  assert.match(await exported("As Markdown"), /^# Tell me of a whale\.\n\n## You\n\nTell me of a whale\.\n\n## pocket\n\n/);
  const json = await exported("As JSON");
  const give = (name, text) => page.setInputFiles("#talks-file", { name, mimeType: "application/json", buffer: Buffer.from(text) });
  await give("talks.json", json);
  await page.getByText("one conversation was imported").waitFor();
  assert.deepEqual(await messages(page), said);
  assert.equal(await page.locator("#history .talk").count(), 2);
  const changed = (change) => {
    const document = JSON.parse(json);
    change(document, document.conversations[0]);
    return JSON.stringify(document);
  };
  for (const [name, contents, expected] of [
    ["new.json", changed((all) => { all.version = 9; }), "version: found 9, this page reads version 1"],
    ["list.json", "[]", "found [], expected an object"],
    ["html.json", "<html>", "is not JSON"],
    ["role.json", changed((_, talk) => { talk.turns[0].role = "root"; }), 'role: found "root"'],
    ["loop.json", changed((_, talk) => { talk.turns[0].parent = talk.turns[1].id; }), "expected an earlier message"],
    ["leaf.json", changed((_, talk) => { talk.leaf = "x"; }), 'leaf: found "x"'],
  ]) {
    await give(name, contents);
    await page.waitForFunction(([name, expected]) => document.querySelector("#notice").textContent.includes(name) && document.querySelector("#notice").textContent.includes(expected), [name, expected]);
  }
  assert.equal(await page.locator("#history .talk").count(), 2);
  assert.deepEqual(problems, []);
  await close();
});

const HOSTILE = [
  "<script>window.pwned = 1</script>", "<img src=x onerror='window.pwned = 1'>", "[link](javascript:window.pwned=1)", "[data](data:text/html,<script>1</script>)",
  "![pixel](https://evil.test/pixel.png)", "<iframe src='https://evil.test/'></iframe>", "[good](https://example.org/a?b=c&d)", "<a href='javascript:1'>x</a>",
  "&lt;b&gt; and `<b>` and **<i>bold</i>**", "| a | b |\n|---|---:|\n| <svg onload=window.pwned=1> | `x` |", "1. one\n2. two\n   - inner", "- [x] done\n- [ ] open",
  "[ref]: javascript:alert(1)\n\n[ref]", "[x](vbscript:1) [y](//evil.test/) [z](&#106;avascript:window.pwned=1)", "```js\"><img src=x onerror=window.pwned=1>\nlet a = '<b>';\n```",
].join("\n\n");

test("markdown is shown, and nothing in it runs, loads or leads elsewhere than to sites", async () => {
  const { page, problems, close } = await ready();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await saying(page, HOSTILE, "Let me think.\n<b>Carefully.</b>");
  await ask(page, "Say it.");
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.deepEqual(asked.filter((url) => /evil/.test(url)), []);
  const answer = page.locator("#messages .assistant .text");
  const count = (place) => answer.locator(place).count();
  assert.deepEqual(await Promise.all(["script", "img", "iframe", "svg:not(.icon)", "[onerror], [onload]"].map(count)), [0, 0, 0, 0, 0]);
  assert.deepEqual(await answer.locator("a").evaluateAll((all) => all.map((link) => [link.href, link.rel])), [
    ["https://evil.test/pixel.png", "noopener noreferrer nofollow"], ["https://example.org/a?b=c&d", "noopener noreferrer nofollow"],
  ]);
  assert.deepEqual([await count("table td"), await count("ol ul li"), await count("figure.code pre")], [2, 1, 1]);
  assert.match(await answer.textContent(), /<b> and <b> and <i>bold<\/i>/);
  assert.equal(await answer.locator("figure.code pre").textContent(), "let a = '<b>';");
  assert.equal(await page.isVisible("#messages .thought > div"), false, "thoughts are folded");
  await page.click("#messages .thought summary");
  assert.equal(await page.textContent("#messages .thought > div"), "Let me think.\n<b>Carefully.</b>");
  // A reload shows the same from the archive.
  const before = await answer.innerHTML();
  await page.reload();
  await page.waitForSelector("#messages .assistant .text p");
  assert.equal(await answer.innerHTML(), before, "an answer looks the same whether it was written or read");
  assert.deepEqual(problems, []);
  await close();
});

test("at 360 pixels nothing is cut off, and the composer stays while an answer streams", async () => {
  const { page, problems, close } = await ready({ viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
  await saying(page, `${"A line of the answer that is longer than the page is wide.\n\n".repeat(30)}\`\`\`\n${"x".repeat(300)}\n\`\`\``);
  await page.fill("#question", "Say it.");
  await page.press("#question", "Enter");
  const inside = () => page.evaluate(() => {
    const { top, bottom, left, right } = document.querySelector("#question").getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight && left >= 0 && right <= innerWidth && document.documentElement.scrollWidth <= innerWidth;
  });
  for (let look = 0; look < 5; look++) {
    assert.equal(await inside(), true);
    await page.waitForTimeout(100);
  }
  await answered(page);
  const end = await page.$eval("#scroller", (place) => place.scrollHeight - place.scrollTop - place.clientHeight);
  assert.ok(end < 4, `the answer's end is in sight: ${end} pixels below`);
  for (const view of ["models", "measure", "device", "chat"]) {
    await show(page, view);
    const wide = await page.evaluate(() => [...document.querySelectorAll(".view:not([hidden]), .view:not([hidden]) *")].filter((found) => {
      const { right, width } = found.getBoundingClientRect();
      return width > 0 && right > innerWidth + 1 && !found.closest(".table, pre, .visually-hidden, #history");
    }).map((found) => found.outerHTML.slice(0, 80)));
    assert.deepEqual(wide, [], view);
  }
  assert.deepEqual(problems, []);
  await close();
});

test("Escape stops an answer, and scrolling up is respected while it streams", async () => {
  const { page, problems, close } = await ready({ max_tokens: null });
  await saying(page, "A line of the answer.\n\n".repeat(200));
  await page.fill("#question", "Say it.");
  await page.press("#question", "Enter");
  await page.waitForFunction(() => document.querySelector("#scroller").scrollTop > 200);
  await page.$eval("#scroller", (place) => { place.scrollTop = 20; });
  await page.waitForSelector("#to-end:not([hidden])");
  await page.waitForTimeout(300);
  assert.ok((await page.$eval("#scroller", (place) => place.scrollTop)) < 60);
  await page.click("#to-end");
  assert.equal(await page.isHidden("#to-end"), true);
  await answered(page);
  await page.reload();
  await loaded(page);
  await page.waitForFunction(() => document.querySelector("#model-name").textContent === "pocket", undefined, { timeout: PATIENCE });
  await page.click("#new-talk");
  await endless(page);
  await page.fill("#question", "Tell me a story.");
  await page.press("#question", "Enter");
  await page.waitForFunction(() => /^\d+ tokens/.test(document.querySelector("#speed").textContent), undefined, { timeout: PATIENCE });
  await page.keyboard.press("Escape");
  await answered(page);
  assert.match((await page.textContent("#messages > .assistant:last-child")), /Stopped\./);
  assert.deepEqual(problems, []);
  await close();
});

test("files are dropped on the page: a model, conversations, and what is neither", async () => {
  const { page, problems, close } = await open(chromium, server.url);
  const drop = async (files) => {
    const data = await page.evaluateHandle(async (files) => {
      const data = new DataTransfer();
      for (const { name, url, text } of files) data.items.add(new File([text ?? (await (await fetch(url)).blob())], name));
      return data;
    }, files);
    await page.dispatchEvent("body", "dragenter", { dataTransfer: data });
    assert.equal(await page.isVisible("#drop"), true);
    await page.dispatchEvent("body", "drop", { dataTransfer: data });
    assert.equal(await page.isVisible("#drop"), false);
  };
  await drop([{ name: "notes.txt", text: "not a model" }]);
  await page.waitForSelector("#load-error:not([hidden])");
  await loaded(page);
  assert.match(await text(page, "#load-error"), /notes\.txt/);
  await drop(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].map((name) => ({ name, url: `models/pocket/${name}` })));
  await page.waitForFunction(() => document.querySelector("#model-name").textContent !== "Choose a model", undefined, { timeout: PATIENCE });
  assert.equal(await text(page, "#load-error"), undefined);
  assert.equal((await ask(page, "Hello.")).length, 2);
  await drop([{ name: "talks.json", text: "{}" }]);
  await page.getByText("talks.json: format: found nothing").waitFor();
  assert.deepEqual(problems, []);
  await close();
});

test("axe-core finds nothing serious, in light and dark, wide and narrow", async () => {
  const { page, close } = await ready();
  await saying(page, `# Title\n\nText with \`code\` and [a link](https://example.org).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n\`\`\`rust\nfn main() {}\n\`\`\``, "Thinking.");
  await ask(page, "Say it.");
  for (const [scheme, width] of [["light", 1280], ["dark", 360]]) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width, height: 800 });
    for (const view of ["chat", "models", "measure", "device", "settings"]) {
      if (view === "settings") {
        await show(page, "chat");
        await page.click("#settings-open");
      } else await show(page, view);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
      assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 120))]), [], `${view}, ${scheme}, ${width}`);
    }
    await page.keyboard.press("Escape");
  }
  await close();
});

test("on a server that runs models, the page uses them, asks for the key, and loads no module", async () => {
  const models = await serveModels("secret-key-of-the-test", POCKET, "--web", DIST);
  const { page, problems, close } = await open(chromium, models.url);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await show(page, "models");
  await page.fill("#server-key", "wrong");
  await page.getByRole("button", { name: "Connect" }).click();
  await page.waitForFunction(() => /key/.test(document.querySelector("#remote-models").parentElement.textContent) && document.querySelector("#server-key").value === "");
  await page.fill("#server-key", "secret-key-of-the-test");
  await page.getByRole("button", { name: "Connect" }).click();
  await page.waitForFunction(() => document.querySelector("#model-name").textContent === "pocket", undefined, { timeout: PATIENCE });
  await settings(page, { max_tokens: 12 });
  const said = await ask(page, "Tell me a story.");
  assert.ok(said[1][1].length > 10, said[1][1]);
  assert.match(await text(page, "#device"), /^on 127\.0\.0\.1/);
  assert.deepEqual(asked.filter((url) => /\.wasm|models\.json/.test(url)), []);
  await page.reload();
  await page.waitForFunction(() => document.querySelector("#model-name").textContent === "pocket", undefined, { timeout: PATIENCE });
  assert.deepEqual(await messages(page), said);
  assert.deepEqual(problems.filter((problem) => !/401/.test(problem)), []);
  await close();
  await models.stop();
});
