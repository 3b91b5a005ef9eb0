/** The panel with the system prompt and the sampling settings. */
import type { GenerationSettings } from "../honelm";
import { element, h, icon, iconButton } from "./dom";
import { recall, remember } from "./preferences";
import type { InUse, Session } from "./session";

/** The sampling settings, with the limits of their fields. */
const FIELDS = {
  temperature: { label: "Temperature", tip: "0 always takes the most likely word; higher is more varied.", min: 0, max: 5, step: 0.05 },
  top_k: { label: "Top k", tip: "Only this many of the most likely words; 0 keeps all.", min: 0, step: 1 },
  top_p: { label: "Top p", tip: "Only the most likely words that together have this probability.", min: 0.01, max: 1, step: 0.01 },
  min_p: { label: "Min p", tip: "Only words with this share of the most likely word's probability.", min: 0, max: 1, step: 0.01 },
  repeat_penalty: { label: "Repeat penalty", tip: "1 is off; higher avoids words that were used.", min: 0.1, max: 5, step: 0.05 },
  max_tokens: { label: "Longest answer", tip: "In tokens, which are words or parts of words.", min: 1, step: 1 },
  seed: { label: "Seed", tip: "The same number gives the same answer again.", min: 0, step: 1 },
} as const;

type Field = keyof typeof FIELDS;
const NAMES = Object.keys(FIELDS) as Field[];

/** The presets: settings that belong together. Those that a preset does not name are the model's own. */
const PRESETS: { name: string; values: GenerationSettings }[] = [
  { name: "Model's own", values: {} },
  { name: "Exact", values: { temperature: 0 } },
  { name: "Careful", values: { temperature: 0.3, top_p: 0.9 } },
  { name: "Balanced", values: { temperature: 0.7, top_p: 0.95, min_p: 0.05 } },
  { name: "Inventive", values: { temperature: 1.1, min_p: 0.05, top_p: 1, top_k: 0 } },
];
const OWN = "Your own";

/** Returns the settings of the next answer. Without a seed, each answer gets its own: that of a server, or of a tab that a server helps, from there. */
export function settingsFor(inUse: InUse, helped = false): GenerationSettings {
  const kept = recall("settings");
  const chosen: GenerationSettings = Object.fromEntries(NAMES.flatMap((name) => (typeof kept[name] === "number" ? [[name, kept[name]]] : [])));
  // A server may not know seeds; one that is asked for is always sent.
  return inUse.place === "tab" && !helped ? { seed: Math.floor(Math.random() * 2 ** 32), ...chosen } : chosen;
}

/** The panel. */
export class SettingsPanel {
  readonly #panel = element("settings", HTMLElement);
  readonly #open = element("settings-open", HTMLButtonElement);
  readonly #inputs = new Map<Field, HTMLInputElement>();
  readonly #preset = h("select", { id: "preset" });
  readonly #system = h("textarea", { id: "system", rows: 5, placeholder: "For example: answer in one sentence." });

  /** `onSystem` receives the system prompt of the shown conversation when it changes. */
  constructor(session: Session, onSystem: (text: string) => void) {
    this.#build();
    this.#open.append(icon("settings"));
    this.#open.addEventListener("click", () => this.toggle(this.#panel.hidden !== false));
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      this.toggle(false);
    });
    this.#system.addEventListener("input", () => {
      onSystem(this.#system.value);
      remember("system", this.#system.value);
    });
    session.inUse.follow((inUse) => this.#placeholders(inUse));
    this.#fill(recall("settings"));
  }

  /** Shows the system prompt of a conversation. */
  system(text: string): void {
    if (this.#system.value !== text) this.#system.value = text;
  }

  /** Opens or closes the panel. */
  toggle(open: boolean): void {
    this.#panel.hidden = !open;
    this.#open.setAttribute("aria-expanded", String(open));
    if (open) this.#system.focus({ preventScroll: true });
    else this.#open.focus();
  }

  #build(): void {
    const options = [...PRESETS.map(({ name }) => name), OWN];
    this.#preset.append(...options.map((name) => h("option", {}, name)));
    this.#preset.addEventListener("change", () => {
      const preset = PRESETS.find(({ name }) => name === this.#preset.value);
      if (!preset) return;
      // The length and the seed belong to no preset.
      const { max_tokens, seed } = recall("settings");
      this.#fill({ ...preset.values, ...(max_tokens === undefined ? {} : { max_tokens }), ...(seed === undefined ? {} : { seed }) });
      this.#keep();
    });
    const rows = NAMES.flatMap((name) => {
      const { label, tip, ...limits } = FIELDS[name];
      const input = h("input", { id: name, type: "number", inputmode: "decimal", "aria-describedby": `${name}-tip`, ...limits });
      input.addEventListener("change", () => this.#keep());
      this.#inputs.set(name, input);
      return [h("div", { class: "field" }, h("label", { for: name }, label), input, h("p", { id: `${name}-tip`, class: "tip" }, tip))];
    });
    this.#panel.append(
      h("div", { class: "row tight head" }, h("h2", {}, "Settings of answers"), h("span", { class: "grow" }), iconButton("close", "Close the settings", () => this.toggle(false))),
      h("div", { class: "field tall" }, h("label", { for: "system" }, "System prompt"), this.#system,
        h("p", { class: "tip" }, "What the model is told before this conversation.")),
      h("div", { class: "field" }, h("label", { for: "preset" }, "Sampling"), this.#preset),
      ...rows,
    );
  }

  #fill(settings: GenerationSettings): void {
    for (const [name, input] of this.#inputs) input.value = settings[name] === undefined ? "" : String(settings[name]);
    this.#name(settings);
  }

  /** Keeps the valid fields; an invalid one is marked by the browser and not used. */
  #keep(): void {
    const settings: GenerationSettings = {};
    for (const [name, input] of this.#inputs) {
      const value = input.valueAsNumber;
      if (Number.isFinite(value) && !input.validity.rangeUnderflow && !input.validity.rangeOverflow && !input.validity.stepMismatch) settings[name] = value;
    }
    remember("settings", settings);
    this.#name(settings);
  }

  #name({ max_tokens: _, seed: __, ...settings }: GenerationSettings): void {
    const text = (values: GenerationSettings): string => JSON.stringify(Object.entries(values).sort());
    this.#preset.value = PRESETS.find(({ values }) => text(values) === text(settings))?.name ?? OWN;
  }

  #placeholders(inUse: InUse | null): void {
    const own = inUse?.facts.generation ?? {};
    for (const [name, input] of this.#inputs) {
      const value = name === "seed" ? undefined : own[name];
      // Numbers of the model's files are in single precision.
      input.placeholder = value === undefined ? (name === "seed" ? "random" : "") : String(Number(value.toPrecision(6)));
    }
  }
}
