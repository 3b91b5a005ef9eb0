/** The route of an answer through a gateway, in words. */
import type { Route } from "../honelm";
import { h } from "./dom";

/** Says where an answer was written, at what cost, and what was replaced before it left. */
export function routed(route: Route): HTMLElement {
  const place = route.route === "cloud" ? `in the cloud${route.upstream === null ? "" : ` (${route.upstream})`}` : "on this server";
  const parts = [`Written ${place}: ${route.detail || route.reason}`];
  if (route.continued) parts.push("begun in the cloud, finished on this server");
  if (route.degraded) parts.push("the cloud was away");
  if (route.cost > 0) parts.push(`cost ${route.cost} ${route.currency}`);
  const kinds = Object.entries(route.replaced).filter(([, count]) => count > 0);
  if (kinds.length > 0) parts.push(`replaced before it was sent: ${kinds.map(([kind, count]) => `${count} ${kind.toLowerCase().replaceAll("_", " ")}`).join(", ")}`);
  return h("p", { class: "note" }, `${parts.join(" · ")}.`);
}
