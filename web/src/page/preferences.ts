/** The settings that the page remembers between visits, in the browser's local storage. Conversations are kept by the archive. */
import type { GenerationSettings, Policy, Privacy } from "../honelm";

/** The model that the page loads again after a reload. */
export type Remembered =
  | { place: "address"; url: string; name: string }
  | { place: "store"; id: string; name: string }
  | { place: "server"; id: string };

/** The server that may help the model in this tab. Its key is kept apart, and only if the user asks for it. */
export interface Helper {
  baseURL: string;
  model: string | null;
  policy: Policy;
  privacy: Privacy;
  /** True while the switch is on. */
  on: boolean;
  /** True if the server was given a key. */
  keyed: boolean;
}

/** The remembered values and their defaults. */
const DEFAULTS = {
  model: null as Remembered | null,
  /** The settings that differ from the model's own. */
  settings: {} as GenerationSettings,
  /** The system prompt of new conversations. */
  system: "",
  theme: "auto" as "auto" | "light" | "dark",
  /** The conversation that is shown. */
  conversation: null as string | null,
  /** The bytes of weights that this device reads in a second while it answers, by the name of the device. */
  rates: {} as Record<string, number>,
  helper: null as Helper | null,
  /** The key of that server, if the user wants it to be kept. */
  key: null as string | null,
};

type Preferences = typeof DEFAULTS;

const KEY = "honelm.page";

/** Returns a remembered value. */
export function recall<K extends keyof Preferences>(name: K): Preferences[K] {
  const kept = read()[name];
  // Another version of the page may have kept another kind of value.
  const usual = DEFAULTS[name];
  const same = usual === null ? kept === null || typeof kept === "object" || typeof kept === "string" : typeof kept === typeof usual && kept !== null;
  return kept !== undefined && same ? (kept as Preferences[K]) : usual;
}

/** Remembers a value. */
export function remember<K extends keyof Preferences>(name: K, value: Preferences[K]): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...read(), [name]: value }));
  } catch {
    // Without storage, the page begins anew after a reload.
  }
}

function read(): Partial<Record<keyof Preferences, unknown>> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return typeof kept === "object" && kept !== null ? kept : {};
  } catch {
    return {};
  }
}
