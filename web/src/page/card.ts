/** The card of a model: what it needs here, and what can be done with it. */
import { h } from "./dom";
import { type Device, fits, need, type Shape, speed } from "./estimate";
import { bytes } from "./format";

/** The contents of a card. */
export interface Card {
  name: string;
  /** Its publisher and licence, or its place. */
  source: string;
  summary?: string;
  bytes: number | null;
  /** True if `bytes` is only an estimate. */
  about?: boolean;
  shape?: Shape | null;
  notes?: (Node | string)[];
  actions: HTMLElement[];
  /** True for the model in use. */
  current?: boolean;
}

/** Draws a card; `device` is null until it is known. */
export function card({ name, source, summary, bytes: size, about, shape, notes, actions, current }: Card, device: Device | null): HTMLElement {
  return h("li", { class: current ? "card current" : "card" },
    h("div", { class: "card-head" }, h("h3", {}, name), current && h("span", { class: "badge good" }, "in use")),
    h("p", { class: "hint" }, source),
    summary !== undefined && summary !== "" && h("p", {}, summary),
    size !== null && h("ul", { class: "badges", "aria-label": "What it needs here" }, ...figuresOf(size, about ?? false, shape ?? null, device)),
    ...(notes ?? []).map((note) => h("div", { class: "hint" }, note)),
    h("div", { class: "row tight" }, ...actions),
  );
}

/** Returns size, memory, judgement and speed of a model. */
function figuresOf(size: number, about: boolean, shape: Shape | null, device: Device | null): HTMLElement[] {
  const badge = (text: string, tip = "", kind = ""): HTMLElement => h("li", { class: `badge ${kind}`.trim(), title: tip === "" ? undefined : tip }, text);
  const wanted = need(size, shape);
  const made = [badge(`${about ? "≈ " : ""}${bytes(size)}`, about ? "From the number of parameters; the exact size is shown before the download." : "")];
  if (!device) return made;
  const verdict = fits(wanted, device);
  const quick = speed(size, device);
  return [
    ...made,
    ...(verdict.level === "unknown" ? [] : [badge(`needs ≈ ${bytes(wanted.total)}`, verdict.detail)]),
    badge(verdict.text, verdict.detail, verdict.level),
    ...(quick ? [badge(quick.text, quick.detail)] : []),
  ];
}
