/** The top of the page: the model in use, the progress of loading, and what went wrong with it. */
import { element, icon, say } from "./dom";
import { bytes, timeLeft } from "./format";
import type { Hybrid } from "./hybrid";
import type { Loading, Session } from "./session";

const name = element("model-name", HTMLElement);
const device = element("device", HTMLElement);
const progress = element("progress", HTMLElement);
const bar = element("progress-bar", HTMLProgressElement);
const text = element("progress-text", HTMLElement);
const stop = element("stop-load", HTMLButtonElement);
const failed = element("load-failure", HTMLElement);
const failure = element("load-error", HTMLElement);
const retry = element("load-retry", HTMLButtonElement);
const dismiss = element("load-dismiss", HTMLButtonElement);
const trouble = element("trouble", HTMLElement);
const choose = element("model-button", HTMLButtonElement);
const helper = element("helper", HTMLButtonElement);

/** Sets up the top of the page. `pick` shows the models. Returns a function that tells of the GPU. */
export function topBar(session: Session, hybrid: Hybrid, pick: () => void): (adapter: string) => void {
  let adapter = "";
  const show = (): void => {
    const inUse = session.inUse.value;
    name.textContent = inUse?.name ?? "Choose a model";
    if (inUse?.place === "server") device.textContent = `on ${inUse.facts.device}`;
    else if (inUse) device.textContent = inUse.facts.device === "gpu" ? adapter : inUse.facts.description;
    else if (adapter !== "") device.textContent = adapter;
    document.title = inUse ? `${inUse.name} · HoneLM` : "HoneLM";
  };
  choose.append(icon("down"));
  choose.addEventListener("click", pick);
  const host = document.createElement("span");
  helper.append(icon("server"), host);
  helper.addEventListener("click", pick);
  hybrid.state.follow((state) => {
    helper.hidden = state.stage !== "on";
    if (state.stage !== "on") return;
    host.textContent = state.host;
    helper.title = `${state.host} helps to answer`;
    helper.setAttribute("aria-label", helper.title);
  });
  stop.addEventListener("click", () => {
    // The focus stays where it is of use.
    if (document.activeElement === stop) choose.focus();
    session.stopLoading();
  });
  session.inUse.follow(show);
  session.loading.follow((loading) => {
    document.body.toggleAttribute("data-loading", loading !== null);
    progress.hidden = loading === null;
    if (loading) showProgress(loading);
  });
  session.failure.follow((found) => {
    failed.hidden = found === null;
    const kept = session.inUse.value ? ` ${session.inUse.value.name} is still loaded.` : "";
    say(failure, found ? `${found.name}: ${found.message}${/[.!?]$/.test(found.message) ? "" : "."}${kept}` : undefined);
    retry.hidden = found?.retry === undefined;
    retry.textContent = `Unload ${session.inUse.value?.name ?? "the model"} and try again`;
    retry.onclick = () => found?.retry?.();
  });
  session.trouble.follow((message) => say(trouble, message ?? undefined));
  dismiss.addEventListener("click", () => {
    session.failure.value = null;
    choose.focus();
  });
  return (found) => {
    adapter = found;
    show();
  };
}

/** Shows the progress of loading; the bar has no value while nothing is known. */
function showProgress({ name: model, progress: now, speed }: Loading): void {
  const parts = [`Loading ${model}`];
  let value: number | null = null;
  if (now?.stage === "testing") {
    value = now.total > 0 ? now.done / now.total : null;
    parts.push("testing the GPU's kernels");
  } else if (now?.stage === "placing") {
    value = now.total > 0 ? now.done / now.total : null;
    parts.push("placing the weights");
  } else if (now) {
    value = now.total > 0 ? now.done / now.total : null;
    parts.push(`${now.file}: ${bytes(now.done)} of ${bytes(now.total)}`);
    if (speed !== null && speed > 0) parts.push(`${bytes(speed)}/s`, timeLeft((now.total - now.done) / speed));
  }
  if (value === null) bar.removeAttribute("value");
  else bar.value = value;
  text.textContent = parts.join(" · ");
}
