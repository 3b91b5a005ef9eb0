// Help from a server: the module that decides and replaces, and the page's switch.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { initSync, WebGateway } from "../pkg/honelm_gateway.js";
import { apiServer } from "./api-server.mjs";
import { PATIENCE, POCKET, ask, browser, load, messages, open, serve, settings, show, text } from "./harness.mjs";

const pkg = (name) => readFileSync(new URL(`../pkg/${name}`, import.meta.url));
const limit = { timeout: PATIENCE };
const PRIVATE = "Please write to Margaret Thornton at margaret.thornton@mailbox.org about her card 4111 1111 1111 1111.";
const VALUES = ["Margaret Thornton", "margaret.thornton@mailbox.org", "4111 1111 1111 1111"];

test("the module decides as the gateway does, and replaces and restores", () => {
  initSync({ module: pkg("honelm_gateway_bg.wasm") });
  const gateway = new WebGateway(pkg("tagger.bin"), pkg("router.estimator"), new Uint8Array(32).fill(7));
  const usual = {
    policy: "auto", privacy: "masked", keep_local: "75%", local_context: 1024, server_context: null, prompt_tokens: 20, answer_tokens: 128,
    needs_tools: false, is_masked: true, now: 0, messages: [{ role: "user", content: "Hello." }],
  };
  const decide = (change) => JSON.parse(gateway.decide(JSON.stringify({ ...usual, ...change })));
  for (const [change, route, reason] of [
    [{ policy: "cloud-first" }, "cloud", "cloud-first"], [{ policy: "local-first" }, "local", "local-first"], [{ policy: "local-only" }, "local", "local-only"],
    [{ policy: "local-first", prompt_tokens: 2000 }, "cloud", "too-long"], [{ policy: "local-only", prompt_tokens: 2000 }, "refused", "too-long"],
    [{ policy: "cloud-first", privacy: "private" }, "local", "private"], [{ policy: "cloud-first", is_masked: false }, "local", "not-masked"],
    [{ policy: "cloud-first", server_context: 100 }, "local", "no-upstream"],
  ]) {
    const found = decide(change);
    assert.deepEqual([found.route, found.reason], [route, reason], JSON.stringify(change));
  }
  const easy = decide({});
  assert.equal(easy.reason, "gain");
  assert.equal(easy.route, easy.gain >= easy.threshold ? "cloud" : "local");
  assert.equal(decide({ keep_local: "0%" }).route, "cloud", "a threshold below every gain");
  assert.throws(() => decide({ policy: "sometimes" }), /ask: unknown variant `sometimes`/);
  for (let i = 0; i < 3; i++) gateway.heard("failed", 1000 + i);
  assert.deepEqual([decide({ policy: "cloud-first", now: 1100 }).reason, decide({ policy: "cloud-first", now: 60_000 }).route], ["no-upstream", "cloud"]);

  const body = { model: "m", messages: [{ role: "user", content: PRIVATE }] };
  const redacted = gateway.redact(JSON.stringify(body), "surrogate");
  const sent = redacted.body();
  for (const value of VALUES) assert.ok(!sent.includes(value), sent);
  const { counts, values } = JSON.parse(redacted.replaced());
  assert.deepEqual(values.map(({ value }) => value).sort(), [...VALUES].sort());
  assert.deepEqual(counts, { CREDIT_CARD: 1, EMAIL_ADDRESS: 1, PERSON: 1 });
  for (const size of [1, 7, 1000]) {
    const restoring = redacted.restoring(false);
    const answer = JSON.parse(sent).messages[0].content;
    let found = "";
    for (let at = 0; at < answer.length; at += size) found += restoring.push(answer.slice(at, at + size));
    assert.equal(found + restoring.finish(), PRIVATE);
  }
  const again = gateway.redact(JSON.stringify(body), "surrogate");
  assert.equal(again.body(), sent, "an unchanged history stays unchanged");
  assert.match(JSON.parse(gateway.redact(JSON.stringify(body), "mask").body()).messages[0].content, /<PERSON> at <EMAIL_ADDRESS>.*<CREDIT_CARD>/);
  assert.throws(() => gateway.redact(JSON.stringify(body), "block"), ({ code, message }) => code === "private-data" && !VALUES.some((value) => message.includes(value)));
  const image = { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png;base64,AA" } }] }] };
  assert.throws(() => gateway.redact(JSON.stringify(image), "surrogate"), ({ code }) => code === "unsearchable-request");
});

test("another file than the estimator's is refused", () => {
  const make = (estimator, key) => () => new WebGateway(pkg("tagger.bin"), estimator, key);
  assert.throws(make(new Uint8Array(9), new Uint8Array(32)), ({ code }) => code === "invalid-estimator");
  assert.throws(make(pkg("router.estimator"), new Uint8Array(3)), /key: found 3 bytes, expected 32/);
});

let server;
let chromium;
let api;
before(async () => {
  server = await serve(POCKET);
  chromium = await browser({ webgpu: false });
  api = await apiServer();
});
after(async () => {
  api?.stop();
  await chromium?.close();
  await server?.stop();
});
afterEach(() => {
  Object.assign(api.behave, { key: null, cors: true, say: ({ content }) => content, cut: null, html: false, pace: 0, context: null });
  api.asked.length = 0;
});

/** Opens the page with the shipped model. */
async function ready(query = "") {
  const opened = await open(chromium, server.url + query);
  assert.equal((await load(opened.page)).error, undefined);
  await settings(opened.page, { max_tokens: 40, seed: 1 });
  return opened;
}

/** Fills in the panel and connects; returns the problem that is shown. */
async function connect(page, { url = api.url, key = "", policy = "cloud-first", privacy = "masked", keep = false } = {}) {
  await show(page, "models");
  await page.check("#hybrid", { force: true });
  await page.fill("#hybrid-url", url);
  await page.fill("#hybrid-key", key);
  await page.selectOption("#hybrid-policy", policy);
  await page.selectOption("#hybrid-privacy", privacy);
  await page.setChecked("#hybrid-keep", keep);
  await page.click("#hybrid-connect");
  await page.waitForFunction(() => !document.querySelector("#hybrid-connect").disabled, undefined, limit);
  return await text(page, "#hybrid-problem");
}

/** Returns the text of the last answer, and of the notes below it. */
async function last(page) {
  const [, answer] = (await messages(page)).at(-1);
  return { answer, notes: await page.locator("#messages > .assistant").last().locator(".notes").textContent() };
}

test("nothing of it is fetched or sent until it is turned on; then each answer shows what left", limit, async () => {
  const { page, problems, close } = await ready();
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  assert.match(await page.textContent("#empty"), /Nothing that you write leaves it/);
  await ask(page, "Hello.");
  assert.deepEqual(asked.filter((url) => /gateway|tagger|estimator/.test(url) || url.startsWith(api.url)), []);
  assert.equal(await connect(page), undefined);
  for (const name of ["honelm_gateway", "tagger", "router"]) assert.ok(asked.some((url) => url.includes(name)), name);
  await show(page, "chat");
  assert.equal(await page.textContent("#helper"), api.host);
  await page.click("#new-talk");
  await ask(page, PRIVATE);
  const sent = JSON.stringify(api.asked.at(-1));
  for (const value of VALUES) assert.ok(!sent.includes(value), sent);
  assert.ok(!("top_k" in api.asked.at(-1)) && !("min_p" in api.asked.at(-1)), sent);
  const { answer, notes } = await last(page);
  assert.equal(answer.trim(), PRIVATE, "the answer has the values again");
  assert.match(notes, new RegExp(`Written by ${api.host}: the policy is cloud-first`));
  assert.match(notes, /What left this tab: [\d.]+ .?B, 3 values replaced/);
  await page.click("#messages .sent summary");
  const shown = await page.locator("#messages .sent").innerText();
  for (const value of VALUES) assert.ok(shown.includes(value), shown);
  assert.ok(shown.includes(api.asked.at(-1).messages.at(-1).content), "the text is the one that was sent");
  await page.reload();
  await page.waitForSelector("#messages .sent");
  assert.match((await last(page)).notes, /3 values replaced/, "a reload keeps the route");
  assert.deepEqual(problems, []);
  await close();
});

test("an address that does not work says what is wrong, and the tab still answers", limit, async () => {
  const { page, close } = await ready();
  for (const [behave, options, expected] of [
    [{ key: "right" }, { key: "wrong" }, /the key is wrong/],
    [{ cors: false }, {}, /does not answer, or it does not allow this page/],
    [{ html: true }, {}, /models: expected a list of models/],
    [{}, { url: "http://" }, /not a valid address/],
    [{}, { url: "https://user:pass@example.org/v1" }, /holds a password/],
    [{}, { url: "http://127.0.0.1:9/v1" }, /does not answer/],
  ]) {
    Object.assign(api.behave, { key: null, cors: true, html: false }, behave);
    assert.match((await connect(page, options)) ?? "(no problem)", expected);
    assert.equal(await page.isHidden("#helper"), true);
  }
  await show(page, "chat");
  assert.equal((await ask(page, "Hello.")).length, 2);
  assert.equal(api.asked.length, 0);
  await close();
});

test("where the server breaks off, fails or is away, the tab goes on from what was received", limit, async () => {
  const { page, close } = await ready();
  assert.equal(await connect(page), undefined);
  await show(page, "chat");
  Object.assign(api.behave, { say: "Once upon a time there was a little mouse who lived by the sea.", cut: 8 });
  await ask(page, PRIVATE);
  const broken = await last(page);
  const heard = "Once upon a time there was a little mous".slice(0, 40);
  assert.ok(broken.answer.startsWith(heard) && broken.answer.length > heard.length + 5, broken.answer);
  assert.match(broken.notes, new RegExp(`the server broke off: .*begun by ${api.host}, finished in this tab`));
  assert.match(broken.notes, /3 values replaced/);
  api.behave.cut = 0;
  await page.click("#new-talk");
  await ask(page, "Hello.");
  assert.match((await last(page)).notes, /Written in this tab: the server did not answer: /);
  Object.assign(api.behave, { cut: null, key: "changed" });
  await page.click("#new-talk");
  await ask(page, "Hello.");
  assert.match((await last(page)).notes, /Written in this tab: the server did not answer: the key is wrong/);
  await page.click("#new-talk");
  await ask(page, "Hello.");
  assert.match((await last(page)).notes, /no upstream can take the request: it failed recently/, "after three failures it is left alone");
  assert.equal(await text(page, "#chat-error"), undefined);
  await page.context().setOffline(true);
  assert.equal((await ask(page, "And then?")).length, 4, "without a connection, the tab answers");
  await close();
});

test("the estimator chooses, Stop ends an answer of the server, and the key is kept only if asked for", limit, async () => {
  const { page, close } = await ready("?context=256");
  Object.assign(api.behave, { key: "secret-of-the-test", say: "word ".repeat(400), pace: 5 });
  assert.equal(await connect(page, { key: "secret-of-the-test", policy: "local-first" }), undefined);
  await show(page, "chat");
  await ask(page, "Hello.");
  assert.match((await last(page)).notes, /Written in this tab: the policy is local-first/);
  await page.click("#new-talk");
  await page.fill("#question", "Tell me about the sea and the little boat on it. ".repeat(30));
  await page.press("#question", "Enter");
  await page.waitForFunction(() => document.querySelector("#messages .assistant .text")?.textContent.includes("word word"), undefined, limit);
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.querySelector("#stop").hidden, undefined, limit);
  const { answer, notes } = await last(page);
  assert.ok(answer.split("word").length < 300, "it was stopped");
  assert.match(notes, /Stopped\..*exceed the local context of 256/s);
  const stored = () => page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.ok(!(await stored()).includes("secret-of-the-test"));
  await page.reload();
  await show(page, "models");
  assert.match(await text(page, "#hybrid-problem"), /The key was not kept/);
  assert.equal(await connect(page, { key: "secret-of-the-test", policy: "auto", keep: true }), undefined);
  assert.ok((await stored()).includes("secret-of-the-test"));
  await page.reload();
  await page.waitForSelector("#helper:not([hidden])");
  await show(page, "models");
  await page.uncheck("#hybrid", { force: true });
  assert.equal(await page.isHidden("#helper"), true);
  assert.match(await page.textContent("#hybrid-status"), /^Off: nothing that you write leaves this tab/);
  await close();
});
