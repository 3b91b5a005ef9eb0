// Parts that the tests share: the server, a browser, and the page's console.
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

/** Starts `honelm web`; returns its address and a function that ends it. */
export async function serve(...models) {
  // A failed test may not have stopped it.
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

/** Opens a page at `url` and collects its errors. */
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

/** Returns the address of the model that the page offers, once it is listed. */
export async function offered(page) {
  await page.waitForFunction(() => document.querySelector("#model-url").value !== "");
  return await page.evaluate(() => new URL(document.querySelector("#model-url").value, document.baseURI).href);
}

/** Loads the model that the page offers, or the one at `address`; returns the facts on its card. */
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

/** Sends a message, and waits for the end of the answer. */
export async function ask(page, question) {
  await page.fill("#question", question);
  await page.press("#question", "Enter");
  await page.waitForFunction(() => !document.querySelector("#send").disabled, undefined, { timeout: PATIENCE });
  return await page.$$eval("#messages li", (items) => items.map((item) => [item.className, item.textContent]));
}
