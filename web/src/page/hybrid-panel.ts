/** The panel of the server that may help: its address, its key, and what may leave. */
import type { Policy, Privacy } from "../honelm";
import { h, say } from "./dom";
import type { Hybrid, HybridState } from "./hybrid";
import { recall } from "./preferences";

const POLICIES: [Policy, string][] = [
  ["auto", "Only questions that it is likely to answer better"],
  ["local-first", "Only what the model in this tab cannot read"],
  ["cloud-first", "Every question, if there is a connection"],
];
const CLASSES: [Privacy, string][] = [
  ["masked", "Replaced by invented values first"],
  ["open", "Sent as they are"],
];

/** The panel. */
export class HybridPanel {
  readonly place: HTMLElement;
  readonly #hybrid: Hybrid;
  readonly #switch = h("input", { id: "hybrid", type: "checkbox", role: "switch" });
  readonly #url = h("input", { id: "hybrid-url", type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false", required: true, placeholder: "https://api.example.com/v1" });
  readonly #key = h("input", { id: "hybrid-key", type: "password", autocomplete: "off", placeholder: "if it asks for one" });
  readonly #model = h("input", { id: "hybrid-model", type: "text", autocomplete: "off", spellcheck: "false", placeholder: "its first one" });
  readonly #policy = choice("hybrid-policy", POLICIES);
  readonly #privacy = choice("hybrid-privacy", CLASSES);
  readonly #keep = h("input", { id: "hybrid-keep", type: "checkbox" });
  readonly #status = h("p", { id: "hybrid-status", class: "hint", role: "status" });
  readonly #problem = h("p", { id: "hybrid-problem", class: "notice bad", role: "alert", hidden: true });
  readonly #form: HTMLFormElement;

  constructor(hybrid: Hybrid) {
    this.#hybrid = hybrid;
    const field = (label: string, input: HTMLElement): HTMLElement => h("div", { class: "field" }, h("label", { for: input.id }, label), input);
    this.#form = h("form", { class: "helper", id: "hybrid-form", hidden: true, onsubmit: (event: Event) => {
      event.preventDefault();
      void this.#connect();
    } },
      field("Address", this.#url), field("Key", this.#key), field("Model", this.#model),
      field("It answers", this.#policy), field("Names, numbers, addresses", this.#privacy),
      h("label", { class: "check" }, this.#keep, "Keep the key in this browser, where whoever uses it can read it. Otherwise it is forgotten with this tab."),
      h("div", { class: "row tight" }, h("button", { type: "submit", class: "primary", id: "hybrid-connect" }, "Connect")),
    );
    this.#switch.addEventListener("change", () => this.#toggled());
    this.place = h("section", { class: "panel", "aria-labelledby": "hybrid-title" },
      h("div", { class: "switch" }, this.#switch, h("h2", { id: "hybrid-title" }, h("label", { for: "hybrid" }, "Help from a server"))),
      this.#status, this.#problem, this.#form);
    this.#fill();
    hybrid.state.follow((state) => this.#show(state));
  }

  /** Fills in what was entered at the last visit. */
  #fill(): void {
    const helper = recall("helper");
    const key = recall("key");
    this.#url.value = helper?.baseURL ?? "";
    this.#model.value = helper?.model ?? "";
    this.#key.value = key ?? "";
    this.#keep.checked = key !== null;
    this.#policy.value = POLICIES.some(([name]) => name === helper?.policy) ? (helper?.policy ?? "auto") : "auto";
    this.#privacy.value = helper?.privacy === "open" ? "open" : "masked";
  }

  #toggled(): void {
    if (!this.#switch.checked) {
      this.#hybrid.turnOff();
      return;
    }
    this.#form.hidden = false;
    if (this.#url.value === "") this.#url.focus();
    else void this.#connect();
  }

  async #connect(): Promise<void> {
    const model = this.#model.value.trim();
    await this.#hybrid.turnOn({
      baseURL: this.#url.value.trim(), model: model === "" ? null : model, policy: this.#policy.value as Policy, privacy: this.#privacy.value as Privacy,
    }, this.#key.value.trim(), this.#keep.checked);
  }

  #show(state: HybridState): void {
    const on = state.stage === "on";
    this.#switch.checked = state.stage !== "off";
    this.#form.hidden = state.stage === "off";
    this.#form.querySelector("button")?.replaceChildren(on ? "Apply" : "Connect");
    for (const part of this.#form.elements) (part as HTMLInputElement).disabled = state.stage === "starting";
    say(this.#problem, state.stage === "failed" ? state.problem : undefined);
    if (state.stage === "starting") this.#status.textContent = `Connecting to ${state.host} …`;
    else if (on) this.#status.textContent = `On: ${state.model} on ${state.host} may answer. Each of its answers shows what left this tab.`;
    else this.#status.textContent = "Off: nothing that you write leaves this tab. Any server with OpenAI's API can help with hard questions, such as honelm serve; the model in this tab answers the rest, and everything without a connection.";
  }
}

function choice<T extends string>(id: string, options: [T, string][]): HTMLSelectElement {
  return h("select", { id }, ...options.map(([value, label]) => h("option", { value }, label)));
}
