/** The models that this browser keeps, and downloads on their way there. */
import { HoneLMError, type ModelStore, type StoredModel } from "../honelm";
import { card } from "./card";
import { h, icon } from "./dom";
import type { Device } from "./estimate";
import { bytes, timeLeft } from "./format";
import type { Download, Library } from "./library";

/** Draws the card of a stored model. */
export function storedCard(
  model: StoredModel, current: boolean, library: Library, device: Device | null, load: (model: StoredModel) => void,
  tell: (message: string, bad?: boolean) => void,
): HTMLElement {
  const { id, name, url, state } = model;
  const status = h("span", { role: "status" });
  const attempt = (what: () => Promise<void>) => (): void => {
    void what().catch((thrown) => tell(HoneLMError.from(thrown).message, true));
  };
  const actions: HTMLElement[] = [];
  if (state === "complete" || model.memory) actions.push(button("Load", () => load(model), "primary"));
  if (state === "partial" && url !== null) actions.push(button("Go on", () => void library.download({ url, name }), "primary"));
  actions.push(
    button(state === "damaged" ? "Repair" : "Check", attempt(async () => {
      const { checked, damaged, repaired } = await library.store.verify(id, ({ done, total }) => {
        status.textContent = `checking ${bytes(done)}${total === null ? "" : ` of ${bytes(total)}`} …`;
      });
      tell(damaged === 0 ? `${name}: all ${checked} parts are as they arrived.` : `${name}: ${damaged} of ${checked} parts were damaged, ${repaired} were fetched again.`, damaged > repaired);
      status.textContent = "";
    })),
    button("Rename", attempt(async () => {
      const wanted = prompt("Name of the model", name)?.trim();
      if (wanted !== undefined && wanted !== "") await library.store.rename(id, wanted);
    })),
    button("Save as a file", attempt(async () => {
      const { name: file, blob } = await library.store.export(id);
      const link = h("a", { href: URL.createObjectURL(blob), download: file });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    })),
    button("Delete", attempt(async () => {
      if (confirm(`Delete ${name} (${bytes(model.stored)}) from this browser?`)) await library.store.delete(id);
    })),
  );
  const parts = [url === null ? "imported" : new URL(url).host];
  if (state === "partial") parts.push(`${bytes(model.stored)} of ${bytes(model.bytes)} stored`);
  if (state === "damaged") parts.push("damaged");
  if (model.memory) parts.push("partly in this tab's memory, until it closes");
  parts.push(model.hashes === "manifest" ? "compared with the publisher's hash" : "hash recorded on arrival");
  return card({ name, source: parts.join(" · "), bytes: model.bytes, current, actions, notes: [status] }, device);
}

/** Describes the space of the store. */
export async function spaceLine(store: ModelStore): Promise<string> {
  const { used, available, persisted, backend } = await store.space();
  const parts = [`${bytes(used)} used`];
  if (available !== null) parts.push(`${bytes(available)} left`);
  parts.push(backend === "memory" ? "kept only until this tab closes: the browser offers no storage" : persisted ? "kept until you delete it" : "the browser may delete it when space runs short");
  return parts.join(" · ");
}

/** Draws a download into a list, or updates it there. */
export function downloadOf(list: HTMLElement, url: string, download: Download, library: Library): void {
  const { name, source, state, stage, done, total, speed, secondsLeft, ranges, problem } = download;
  let item = [...list.children].find((child): child is HTMLElement => (child as HTMLElement).dataset.url === url);
  if (!item) {
    const toggle = h("button", { type: "button", class: "small toggle" });
    const forget = h("button", { type: "button", class: "small", onclick: () => library.forget(url) }, "Dismiss");
    item = h("li", { class: "card download", "data-url": url },
      h("div", { class: "card-head" }, h("h3", {}, name)), h("progress", { max: 1, "aria-label": `Download of ${name}` }), h("p", { class: "hint state" }),
      h("div", { class: "row tight" }, toggle, forget));
    toggle.addEventListener("click", () => {
      if (toggle.dataset.state === "running") library.pause(url);
      else void library.download({ ...source, name });
    });
    list.append(item);
  }
  const bar = item.querySelector("progress");
  if (total !== null) bar?.setAttribute("value", String(done / Math.max(1, total)));
  else bar?.removeAttribute("value");
  item.classList.toggle("bad", state === "failed");
  const [toggle, forget] = item.querySelectorAll("button");
  if (toggle && toggle.dataset.state !== state) {
    toggle.dataset.state = state;
    toggle.replaceChildren(...(state === "running" ? [icon("pause"), "Pause"] : ["Go on"]));
  }
  if (forget) forget.hidden = state === "running";
  const amount = `${bytes(done)}${total === null ? "" : ` of ${bytes(total)}`}`;
  const parts = state === "running" ? [amount] : state === "paused" ? ["Paused", amount] : [];
  if (state === "running") {
    if (stage === "waiting") parts.unshift("another tab stores this model");
    if (stage === "memory") parts.unshift("the browser gives no space, so it stays in this tab's memory");
    if (speed !== null && speed > 0) parts.push(`${bytes(speed)}/s`);
    if (secondsLeft !== null) parts.push(timeLeft(secondsLeft));
  }
  if (!ranges) parts.push("the server sends only the whole file, so a pause begins again");
  if (problem !== null) parts.push(problem);
  const text = item.querySelector(".state");
  if (text) text.textContent = parts.join(" · ");
}

function button(label: string, onclick: () => void, kind = ""): HTMLButtonElement {
  return h("button", { type: "button", class: `small ${kind}`.trim(), onclick }, label);
}
