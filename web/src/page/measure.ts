/** The measure view: time and memory of each token, and the comparison of two runs. */
import { HoneLMError, type Measurement, type Sample } from "../honelm";
import { draw } from "./chart";
import { CheckView } from "./check";
import { describe, download, element, h, say } from "./dom";
import { bytes, rate, seconds } from "./format";
import { compare, fromJson, nameOf } from "./records";
import type { Session } from "./session";

/** The number of tokens in a measurement; `?tokens=20` in the page's address changes it. */
const TOKENS = tokensWanted(100);

/** The view of measurements. */
export class MeasureView {
  readonly #session: Session;
  readonly #adapter: () => string | null;
  readonly #run = h("button", { type: "button", class: "primary", id: "run", disabled: true }, `Measure ${TOKENS} tokens`);
  readonly #stop = h("button", { type: "button", id: "stop-measure", hidden: true }, "Stop");
  readonly #save = h("button", { type: "button", id: "export", disabled: true }, "Export JSON");
  readonly #failure = h("p", { class: "notice bad", id: "measure-error", role: "alert", hidden: true });
  readonly #facts = h("dl", { id: "measure-facts", class: "tiles", hidden: true });
  readonly #speedChart = h("figure", { id: "speed-chart", hidden: true }, h("figcaption", {}, "Tokens per second, by token"));
  readonly #memoryChart = h("figure", { id: "memory-chart", hidden: true }, h("figcaption", {}, "Memory in MB"));
  readonly #compared = h("section", { class: "panel", id: "compared" });
  /** The run that is shown, and the one that it is compared with. */
  #measured: Measurement | null = null;
  #base: Measurement | null = null;

  /** `adapter` returns the GPU's name. */
  constructor(session: Session, adapter: () => string | null) {
    this.#session = session;
    this.#adapter = adapter;
    this.#run.addEventListener("click", () => void this.#measure());
    this.#stop.addEventListener("click", () => session.inUse.value?.model.abort());
    this.#save.addEventListener("click", () => {
      if (!this.#measured) return;
      const { model, date } = this.#measured;
      download(`honelm-${model.name || "model"}-${date.slice(0, 10)}.json`, JSON.stringify(this.#measured, undefined, 2), "application/json");
    });
    element("measure", HTMLElement).append(
      h("section", { class: "panel" }, h("h2", {}, "Speed and memory"),
        h("p", { class: "hint" }, "Generates tokens, always the most likely one, and measures the time and memory of each."),
        h("div", { class: "row" }, this.#run, this.#stop, this.#save), this.#failure, this.#facts, this.#speedChart, this.#memoryChart),
      this.#compared, new CheckView(session).place,
    );
    session.inUse.follow(() => this.#clear());
    session.busy.follow(() => this.#update());
    this.#drawCompared();
  }

  #clear(): void {
    // The run of the previous model stays for a comparison.
    this.#base = this.#measured ?? this.#base;
    this.#measured = null;
    this.#facts.hidden = this.#speedChart.hidden = this.#memoryChart.hidden = true;
    say(this.#failure, undefined);
    this.#update();
    this.#drawCompared();
  }

  #update(): void {
    this.#run.disabled = this.#session.inUse.value?.place !== "tab" || this.#session.busy.value;
    this.#save.disabled = this.#measured === null || this.#session.busy.value;
  }

  async #measure(): Promise<void> {
    const inUse = this.#session.inUse.value;
    if (inUse?.place !== "tab") return;
    say(this.#failure, undefined);
    this.#stop.hidden = false;
    const samples: Sample[] = [];
    const hear = (sample: Sample): void => {
      samples.push(sample);
      // Drawing at every token would distort the measurement.
      if (samples.length % 10 === 0) this.#draw(samples, inUse.facts.device);
    };
    try {
      const measured = await this.#session.work(() => inUse.model.measure({ tokens: TOKENS, adapter: this.#adapter() }, hear));
      this.#base = this.#measured ?? this.#base;
      this.#measured = measured;
      this.#draw(measured.samples, inUse.facts.device);
      this.#describe(measured);
      this.#drawCompared();
    } catch (error) {
      say(this.#failure, HoneLMError.from(error).message);
    } finally {
      if (document.activeElement === this.#stop) this.#run.focus();
      this.#stop.hidden = true;
      this.#update();
    }
  }

  #draw(samples: Sample[], device: "cpu" | "gpu"): void {
    const lines = [{ name: "speed", colour: "--series-1", values: speeds(samples) }];
    if (this.#base && this.#base.samples !== samples) lines.push({ name: "run before", colour: "--series-2", values: speeds(this.#base.samples).slice(0, samples.length) });
    draw(this.#speedChart, lines, rate);
    const held = device === "cpu" ? "model and cache (in the heap)" : "GPU buffers";
    const mega = (value: number | null): number | null => (value === null ? null : value / 1e6);
    draw(this.#memoryChart, [
      { name: held, colour: "--series-1", values: samples.map((s) => mega(deviceBytes(s))) },
      { name: "wasm heap", colour: "--series-2", values: samples.map((s) => mega(s.memory.wasm_heap)) },
      { name: "JavaScript heap", colour: "--series-3", values: samples.map((s) => mega(s.js_heap)) },
    ], (value) => bytes(value * 1e6));
  }

  #describe({ samples, before, ...measured }: Measurement): void {
    const last = samples.at(-1);
    const rows: [string, string][] = [["Tokens", String(samples.length)]];
    if (measured.decode_tokens_per_second !== null) rows.push(["Speed", rate(measured.decode_tokens_per_second)]);
    if (measured.first_token_seconds !== null) rows.push(["First token", seconds(measured.first_token_seconds)]);
    if (last) {
      rows.push(["Key-value cache", bytes(last.memory.device.cache)]);
      rows.push(["Weights", bytes(last.memory.device.weights)]);
      rows.push(["Heap growth", bytes(last.memory.wasm_heap - before.wasm_heap)]);
    }
    describe(this.#facts, rows, true);
  }

  /** Shows the run beside the one before, or beside a record from a file. */
  #drawCompared(): void {
    const file = h("input", { id: "record-file", class: "visually-hidden", type: "file", accept: ".json,application/json" });
    const problem = h("p", { class: "notice bad", role: "alert", hidden: true });
    file.addEventListener("change", async () => {
      const chosen = file.files?.[0];
      if (!chosen) return;
      try {
        this.#base = fromJson(chosen.name, await chosen.text());
        this.#drawCompared();
      } catch (thrown) {
        say(problem, thrown instanceof Error ? thrown.message : String(thrown));
      }
    });
    const [base, measured] = [this.#base, this.#measured];
    const hint = base
      ? (measured ? "" : `Measure again to compare with: ${nameOf(base)}.`)
      : "Measure twice (with another model, device or browser), or open an exported record.";
    this.#compared.replaceChildren(
      h("h2", {}, "Comparison"), hint !== "" ? h("p", { class: "hint" }, hint) : "",
      base && measured ? table(base, measured) : "",
      h("div", { class: "row" }, file, h("label", { class: "button", for: "record-file" }, "Open a record …")), problem,
    );
  }
}

function table(base: Measurement, measured: Measurement): HTMLElement {
  const number = (value: number | null | undefined): string => (value === null || value === undefined ? "–" : Number(value.toPrecision(3)).toLocaleString("en"));
  const head = ["", nameOf(base), nameOf(measured), "ratio"].map((text) => h("th", { scope: "col" }, text));
  const rows = compare([base, measured]).map(({ name, unit, values, ratio }) => h("tr", {},
    h("th", { scope: "row" }, `${name} (${unit})`), ...values.map((value) => h("td", {}, number(value))), h("td", {}, ratio === null ? "–" : ratio.toFixed(2))));
  return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Comparison of two runs" },
    h("table", { id: "comparison" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)));
}

function speeds(samples: Sample[]): (number | null)[] {
  return samples.map(({ token, milliseconds }) => (token === 1 || milliseconds <= 0 ? null : 1000 / milliseconds));
}

function deviceBytes({ memory: { device } }: Sample): number {
  return device.weights + device.cache + device.scratch;
}

function tokensWanted(usual: number): number {
  const asked = Number(new URLSearchParams(location.search).get("tokens") ?? Number.NaN);
  return Number.isInteger(asked) && asked > 0 ? asked : usual;
}
