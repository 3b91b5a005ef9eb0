/** The page: a model, a conversation with it, and its measurements. */
import { HoneLM } from "../honelm";
import { Busy } from "./busy";
import { ChatView } from "./chat";
import { CheckView } from "./check";
import { element } from "./dom";
import { MeasureView } from "./measure";
import { listServedModels, modelCard, showAdapter } from "./model";

let adapter: string | null = null;
const honelm = new HoneLM();
const busy = new Busy();
const chat = new ChatView(honelm, busy);
const measure = new MeasureView(honelm, busy, () => adapter);
const check = new CheckView(honelm, busy);
modelCard(honelm, (facts) => {
  chat.model(facts);
  measure.model(facts);
  check.model(facts);
});

const tabs = ["chat", "measure"] as const;
for (const name of tabs) {
  const tab = element(`tab-${name}`, HTMLButtonElement);
  tab.addEventListener("click", () => choose(name));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    choose(name === "chat" ? "measure" : "chat").focus();
  });
}

function choose(chosen: (typeof tabs)[number]): HTMLElement {
  for (const name of tabs) {
    const tab = element(`tab-${name}`, HTMLButtonElement);
    tab.setAttribute("aria-selected", String(name === chosen));
    tab.tabIndex = name === chosen ? 0 : -1;
    element(name, HTMLElement).hidden = name !== chosen;
  }
  return element(`tab-${chosen}`, HTMLButtonElement);
}

// For use in the browser's console.
Object.assign(globalThis, { honelm });

void listServedModels();
adapter = await showAdapter();
