// Faulty servers and files: each error names the file, and the page remains usable.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ask, browser, load, loaded, make, open, serve, show, state, text } from "./harness.mjs";

const folder = mkdtempSync(join(tmpdir(), "honelm-sources-"));
const gguf = join(folder, "pocket.gguf");
let server;
let chromium;
let odd;
let file;
/** Told of every request that the server leaves without an answer; while there is nobody to tell, it answers. */
let onStall;

/** The requests for `/slow.gguf`, which are answered after a while: their bytes, and the most that waited at once. */
const slow = { bytes: 0, waiting: 0, most: 0 };

/** A server of another origin that answers each path in its own odd way. */
function oddServer() {
  const allow = { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*", "Access-Control-Expose-Headers": "Content-Range" };
  return createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "");
    if (request.method === "OPTIONS") {
      response.writeHead(204, pathname === "/closed.gguf" ? {} : allow).end();
      return;
    }
    const begin = range ? Number(range[1]) : 0;
    const end = Math.min(range ? Number(range[2]) + 1 : file.length, file.length);
    const part = file.subarray(begin, end);
    const partial = { "Content-Range": `bytes ${begin}-${end - 1}/${file.length}`, "Content-Length": part.length };
    switch (pathname) {
      case "/good.gguf":
        if (onStall) return onStall();
        response.writeHead(206, { ...allow, ...partial }).end(part);
        break;
      case "/slow.gguf":
        slow.bytes += part.length;
        slow.most = Math.max(slow.most, ++slow.waiting);
        setTimeout(() => {
          slow.waiting--;
          response.writeHead(206, { ...allow, ...partial }).end(part);
        }, 50);
        break;
      case "/page.gguf":
        response.writeHead(200, { ...allow, "Content-Type": "text/html; charset=utf-8" }).end("<!doctype html><title>Sign in</title>");
        break;
      case "/whole.gguf":
        response.writeHead(200, { ...allow, "Content-Length": file.length }).end(file);
        break;
      case "/closed.gguf":
        response.writeHead(206, partial).end(part);
        break;
      case "/cut.gguf":
        response.writeHead(206, { ...allow, ...partial });
        if (begin === 0) response.end(part);
        else response.write(part.subarray(0, part.length / 2), () => response.destroy());
        break;
      case "/forbidden.gguf":
        response.writeHead(403, allow).end();
        break;
      case "/changing.gguf":
        response.writeHead(206, { ...allow, ...partial, "Access-Control-Expose-Headers": "*", ETag: `"${begin}"` }).end(part);
        break;
      default:
        response.writeHead(404, allow).end();
    }
  });
}

before(async () => {
  make("quantize", "pocket", "--to", "f16", "--out", gguf);
  file = readFileSync(gguf);
  odd = oddServer();
  await new Promise((resolve) => odd.listen(0, "127.0.0.1", resolve));
  server = await serve();
  chromium = await browser({ webgpu: false });
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  odd?.closeAllConnections();
  odd?.close();
});

test("errors of addresses without a model say what to do", async () => {
  const { page, close } = await open(chromium, server.url);
  const origin = `http://127.0.0.1:${odd.address().port}`;
  for (const [path, expected] of [
    ["/page.gguf", /returned a web page instead of a model file/],
    ["/whole.gguf", /does not support byte ranges; download the file and open it from disk/],
    ["/closed.gguf", /does not allow other sites to read it \(CORS/],
    ["/cut.gguf", /cut\.gguf: .*load it again/],
    ["/forbidden.gguf", /the server answered 403/],
    ["/missing.gguf", /missing\.gguf: file not found/],
    ["/changing.gguf", /changed while it was read/],
    ["/empty-folder/", /config\.json: file not found/],
  ]) {
    const { error } = await load(page, origin + path);
    assert.match(error ?? "(no error)", expected, path);
  }
  const { error, facts } = await load(page, `${origin}/good.gguf`);
  assert.equal(error, undefined);
  assert.equal(facts.Architecture, "llama");
  assert.equal((await ask(page, "Hello.")).length, 2);
  await close();
});

test("a model is planned from its header, and read once, with several requests at a time", async () => {
  const { page, problems, close } = await open(chromium, server.url);
  const url = `http://127.0.0.1:${odd.address().port}/slow.gguf`;
  const options = { device: "cpu", context: 512 };
  const plan = await page.evaluate(([url, options]) => honelm.plan({ url }, options, { measure: true }), [url, options]);
  assert.ok(slow.bytes <= 2 ** 20, `${slow.bytes} bytes of a header`);
  assert.deepEqual([plan.architecture, plan.context, plan.device], ["llama", 512, "cpu"]);
  assert.ok(plan.file_bytes > 0.9 * file.length && plan.token_bytes <= plan.file_bytes, JSON.stringify(plan));
  assert.equal(plan.total_bytes, plan.weights_bytes + plan.cache_bytes + plan.scratch_bytes);
  assert.ok(plan.tokens_per_second > 0);
  const probe = await page.evaluate(() => honelm.probe("q4_0"));
  assert.equal(probe.encoding, "Q4_0");
  // 18 bytes hold 32 weights.
  assert.ok(Math.abs(probe.bytes_per_second / probe.weights_per_second - 18 / 32) < 1e-9);
  const unknown = await page.evaluate(() => honelm.probe("q9").catch(({ code, message }) => [code, message]));
  assert.deepEqual(unknown, ["invalid-argument", "encoding: found q9, expected an encoding such as Q4_0, Q8_0 or F16"]);
  Object.assign(slow, { bytes: 0, most: 0 });
  const memory = await page.evaluate(async ([url, options]) => {
    await honelm.load({ url }, options);
    return await honelm.memory();
  }, [url, options]);
  assert.equal(memory.device.weights, plan.weights_bytes);
  assert.equal(slow.bytes, file.length);
  assert.ok(slow.most >= 3, `${slow.most} requests at a time`);
  assert.deepEqual(problems, []);
  await close();
});

test("loading can be stopped, including that of the check", async () => {
  const { page, problems, close } = await open(chromium, server.url);
  const address = `http://127.0.0.1:${odd.address().port}/good.gguf`;
  /** Clicks `start`, then `stop` once the server was asked in vain; nothing is told as an error. */
  const stopped = async (start, stop, failure) => {
    const asked = new Promise((resolve) => { onStall = resolve; });
    await page.click(start);
    await asked;
    await page.click(stop);
    await page.waitForFunction((stop) => document.querySelector(stop).closest("[hidden]") !== null, stop);
    onStall = undefined;
    assert.equal(await text(page, failure), undefined);
  };
  await show(page, "models");
  await page.fill("#model-url", address);
  await page.uncheck("#keep");
  await stopped("#load", "#stop-load", "#load-error");
  assert.equal((await load(page, address)).error, undefined);
  await show(page, "measure");
  await stopped("#check", "#stop-check", "#check-error");
  await show(page, "chat");
  assert.equal((await ask(page, "Hello.")).length, 2, "the model is still loaded");
  assert.deepEqual(problems, []);
  await close();
});

test("errors of broken and foreign files name them", async () => {
  const { page, problems, close } = await open(chromium, `${server.url}#models`);
  const broken = (name, bytes) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return path;
  };
  // The architecture's name occurs twice: as a value, and in the keys.
  const foreign = Buffer.from(file.toString("latin1").replaceAll("llama", "lhama"), "latin1");
  for (const [path, expected] of [
    [broken("empty.gguf", Buffer.alloc(0)), /empty\.gguf/],
    [broken("page.gguf", Buffer.from("<!doctype html><html></html>")), /page\.gguf .*web page/i],
    [broken("cut.gguf", file.subarray(0, file.length / 2)), /cut\.gguf/],
    [broken("foreign.gguf", foreign), /lhama/],
    [broken("notes.txt", Buffer.from("not a model")), /notes\.txt/],
  ]) {
    await page.setInputFiles("#model-file", path);
    await loaded(page);
    assert.match((await text(page, "#load-error")) ?? "(no error)", expected, path);
  }
  await page.setInputFiles("#model-file", gguf);
  await loaded(page);
  assert.equal((await state(page)).error, undefined);
  assert.deepEqual(problems, []);
  await close();
});
