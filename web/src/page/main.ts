/** The page: its parts, and how they hear of each other. */
import { type LoadOptions, ModelStore, reportAdapter } from "../honelm";
import { offline } from "../honelm/store/offline";
import { Archive } from "./archive";
import { topBar } from "./bar";
import { ChatView } from "./chat";
import { branch } from "./conversation";
import { DeviceView } from "./device";
import { describeDevice, type Device, learn } from "./estimate";
import { History } from "./history";
import { Hybrid } from "./hybrid";
import { Library } from "./library";
import { MeasureView } from "./measure";
import { ModelsView } from "./models";
import { recall } from "./preferences";
import { Session } from "./session";
import { SettingsPanel } from "./settings";
import { Shell } from "./shell";
import { type Offer, Welcome } from "./welcome";

const shell = new Shell();
const session = new Session(loadOptions());
const library = new Library(session);
const archive = new Archive();
const hybrid = new Hybrid();
const tell = (message: string, bad?: boolean): void => shell.tell(message, bad);

const welcome = new Welcome(session, hybrid, library.remote ? new URL(library.remote.baseURL).host : null, () => shell.show("models"));
const chat = new ChatView(session, hybrid, archive, welcome);
const talks = new History(archive, chat, tell, () => {
  shell.show("chat");
  shell.closeMenu();
});
const settings = new SettingsPanel(session, (text) => chat.system(text));
chat.talk.follow(({ system }) => settings.system(system));
const models = new ModelsView(session, library, hybrid, tell);
let adapter: string | null = null;
new MeasureView(session, () => adapter);
const device = new DeviceView(session);
const showAdapter = topBar(session, hybrid, () => shell.show("models"));

shell.onShow((view) => {
  // Charts have a width only while they are shown.
  if (view === "device") device.draw();
});
shell.onDrop((files) => {
  const only = files.length === 1 ? files[0] : undefined;
  if (only?.name.endsWith(".json")) void talks.read([only]);
  else models.open(files);
});
/** True while the model of the last visit is loaded, which leaves the user where they are. */
let restoring = false;
session.inUse.follow((inUse) => {
  if (!inUse || restoring || shell.view !== "models") return;
  shell.show("chat");
  chat.focus();
});
library.served.follow(offer);
library.stored.follow(offer);
library.catalogue.follow(offer);

/** This device, once it is known. */
let here: Device | null = null;
chat.onAnswer = (state) => {
  device.answering(state);
  if (state === "done") void remembered();
};

// For use in the browser's console, beside `honelm`.
Object.assign(globalThis, { ModelStore });

shell.start();
void restore();
void look();
// A server's own gateway helps its models.
if (!library.remote) void hybrid.restore();
// The server's page is of no use without the server.
if (!library.remote) void offline.register(({ update }) => { if (update) shell.offer("A newer version of this page is there.", "Reload", update.apply); });

/** Shows the conversation and loads the model of the last visit. */
async function restore(): Promise<void> {
  const kept = await talks.refresh();
  const shown = kept.find(({ id }) => id === recall("conversation"));
  if (shown && chat.talk.value.turns.length === 0) chat.open(shown);
  if (library.remote) return;
  restoring = true;
  await library.again().finally(() => { restoring = false; });
}

/** Looks for models and for the device. */
async function look(): Promise<void> {
  const [report] = await Promise.all([reportAdapter(), library.look()]);
  adapter = report.available ? report.name : null;
  showAdapter(report.available ? `WebGPU: ${report.name}` : `no WebGPU: ${report.reason}`);
  here = await describeDevice(report);
  device.report(report, here);
  models.device(here);
}

/** Offers models that one click loads. */
function offer(): void {
  const served = library.served.value.map((model): Offer => ({
    name: model.name, bytes: model.bytes, place: "with this page", load: () => void library.loadServed(model),
  }));
  const stored = library.stored.value.filter(({ state }) => state === "complete").map((model): Offer => ({
    name: model.name, bytes: model.bytes, place: "in this browser", load: () => void library.load(model),
  }));
  welcome.offer([...stored, ...served]);
}

/** Remembers the speed of the last answer for estimates. */
async function remembered(): Promise<void> {
  const inUse = session.inUse.value;
  const last = branch(chat.talk.value).at(-1);
  const speed = last?.figures?.decode_tokens_per_second ?? null;
  if (inUse?.place !== "tab" || speed === null || last?.route?.route === "cloud") return;
  try {
    const { device: held } = await inUse.model.memory();
    const name = inUse.facts.device === "gpu" ? (adapter ?? "gpu") : "cpu";
    const answers = learn(name, held.weights, speed);
    if (here?.name !== name) return;
    here = { ...here, answers };
    models.device(here);
  } catch {
    // The model was replaced meanwhile.
  }
}

/** Returns the options in the page's own address: `?device=cpu&context=512`. */
function loadOptions(): LoadOptions {
  const asked = new URLSearchParams(location.search);
  const context = Number(asked.get("context") ?? Number.NaN);
  const cache_type = (["f32", "f16", "q8_0", "q4_0", "q4_0-plain"] as const).find((name) => name === asked.get("cache_type"));
  return {
    ...(asked.get("device") === "cpu" ? { device: "cpu" as const } : {}),
    ...(asked.get("device") === "gpu" ? { device: "gpu" as const } : {}),
    ...(asked.get("compute") === "f32" ? { compute: "f32" as const } : {}),
    ...(cache_type ? { cache_type } : {}),
    ...(Number.isInteger(context) && context > 0 ? { context } : {}),
  };
}
