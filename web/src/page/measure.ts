/** The measure view: time and memory of each token. */
import { HoneLM, HoneLMError, type Measurement, type ModelFacts, type Sample } from "../honelm";
import type { Busy } from "./busy";
import { draw } from "./chart";
import { describe, element, say } from "./dom";
import { bytes, rate, seconds } from "./format";

/** The number of tokens in a measurement; `?tokens=20` in the page's address changes it. */
const TOKENS = tokensWanted(100);

const run = element("run", HTMLButtonElement);
const stop = element("stop-measure", HTMLButtonElement);
const save = element("export", HTMLButtonElement);
const failure = element("measure-error", HTMLElement);
const facts = element("measure-facts", HTMLDListElement);
const speedChart = element("speed-chart", HTMLElement);
const memoryChart = element("memory-chart", HTMLElement);

/** The view of measurements. */
export class MeasureView {
  readonly #honelm: HoneLM;
  readonly #busy: Busy;
  #ready = false;
  #device: ModelFacts["device"] = "cpu";
  #measured: Measurement | undefined;

  /** `adapter` returns the GPU's name. */
  constructor(honelm: HoneLM, busy: Busy, adapter: () => string | null) {
    this.#honelm = honelm;
    this.#busy = busy;
    run.textContent = `Measure ${TOKENS} tokens`;
    run.addEventListener("click", () => void this.#run(adapter()));
    stop.addEventListener("click", () => honelm.abort());
    save.addEventListener("click", () => this.#save());
    busy.onChange(() => this.#update());
  }

  /** Clears the view for a new model, or without one. */
  model(found: ModelFacts | undefined): void {
    this.#ready = found !== undefined;
    this.#device = found?.device ?? "cpu";
    this.#measured = undefined;
    facts.hidden = speedChart.hidden = memoryChart.hidden = true;
    say(failure, undefined);
    this.#update();
  }

  #update(): void {
    run.disabled = !this.#ready || this.#busy.value;
    save.disabled = this.#measured === undefined || this.#busy.value;
  }

  async #run(adapter: string | null): Promise<void> {
    say(failure, undefined);
    stop.hidden = false;
    this.#busy.set(true);
    const samples: Sample[] = [];
    const hear = (sample: Sample): void => {
      samples.push(sample);
      // Drawing at every token would distort the measurement.
      if (samples.length % 10 === 0) this.#draw(samples);
    };
    try {
      const measured = await this.#honelm.measure({ tokens: TOKENS, adapter }, hear);
      this.#measured = measured;
      this.#draw(measured.samples);
      this.#describe(measured);
    } catch (error) {
      say(failure, HoneLMError.from(error).message);
    } finally {
      stop.hidden = true;
      this.#busy.set(false);
    }
  }

  #draw(samples: Sample[]): void {
    const speeds = samples.map(({ token, milliseconds }) => (token === 1 || milliseconds <= 0 ? null : 1000 / milliseconds));
    draw(speedChart, [{ name: "speed", colour: "--series-1", values: speeds }], rate);
    const held = this.#device === "cpu" ? "model and cache (in the heap)" : "GPU buffers";
    const mega = (value: number | null): number | null => (value === null ? null : value / 1e6);
    const lines = [
      { name: held, colour: "--series-1", values: samples.map((s) => mega(deviceBytes(s))) },
      { name: "wasm heap", colour: "--series-2", values: samples.map((s) => mega(s.memory.wasm_heap)) },
      { name: "JavaScript heap", colour: "--series-3", values: samples.map((s) => mega(s.js_heap)) },
    ];
    draw(memoryChart, lines, (value) => bytes(value * 1e6));
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
    describe(facts, rows, true);
  }

  #save(): void {
    if (!this.#measured) return;
    const blob = new Blob([JSON.stringify(this.#measured, undefined, 2)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `honelm-${this.#measured.model.name || "model"}-${this.#measured.date.slice(0, 10)}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

function deviceBytes({ memory: { device } }: Sample): number {
  return device.weights + device.cache + device.scratch;
}

function tokensWanted(usual: number): number {
  const asked = Number(new URLSearchParams(location.search).get("tokens") ?? Number.NaN);
  return Number.isInteger(asked) && asked > 0 ? asked : usual;
}
