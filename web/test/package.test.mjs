// The package as npm delivers it: its files and types, connections to servers, and a plain page that imports it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { HoneLMError, OpenAI, RemoteModel } from "../lib/honelm.js";
import { PATIENCE, POCKET, browser, open, serve } from "./harness.mjs";

const web = fileURLToPath(new URL("..", import.meta.url));

describe("the files for npm", () => {
  test("are the modules, the types, the readme and the licences", () => {
    const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: web, encoding: "utf8" }));
    const names = files.map(({ path }) => path);
    const types = names.filter((name) => name.startsWith("lib/types/"));
    assert.ok(types.includes("lib/types/index.d.ts") && types.includes("lib/types/openai.d.ts"), types.join());
    assert.ok(types.every((name) => name.endsWith(".d.ts")), types.join());
    const others = names.filter((name) => !types.includes(name)).sort();
    const libs = [
      "LICENSE-APACHE", "LICENSE-MIT", "gateway-worker.js", "honelm.js", "honelm_gateway_bg.wasm", "honelm_web_bg.wasm", "router.estimator",
      "store-worker.js", "tagger.bin", "worker.js",
    ].map((name) => `lib/${name}`);
    assert.deepEqual(others, ["README.md", ...libs, "package.json"].sort());
  });

  test("have the types of OpenAI's client", () => {
    const tsc = join(web, "node_modules/typescript/bin/tsc");
    execFileSync(process.execPath, [tsc, "-p", join(web, "test/types")], { stdio: ["ignore", "inherit", "inherit"] });
  });
});

describe("a server", () => {
  /** The responses of the server, by path, and the requests that it got. */
  const replies = new Map();
  const asked = [];
  let server;
  let base;
  before(async () => {
    server = createServer(async (request, response) => {
      let body = "";
      for await (const part of request) body += part;
      asked.push({ url: request.url, headers: request.headers, body: body === "" ? undefined : JSON.parse(body) });
      const reply = replies.get(request.url);
      if (!reply) response.writeHead(404).end();
      else await reply(response, request, asked.at(-1).body);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${server.address().port}/v1`;
  });
  after(() => server.close());

  /** Replies with a stream that is cut every `size` bytes. */
  const streams = (text, size = 1 << 20) => async (response) => {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += size) {
      response.write(bytes.subarray(at, at + size));
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  };
  const data = (chunk) => `data: ${JSON.stringify(chunk)}\n\n`;
  const delta = (delta, finish_reason = null) => data({ model: "m", choices: [{ index: 0, delta, finish_reason }] });
  const code = (wanted) => (error) => error instanceof HoneLMError && error.code === wanted;
  const QUESTION = [{ role: "user", content: "Hi" }];

  test("answers through streams that are cut anywhere", async () => {
    const honelm = {
      route: "cloud", reason: "gain", detail: "the cloud is better", degraded: false, continued: true, upstream: "u", cost: 0.5, saved: 0.25,
      currency: "USD", replaced: { PERSON: 2 }, model: { name: "large" },
    };
    const call = (found) => ({ tool_calls: [{ index: 0, ...found }] });
    const text =
      ": a comment\r\n\r\n" +
      delta({ role: "assistant", content: "" }) +
      delta({ reasoning_content: "hm" }).replaceAll("\n", "\r\n") +
      delta({ content: "Grüße, 世" }) +
      delta({ content: "界 🌊" }).replaceAll("\n", "\r") +
      'event: x\ndata: {"choices": [{"index": 0,\ndata: "delta": {"content": "!"}}]}\nid: 1\n\n' +
      delta(call({ id: "c1", type: "function", function: { name: "f", arguments: "" } })) +
      delta(call({ function: { arguments: '{"a"' } })) +
      delta(call({ function: { arguments: ":1}" } })) +
      delta({}, "tool_calls") +
      data({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 3 } }, honelm }) +
      "data: [DONE]\n\n";
    for (const size of [1, 5, 1 << 20]) {
      replies.set("/v1/chat/completions", streams(text, size));
      const events = [];
      const answer = await new RemoteModel({ baseURL: base }).chat(QUESTION, {}, (event) => events.push(event));
      assert.equal(answer.text, "Grüße, 世界 🌊!");
      assert.equal(events.map(({ text }) => text ?? "").join(""), answer.text);
      assert.equal(answer.reasoning_content, "hm");
      assert.deepEqual(answer.tool_calls, [{ id: "c1", type: "function", function: { name: "f", arguments: '{"a":1}' } }]);
      assert.deepEqual([answer.finish_reason, answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens], ["tool_calls", 7, 3, 5]);
      assert.deepEqual(answer.route, { ...honelm, model: "large" });
      assert.equal(answer.model, "m");
    }
  });

  test("gets the settings in OpenAI's form, and the key in the header alone", async () => {
    replies.set("/v1/chat/completions", streams(delta({ content: "x" }, "stop") + "data: [DONE]\n\n"));
    const remote = new RemoteModel({ baseURL: `${base}/`, apiKey: "secret", model: "a/b" });
    await remote.chat(QUESTION, { max_tokens: 3, logprobs: 2, json_schema: { type: "null" }, overflow: "shift", policy: "auto", privacy: "masked" });
    const { headers, body } = asked.at(-1);
    assert.equal(headers.authorization, "Bearer secret");
    assert.deepEqual([headers["x-honelm-policy"], headers["x-honelm-privacy"]], ["auto", "masked"]);
    assert.deepEqual(body, {
      model: "a/b", messages: QUESTION, stream: true, stream_options: { include_usage: true }, max_tokens: 3, logprobs: true, top_logprobs: 2,
      response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "null" } } },
    });
    assert.throws(() => new RemoteModel({ baseURL: "http://me:secret@localhost/" }), code("invalid-url"));
    assert.throws(() => new RemoteModel({ baseURL: "javascript:alert(1)" }), code("invalid-url"));
  });

  test("fails with codes that tell what to do", async () => {
    const remote = new RemoteModel({ baseURL: base });
    const json = (status, body) => (response) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const problem = (code, message) => ({ error: { message, type: "x", param: null, code } });
    const cases = [
      [json(401, problem("invalid_api_key", "needs a key")), "unauthorized", /needs a key/],
      [json(429, problem("queue_full", "later")), "queue_full", /later/],
      [json(500, { error: "broken" }), "http-500", /broken/],
      [(response) => response.writeHead(502).end("<html>bad gateway</html>"), "http-502", /502 Bad Gateway/],
      [json(200, { hello: 1 }), "invalid-response", /no answer/],
      [streams("data: {\n\n"), "invalid-response", /not JSON/],
      [streams(delta({ content: "a" }) + data(problem("model-stopped", "it broke"))), "model-stopped", /it broke/],
      [streams(delta({ content: "a" })), "unreachable", /broke off/],
      [(response) => response.writeHead(302, { location: "https://example.com/" }).end(), "unreachable", /does not answer/],
    ];
    for (const [reply, wanted, message] of cases) {
      replies.set("/v1/chat/completions", reply);
      await assert.rejects(remote.chat(QUESTION), (error) => code(wanted)(error) && message.test(error.message), wanted);
    }
    await assert.rejects(new RemoteModel({ baseURL: "http://127.0.0.1:1/v1" }).models(), code("unreachable"));
  });

  test("that does not stream, or forgets the end, answers too", async () => {
    const remote = new RemoteModel({ baseURL: base });
    const whole = { model: "m", choices: [{ message: { content: "whole" }, finish_reason: "length" }] };
    replies.set("/v1/chat/completions", (response) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(whole)));
    const answer = await remote.chat(QUESTION);
    assert.deepEqual([answer.text, answer.finish_reason, answer.completion_tokens], ["whole", "length", null]);
    replies.set("/v1/chat/completions", streams(delta({ content: "open" }, "stop").trimEnd()));
    assert.equal((await remote.chat(QUESTION)).text, "open");
  });

  test("stops at once, and keeps what there is", async () => {
    let closed;
    const gone = new Promise((resolve) => {
      closed = resolve;
    });
    replies.set("/v1/chat/completions", (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(delta({ content: "begun" }));
      response.on("close", closed);
    });
    const remote = new RemoteModel({ baseURL: base });
    const answer = await remote.chat(QUESTION, {}, ({ text }) => text && remote.abort());
    assert.deepEqual([answer.text, answer.finish_reason], ["begun", "cancelled"]);
    await gone;
  });

  test("whose context is full gets fewer exchanges, if that is wanted", async () => {
    const turn = (role, content) => ({ role, content });
    const messages = [turn("system", "s"), turn("user", "1"), turn("assistant", "a"), turn("user", "2"), turn("assistant", "b"), turn("user", "3")];
    replies.set("/v1/chat/completions", async (response, request, body) => {
      if (body.messages.length > 2) {
        response.writeHead(400, { "content-type": "application/json" });
        response.end(JSON.stringify({ error: { code: "context_length_exceeded", message: "too long" } }));
      } else {
        await streams(delta({ content: "ok" }, "stop") + "data: [DONE]\n\n")(response);
      }
    });
    const remote = new RemoteModel({ baseURL: base });
    await assert.rejects(remote.chat(messages), code("context_length_exceeded"));
    assert.equal((await remote.chat(messages, { overflow: "shift" })).text, "ok");
    assert.deepEqual(asked.at(-1).body.messages, [messages[0], messages[5]]);
  });

  test("lists its models, and serves the client of OpenAI's shape", async () => {
    const list = { data: [{ id: "a" }, { id: "b", loaded: true, size_bytes: 9, context_length: 64, architecture: "llama", capabilities: ["tools"] }, {}] };
    replies.set("/v1/models", (response) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(list)));
    const remote = new RemoteModel({ baseURL: base });
    assert.deepEqual(await remote.models(), [
      { id: "a", loaded: null, bytes: null, context: null, architecture: null, capabilities: [] },
      { id: "b", loaded: true, bytes: 9, context: 64, architecture: "llama", capabilities: ["tools"] },
    ]);
    assert.equal((await remote.facts()).name, "b", "the loaded one");
    replies.set("/v1/chat/completions", streams(delta({ content: "yes" }, "stop") + "data: [DONE]\n\n"));
    const client = new OpenAI(remote);
    const { choices, model } = await client.chat.completions.create({ model: "b", messages: QUESTION });
    assert.deepEqual([choices[0].message.content, model, asked.at(-1).body.model], ["yes", "m", "b"]);
  });
});

describe("a plain page", { timeout: 4 * PATIENCE }, () => {
  const folder = mkdtempSync(join(tmpdir(), "honelm-package-"));
  let server;
  let chromium;
  before(async () => {
    cpSync(join(web, "lib"), join(folder, "lib"), { recursive: true });
    cpSync(join(web, "public/icon.svg"), join(folder, "icon.svg"));
    writeFileSync(join(folder, "index.html"), '<!doctype html><link rel="icon" href="icon.svg"><script type="module" src="main.js"></script>');
    writeFileSync(join(folder, "main.js"), 'import * as honelm from "./lib/honelm.js"; globalThis.package = honelm;');
    server = await serve("--page", folder, POCKET);
  });
  after(async () => {
    await chromium?.close();
    await server?.stop();
  });

  /** The page with the shipped model on the CPU, which several tests use. */
  let onCpu;

  /** Returns a page with the shipped model. */
  const loaded = async (webgpu) => (webgpu ? await load(true) : (onCpu ??= await load(false)));

  /** Loads the shipped model in a new page. */
  async function load(webgpu) {
    await chromium?.close();
    chromium = await browser({ webgpu });
    const { page, problems } = await open(chromium, server.url);
    await page.waitForFunction(() => globalThis.package !== undefined);
    const { url } = server.models[0];
    const options = { device: webgpu ? "gpu" : "cpu", context: 512 };
    await page.evaluate(async ({ url, options }) => {
      globalThis.model = new globalThis.package.HoneLM();
      await model.load({ url }, options);
      globalThis.client = new globalThis.package.OpenAI(model);
    }, { url, options });
    return { page, problems };
  }

  test("chats as with the package openai", async () => {
    const { page, problems } = await loaded(false);
    const found = await page.evaluate(async () => {
      const messages = [{ role: "developer", content: "Be kind." }, { role: "user", content: [{ type: "text", text: "Tell me a story." }] }];
      const ask = { messages, max_tokens: 12, temperature: 1, seed: 7, logprobs: true, top_logprobs: 2 };
      const whole = await client.chat.completions.create(ask);
      const chunks = [];
      const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
      for await (const chunk of stream) chunks.push(chunk);
      const two = await client.chat.completions.create({ ...ask, n: 2 });
      return { whole, chunks, two };
    });
    const { whole, chunks, two } = found;
    const [{ message, finish_reason, logprobs }] = whole.choices;
    assert.equal(finish_reason, "length");
    assert.equal(whole.usage.completion_tokens, 12);
    assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + 12);
    assert.deepEqual([logprobs.content.length, logprobs.content[0].top_logprobs.length], [12, 2]);
    const bytes = logprobs.content.flatMap((token) => token.bytes);
    assert.equal(Buffer.from(bytes).toString().trim(), message.content.trim(), "the tokens are the text");
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
    assert.equal(text, message.content, "the same seed gives the same answer");
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.equal(chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []).length, 12);
    assert.deepEqual(chunks.at(-1).usage.completion_tokens, 12);
    assert.equal(chunks.at(-2).choices[0].finish_reason, "length");
    assert.equal(two.choices[0].message.content, message.content);
    assert.notEqual(two.choices[1].message.content, message.content);
    assert.deepEqual(problems, []);
  });

  test("calls tools and keeps to a schema, which the grammar forces", async () => {
    const { page, problems } = await loaded(false);
    const found = await page.evaluate(async () => {
      const parameters = { type: "object", properties: { city: { enum: ["Paris", "Oslo"] } }, required: ["city"], additionalProperties: false };
      const tools = [{ type: "function", function: { name: "weather", description: "The weather", parameters } }];
      const messages = [{ role: "user", content: "How is the weather in Oslo?" }];
      const ask = { messages, tools, tool_choice: "required", parallel_tool_calls: false, seed: 1, max_tokens: 200 };
      const called = await client.chat.completions.create(ask);
      const parts = [];
      for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) parts.push(...(chunk.choices[0].delta.tool_calls ?? []));
      const call = called.choices[0].message.tool_calls[0];
      const next = [...messages, called.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
      const after = await client.chat.completions.create({ messages: next, tools, tool_choice: "none", max_tokens: 4, seed: 1 });
      const schema = { type: "object", properties: { n: { type: "integer", minimum: 1, maximum: 9 } }, required: ["n"], additionalProperties: false };
      const response_format = { type: "json_schema", json_schema: { name: "n", schema } };
      const formed = await client.chat.completions.create({ messages, response_format, seed: 1, max_tokens: 200 });
      const refused = await client.chat.completions.create({ messages, tools, tool_choice: { type: "function", function: { name: "x" } } }).catch((error) => error.message);
      return { called, parts, after, formed, refused };
    });
    const [{ message, finish_reason }] = found.called.choices;
    assert.deepEqual([finish_reason, message.content], ["tool_calls", null]);
    const { name, arguments: text } = message.tool_calls[0].function;
    assert.equal(name, "weather");
    assert.ok(["Paris", "Oslo"].includes(JSON.parse(text).city), text);
    assert.equal(found.parts.map((part) => part.function.arguments).join(""), text, "the stream has the same call");
    assert.equal(found.after.choices[0].message.tool_calls, undefined);
    const { n } = JSON.parse(found.formed.choices[0].message.content);
    assert.ok(Number.isInteger(n) && n >= 1 && n <= 9, String(n));
    assert.match(found.refused, /tool_choice.*expected the name of one of the tools/);
    assert.deepEqual(problems, []);
  });

  test("responds, embeds, waits its turn and can be ended", async () => {
    const { page, problems } = await loaded(false);
    const found = await page.evaluate(async () => {
      const events = [];
      for await (const event of await client.responses.create({ input: "Tell me a story.", max_output_tokens: 8, seed: 2, stream: true })) events.push(event);
      const first = events.at(-1).response;
      const second = await client.responses.create({ input: "And then?", previous_response_id: first.id, max_output_tokens: 8, seed: 2 });
      const texts = ["The cat sat.", "The cat sat.", "Stars are far."];
      const embedded = await client.embeddings.create({ input: texts });
      const messages = [{ role: "user", content: "Tell me a story." }];
      const both = await Promise.all([1, 2].map((seed) => client.chat.completions.create({ messages, seed, max_tokens: 4 })));
      const controller = new AbortController();
      const long = { messages, max_tokens: 400, seed: 3 };
      const ended = client.chat.completions.create(long, { signal: controller.signal }).catch((error) => error.code);
      setTimeout(() => controller.abort(), 30);
      const code = await ended;
      let read = 0;
      for await (const _ of await client.chat.completions.create({ ...long, stream: true })) if (++read === 3) break;
      const afterwards = await client.chat.completions.create({ messages, max_tokens: 2 });
      return { types: events.map(({ type }) => type), numbers: events.map((event) => event.sequence_number), first, second, embedded, both, code, afterwards };
    });
    assert.deepEqual(found.types.slice(0, 5), ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added", "response.output_text.delta"]);
    assert.equal(found.types.at(-1), "response.incomplete", "the limit of tokens ended it");
    assert.deepEqual(found.numbers, found.numbers.map((_, i) => i));
    assert.equal(found.first.output[0].content[0].text, found.first.output_text);
    assert.ok(found.second.usage.input_tokens > found.first.usage.input_tokens + 8, "the second response follows the first");
    assert.ok(found.second.usage.input_tokens_details.cached_tokens > 0);
    const [a, b, c] = found.embedded.data.map(({ embedding }) => embedding);
    const product = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
    assert.ok(Math.abs(product(a, a) - 1) < 1e-5 && Math.abs(product(a, b) - 1) < 1e-5, "vectors of length 1");
    assert.ok(product(a, c) < 0.9999, "other texts, other vectors");
    assert.ok(found.embedded.usage.prompt_tokens > 3);
    assert.ok(found.both.every(({ usage }) => usage.completion_tokens === 4));
    assert.equal(found.code, "interrupted");
    assert.equal(found.afterwards.usage.completion_tokens, 2);
    assert.deepEqual(problems, []);
  });

  test("goes on with the sentence after its device was destroyed", async () => {
    const { page, problems } = await loaded(true);
    const answer = (max_tokens) =>
      page.evaluate(async (max_tokens) => {
        const states = [];
        const stop = model.onState(({ state }) => states.at(-1) !== state && states.push(state));
        const told = [];
        globalThis.told = 0;
        const done = await model.complete("Once upon a time", { max_tokens, temperature: 0.9, seed: 5, ignore_eos: true }, ({ token }) => {
          if (token === undefined) return;
          told.push(token);
          globalThis.told = told.length;
        });
        stop();
        return { ids: done.token_ids, text: done.text, told, states };
      }, max_tokens);
    const undisturbed = await answer(6);
    assert.deepEqual(undisturbed.states, []);
    const disturbed = answer(6);
    await page.waitForFunction(() => globalThis.told >= 2, undefined, { timeout: PATIENCE });
    const destroyed = await Promise.all(
      page.workers().map((worker) => worker.evaluate(() => {
        self.honelmDevice?.destroy();
        return self.honelmDevice !== undefined;
      })),
    );
    assert.ok(destroyed.includes(true), "the worker has a device");
    const recovered = await disturbed;
    assert.deepEqual(recovered.states, ["recovering", "ready"]);
    assert.deepEqual(recovered.ids, undisturbed.ids, "the same tokens as without the loss");
    assert.deepEqual(recovered.told, recovered.ids, "each token was told once");
    assert.equal(recovered.text, undisturbed.text);
    const after = await answer(2);
    assert.deepEqual([after.states, after.ids], [[], undisturbed.ids.slice(0, 2)]);
    assert.deepEqual(problems.filter((problem) => !/device was (lost|destroyed)/i.test(problem)), []);
  });
});
