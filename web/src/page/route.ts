/** The route of an answer through a gateway, in words, and what left for it. */
import type { Route, Sent } from "../honelm";
import { h } from "./dom";
import { bytes } from "./format";

/** Says where an answer was written, at what cost, and what was replaced before it left. */
export function routed(route: Route): HTMLElement {
  const { tab = false, upstream, sent } = route;
  const here = tab ? "in this tab" : "on this server";
  const there = tab ? `by ${upstream ?? "the server"}` : `in the cloud${upstream === null ? "" : ` (${upstream})`}`;
  const parts = [`Written ${route.route === "cloud" ? there : here}: ${route.detail || route.reason}`];
  if (route.continued) parts.push(`begun ${tab ? there : "in the cloud"}, finished ${here}`);
  if (route.degraded && !tab) parts.push("the cloud was away");
  if (route.cost > 0) parts.push(`cost ${route.cost} ${route.currency}`);
  const kinds = Object.entries(route.replaced).filter(([, count]) => count > 0);
  if (kinds.length > 0 && !sent) parts.push(`replaced before it was sent: ${kinds.map(([kind, count]) => `${count} ${named(kind)}`).join(", ")}`);
  const note = h("p", { class: "note" }, `${parts.join(" · ")}.`);
  return sent ? h("div", { class: "route" }, note, left(sent)) : note;
}

/** Shows what left this tab, folded. */
function left({ bytes: size, messages, values }: Sent): HTMLElement {
  const count = values.length === 0 ? "nothing was replaced" : `${values.length} value${values.length === 1 ? "" : "s"} replaced`;
  const head = h("tr", {}, ...["Kind", "Stays here", "Was sent"].map((title) => h("th", { scope: "col" }, title)));
  const rows = values.map(({ kind, value, by }) => h("tr", {}, h("td", {}, named(kind)), h("td", {}, value), h("td", {}, by)));
  return h("details", { class: "sent" },
    h("summary", {}, `What left this tab: ${bytes(size)}, ${count}`),
    rows.length > 0 && h("div", { class: "table" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows))),
    ...messages.map(({ role, content }) => h("figure", {}, h("figcaption", {}, role), h("pre", { tabindex: 0 }, content))));
}

/** Returns a kind of private data in words. */
function named(kind: string): string {
  return kind === "GPE" ? "place" : kind.toLowerCase().replaceAll("_", " ");
}
