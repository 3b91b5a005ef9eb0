/** The view of the device: GPU, limits, the memory of the model over the conversation, the test of its kernels. */
import type { AdapterReport, Memory } from "../honelm";
import { draw } from "./chart";
import { describe, element, h } from "./dom";
import type { Device } from "./estimate";
import { bytes } from "./format";
import type { Session } from "./session";

/** The time between two readings of the memory while an answer is written, in milliseconds. */
const INTERVAL = 1000;
/** The largest number of readings; beyond it, every second one is dropped. */
const KEPT = 600;

/** The view. */
export class DeviceView {
  readonly #session: Session;
  readonly #adapter = h("dl", { id: "adapter-facts" });
  readonly #tested = h("dl", { id: "kernel-facts" });
  readonly #memory = h("dl", { id: "memory-facts", class: "tiles", hidden: true });
  readonly #chart = h("figure", { id: "device-chart", hidden: true }, h("figcaption", {}, "Memory in MB over the conversation"));
  readonly #none = h("p", { class: "hint" }, "Load a model to see the memory that it uses.");
  #readings: Memory[] = [];
  #timer = 0;

  constructor(session: Session) {
    this.#session = session;
    const panel = (title: string, ...parts: HTMLElement[]): HTMLElement => h("section", { class: "panel" }, h("h2", {}, title), ...parts);
    element("device-view", HTMLElement).append(
      h("div", { class: "columns" }, panel("This device", this.#adapter), panel("Test of the kernels", this.#tested)),
      panel("Memory", this.#none, this.#memory, this.#chart),
    );
    session.inUse.follow(() => {
      this.#readings = [];
      this.#drawTested();
      void this.read();
    });
  }

  /** Shows what the browser says of its GPU. */
  report(report: AdapterReport, { memory }: Device): void {
    const rows: [string, string][] = report.available
      ? [
        ["WebGPU", report.name],
        ...report.features.map(({ name, available }): [string, string] => [name, available ? "yes" : "no"]),
        ...report.limits.map(({ name, value, inBytes }): [string, string] => [name, inBytes ? bytes(value) : value.toLocaleString("en")]),
      ]
      : [["WebGPU", report.reason]];
    rows.push(
      ["memory (as the browser says)", memory === null ? "not told" : `${memory >= 8e9 ? "at least " : ""}${bytes(memory)}`],
      ["processor threads", String(navigator.hardwareConcurrency)],
    );
    describe(this.#adapter, rows);
  }

  /** Reads the memory while an answer is written, and once more at its end. */
  answering(state: "writing" | "done"): void {
    clearInterval(this.#timer);
    if (state === "writing") this.#timer = window.setInterval(() => void this.read(), INTERVAL);
    void this.read();
  }

  /** Reads the memory once. */
  async read(): Promise<void> {
    const inUse = this.#session.inUse.value;
    if (inUse?.place === "tab") {
      try {
        const memory = await inUse.model.memory();
        if (this.#session.inUse.value !== inUse) return;
        this.#readings.push(memory);
        if (this.#readings.length > KEPT) this.#readings = this.#readings.filter((_, i) => i % 2 === 0);
      } catch {
        // The model was replaced meanwhile.
      }
    }
    this.draw();
  }

  /** Draws the memory; the chart has a width only while the view is shown. */
  draw(): void {
    const last = this.#readings.at(-1);
    this.#none.hidden = last !== undefined;
    if (!last) {
      describe(this.#memory, []);
      this.#chart.hidden = true;
      return;
    }
    describe(this.#memory, [
      ["Weights", bytes(last.device.weights)], ["Key-value cache", bytes(last.device.cache)], ["Scratch", bytes(last.device.scratch)], ["Program (wasm heap)", bytes(last.wasm_heap)],
    ], true);
    const mega = (take: (memory: Memory) => number): number[] => this.#readings.map((memory) => take(memory) / 1e6);
    draw(this.#chart, [
      { name: "weights", colour: "--series-1", values: mega(({ device }) => device.weights) },
      { name: "cache", colour: "--series-2", values: mega(({ device }) => device.cache) },
      { name: "scratch", colour: "--series-3", values: mega(({ device }) => device.scratch) },
      { name: "wasm heap", colour: "--series-4", values: mega(({ wasm_heap }) => wasm_heap) },
    ], (value) => bytes(value * 1e6), "reading");
  }

  #drawTested(): void {
    const inUse = this.#session.inUse.value;
    if (inUse?.place !== "tab") return describe(this.#tested, [["Result", inUse ? "the server runs the model" : "no model is loaded"]]);
    const { tested, fallback, description, device } = inUse.facts;
    const rows: [string, string][] = [["Runs on", `${device === "gpu" ? "WebGPU" : "CPU"}: ${description}`]];
    if (tested) {
      rows.push(["Result", tested.demoted.length === 0 ? "every kernel gives the right answers" : "some kernels give wrong answers and are not used"]);
      for (const line of tested.demoted) rows.push(["Not used", line]);
    } else rows.push(["Result", "the CPU's kernels need no test"]);
    if (fallback !== null) rows.push(["Not on the GPU", fallback]);
    describe(this.#tested, rows);
  }
}
