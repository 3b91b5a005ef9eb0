// Parts that the tests share: the server, a browser, and the page's console.
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = new URL("../../", import.meta.url);

/** The binary that is tested. */
export const HONELM = process.env.HONELM_BINARY ?? fileURLToPath(new URL("target/debug/honelm", root));

/** The shipped model. */
export const POCKET = fileURLToPath(new URL("models/pocket", root));

/** The path of a Chromium on this machine, if there is one. */
export function findChromium() {
  const named = process.env.CHROMIUM;
  if (named) return named;
  const paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  return paths.find((path) => existsSync(path));
}

/** Runs the binary and returns its JSON document. */
export function honelm(...args) {
  return JSON.parse(execFileSync(HONELM, [...args, "--json"], { encoding: "utf8", maxBuffer: 1 << 26 }));
}

/** Runs the binary, which writes to a file. */
export function make(...args) {
  execFileSync(HONELM, [...args, "--quiet"], { stdio: ["ignore", "ignore", "inherit"] });
}

/** Writes the first block of the shipped model between its embedding and its output: every kernel runs, on a third of the weights. */
export function firstBlock(folder) {
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

/** Starts `honelm web`; returns its address and a function that ends it. */
export function serve(...models) {
  return started(["web", ...models, "--no-open"]);
}

/** Starts `honelm serve`, which runs the models itself and serves the same page; clients need `key`. */
export function serveModels(key, ...options) {
  return started(["serve", ...options], { HONELM_API_KEY: key });
}

async function started([command, ...options], environment = {}) {
  // A failed test may not have stopped it.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const child = spawn(HONELM, [command, ...options, "--port", "0", "--json"], {
    stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...environment },
  });
  const lines = createInterface({ input: child.stdout });
  const first = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`honelm ${command} ended with ${code}`)));
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGINT");
    const code = await ended;
    process.off("exit", kill);
    return code;
  };
  return { ...JSON.parse(first), stop };
}

/** The flags for WebGPU on the browser's own software adapter. */
const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];
/** The flags for no WebGPU. */
const WITHOUT_WEBGPU = ["--disable-features=WebGPU,WebGPUService", "--disable-gpu"];

/** The longest time of a page: a GPU in software on a busy machine is slow. */
export const PATIENCE = 300_000;

/** Starts a browser with WebGPU, or without. */
export function browser({ webgpu }) {
  return chromium.launch({
    executablePath: findChromium(),
    headless: true,
    args: [...(webgpu ? WEBGPU : WITHOUT_WEBGPU), "--enable-precise-memory-info"],
  });
}

/** Keeps the service worker away, since it hides requests from the tests. */
export async function withoutService(context) {
  await context.addInitScript(() => Object.defineProperty(Navigator.prototype, "serviceWorker", { get: () => undefined }));
  return context;
}

/** Opens a page at `url`, without the service worker, and collects its errors. */
export async function open(browser, url, options = {}) {
  const context = await withoutService(await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options }));
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
  await page.goto(url);
  return { page, problems, close: () => context.close() };
}

/** Returns the address of the first model that the page's server offers. */
export async function offered(page) {
  return await page.evaluate(async () => {
    const { models } = await (await fetch("models.json")).json();
    return new URL(models[0].url, document.baseURI).href;
  });
}

/** Shows a view: `chat`, `models`, `measure` or `device`. On a narrow page its button is in the menu. */
export async function show(page, view) {
  if (await page.isVisible("#menu")) await page.click("#menu");
  await page.click(`#tab-${view}`);
}

/**
 * Loads the model that the page's server offers, or the one at `address`, without storing it, and returns to the conversation. Returns
 * the facts of the model in use, and the error that is shown.
 */
export async function load(page, address) {
  await show(page, "models");
  const url = address ?? (await offered(page));
  await page.fill("#model-url", url);
  await page.uncheck("#keep");
  await page.click("#load");
  await loaded(page);
  await show(page, "chat");
  return await state(page);
}

/** Waits until nothing is being loaded. */
export async function loaded(page) {
  await page.waitForFunction(() => !document.body.hasAttribute("data-loading"), undefined, { timeout: PATIENCE });
}

/** Returns the facts of the model in use, and the error that is shown. */
export async function state(page) {
  return { facts: await list(page, "#facts"), error: await text(page, "#load-error") };
}

/** Returns the text of an element; empty if it is hidden. */
export async function text(page, place) {
  return await page.$eval(place, (found) => (found.hidden ? undefined : found.textContent));
}

/** Returns a list of names and values as an object. */
export async function list(page, place) {
  return await page.$eval(place, (found) => {
    const values = [...found.querySelectorAll("dd")].map((value) => value.textContent);
    return Object.fromEntries([...found.querySelectorAll("dt")].map((name, i) => [name.textContent, values[i]]));
  });
}

/** Sends a message, and waits for the end of the answer. Returns the role and the text of each message. */
export async function ask(page, question) {
  await page.fill("#question", question);
  await page.press("#question", "Enter");
  await answered(page);
  return await messages(page);
}

/** Waits until the model is idle. */
export async function answered(page) {
  await page.waitForFunction(() => document.querySelector("#stop").hidden, undefined, { timeout: PATIENCE });
}

/** Returns the role and the text of each message. */
export async function messages(page) {
  return await page.$$eval("#messages > li:not(.divider)", (items) => items.map((item) => [item.classList[0], item.querySelector(".text").textContent]));
}

/** Fills in settings of answers. */
export async function settings(page, values) {
  if (await page.isHidden("#settings")) await page.click("#settings-open");
  for (const [name, value] of Object.entries(values)) await page.fill(`#${name}`, String(value));
  // The field that was filled last keeps its value once it is left.
  await page.locator(`#${Object.keys(values).at(-1)}`).blur();
  await page.keyboard.press("Escape");
  await page.locator("#settings").evaluate((panel) => panel.hidden || document.querySelector("#settings-open").click());
}

/** Lets answers of 400 tokens go on after the model's end. */
export async function endless(page) {
  await settings(page, { max_tokens: 400, temperature: 0 });
  await page.evaluate(() => {
    const chat = honelm.chat.bind(honelm);
    honelm.chat = (messages, settings, hear) => chat(messages, { ...settings, ignore_eos: true }, hear);
  });
}

/** Lets the page's workers run `code` before their own. */
export async function inWorkers(page, code) {
  await page.route(/\/assets\/worker-[^/]*\.js/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${code};\n${await response.text()}` });
  });
}
