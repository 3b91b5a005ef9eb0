// What the tests share: the server, a browser, and a look at the page's console.
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = new URL("../../", import.meta.url);

/** The binary that is tested. */
export const HONELM = process.env.HONELM_BINARY ?? fileURLToPath(new URL("target/debug/honelm", root));

/** The shipped model. */
export const POCKET = fileURLToPath(new URL("models/pocket", root));

/** A chromium on this machine, or nothing. */
export function findChromium() {
  const named = process.env.CHROMIUM;
  if (named) return named;
  const paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  return paths.find((path) => existsSync(path));
}

/** Runs the binary and gives the document that it writes. */
export function honelm(...args) {
  return JSON.parse(execFileSync(HONELM, [...args, "--json"], { encoding: "utf8", maxBuffer: 1 << 26 }));
}

/** Runs the binary for what it writes to a file. */
export function make(...args) {
  execFileSync(HONELM, [...args, "--quiet"], { stdio: ["ignore", "ignore", "inherit"] });
}

/** Starts `honelm web`; gives its address and a function that ends it. */
export async function serve(...models) {
  // A test that fails does not stop it.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const child = spawn(HONELM, ["web", ...models, "--port", "0", "--no-open", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const first = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`honelm web ended with ${code}`)));
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

/** WebGPU on the software adapter that comes with the browser. */
const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];
/** No WebGPU, and WebAssembly as everywhere. */
const WITHOUT_WEBGPU = ["--disable-features=WebGPU,WebGPUService", "--disable-gpu"];

/** The longest that a page may take: a GPU in software, on a machine that does other things too, is slow. */
export const PATIENCE = 300_000;

/** A browser with WebGPU, or without. */
export function browser({ webgpu }) {
  return chromium.launch({
    executablePath: findChromium(),
    headless: true,
    args: [...(webgpu ? WEBGPU : WITHOUT_WEBGPU), "--enable-precise-memory-info"],
  });
}

/** A page at `url` whose errors are collected. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
  await page.goto(url);
  return { page, problems, close: () => context.close() };
}

/** The address of the model that the page offers, once it has heard of it. */
export async function offered(page) {
  await page.waitForFunction(() => document.querySelector("#model-url").value !== "");
  return await page.evaluate(() => new URL(document.querySelector("#model-url").value, document.baseURI).href);
}

/** Loads the model that the page offers, or the one at `address`; gives what the card says of it. */
export async function load(page, address) {
  if (address !== undefined) await page.fill("#model-url", address);
  else await offered(page);
  await page.click("#load");
  await page.waitForFunction(() => {
    const shown = (id) => !document.getElementById(id).hidden;
    return shown("facts") || shown("load-error");
  }, undefined, { timeout: PATIENCE });
  return { facts: await list(page, "#facts"), error: await text(page, "#load-error") };
}

/** What a place of the page says; nothing where it is hidden. */
export async function text(page, place) {
  return await page.$eval(place, (found) => (found.hidden ? undefined : found.textContent));
}

/** A list of names and values. */
export async function list(page, place) {
  return await page.$eval(place, (found) => {
    const values = [...found.querySelectorAll("dd")].map((value) => value.textContent);
    return Object.fromEntries([...found.querySelectorAll("dt")].map((name, i) => [name.textContent, values[i]]));
  });
}

/** Asks a question, and waits for the end of the answer. */
export async function ask(page, question) {
  await page.fill("#question", question);
  await page.press("#question", "Enter");
  await page.waitForFunction(() => !document.querySelector("#send").disabled, undefined, { timeout: PATIENCE });
  return await page.$$eval("#messages li", (items) => items.map((item) => [item.className, item.textContent]));
}
