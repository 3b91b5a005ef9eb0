/** The model's card: its source, the progress of loading, and its properties. */
import { type AdapterReport, HoneLM, HoneLMError, type LoadOptions, type LoadProgress, type ModelFacts, reportAdapter, type Source } from "../honelm";
import { describe, element, make, say } from "./dom";
import { bytes, count, seconds } from "./format";

/** The models that `honelm web` serves. */
interface Served {
  models: { name: string; url: string }[];
}

/** The GPU's name, if there is one. */
let adapter: string | null = null;
const device = element("device", HTMLElement);
const form = element("load-form", HTMLFormElement);
const address = element("model-url", HTMLInputElement);
const chooser = element("model-file", HTMLInputElement);
const button = element("load", HTMLButtonElement);
const stop = element("stop-load", HTMLButtonElement);
const progress = element("progress", HTMLElement);
const bar = element("progress-bar", HTMLProgressElement);
const text = element("progress-text", HTMLElement);
const failure = element("load-error", HTMLElement);
const facts = element("facts", HTMLDListElement);

/** Sets up the card. `onModel` receives every loaded model, and undefined when a model is unloaded. */
export function modelCard(honelm: HoneLM, onModel: (facts: ModelFacts | undefined) => void): void {
  const load = async (source: Source): Promise<void> => {
    onModel(undefined);
    say(failure, undefined);
    facts.hidden = true;
    progress.hidden = false;
    button.disabled = true;
    bar.removeAttribute("value");
    text.textContent = "starting …";
    try {
      const found = await honelm.load(source, loadOptions(), showProgress);
      showFacts(found);
      onModel(found);
    } catch (error) {
      const { code, message } = HoneLMError.from(error);
      if (code !== "interrupted") say(failure, message);
    } finally {
      progress.hidden = true;
      button.disabled = false;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const url = address.value.trim();
    if (url === "") say(failure, "Enter the address of a model, or open a file.");
    else void load({ url: new URL(url, document.baseURI).href });
  });
  stop.addEventListener("click", () => honelm.abort());
  chooser.addEventListener("change", () => {
    const files = [...(chooser.files ?? [])];
    chooser.value = "";
    if (files.length > 0) void load({ files });
  });
}

/** Returns the options in the page's own address: `?device=cpu&context=512`. */
function loadOptions(): LoadOptions {
  const asked = new URLSearchParams(location.search);
  const context = Number(asked.get("context") ?? Number.NaN);
  return {
    ...(asked.get("device") === "cpu" ? { device: "cpu" as const } : {}),
    ...(asked.get("device") === "gpu" ? { device: "gpu" as const } : {}),
    ...(asked.get("compute") === "f32" ? { compute: "f32" as const } : {}),
    ...(asked.get("cache_type") === "f32" ? { cache_type: "f32" as const } : {}),
    ...(Number.isInteger(context) && context > 0 ? { context } : {}),
  };
}

function showProgress({ stage, file, done, total }: LoadProgress): void {
  if (stage === "testing") {
    bar.value = total > 0 ? done / total : 0;
    text.textContent = "testing the GPU's kernels …";
    return;
  }
  // While weights are placed, the bytes of their files are shown instead of their number.
  if (stage === "placing" && done < total) return;
  bar.value = total > 0 ? done / total : 0;
  text.textContent = stage === "reading" ? `${file}: ${bytes(done)} of ${bytes(total)}` : "ready";
}

function showFacts(found: ModelFacts): void {
  const runsOn = found.device === "gpu" ? `WebGPU: ${adapter ?? found.description}` : found.description;
  const rows: [string, string][] = [
    ["Name", found.name || "model"],
    ["Architecture", found.architecture],
    ["Parameters", count(found.parameters)],
    ["Context", `${count(found.context)} tokens`],
    ["Runs on", runsOn],
    ["Loaded in", seconds(found.load_seconds)],
  ];
  if (found.fallback !== null) rows.splice(5, 0, ["Not on the GPU", found.fallback]);
  if (found.tested) rows.splice(5, 0, ["Kernels", found.tested.demoted.join("; ") || "tested on this device"]);
  describe(facts, rows);
  device.textContent = runsOn;
}

/** Lists the server's models; the first is the default. */
export async function listServedModels(): Promise<void> {
  try {
    const answer = await fetch("models.json");
    if (!answer.ok || !(answer.headers.get("content-type") ?? "").includes("json")) return;
    const { models } = (await answer.json()) as Served;
    const entries = models.map(({ name, url }) => Object.assign(make("option", name), { value: url }));
    element("models", HTMLDataListElement).replaceChildren(...entries);
    if (address.value === "") address.value = models[0]?.url ?? "";
  } catch {
    // Without a list of models, the user enters an address.
  }
}

/** Shows the browser's information about its GPU, and returns the adapter's name. */
export async function showAdapter(): Promise<string | null> {
  const report: AdapterReport = await reportAdapter();
  const list = element("adapter-facts", HTMLDListElement);
  if (!report.available) {
    device.textContent = `no WebGPU: ${report.reason}`;
    describe(list, [["WebGPU", report.reason]]);
    return null;
  }
  device.textContent = `WebGPU: ${report.name}`;
  describe(list, [
    ["WebGPU", report.name],
    ...report.features.map(({ name, available }): [string, string] => [name, available ? "yes" : "no"]),
    ...report.limits.map(({ name, value, inBytes }): [string, string] => [
      name, inBytes ? bytes(value) : value.toLocaleString("en"),
    ]),
  ]);
  adapter = report.name;
  return report.name;
}
