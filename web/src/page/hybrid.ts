/** The server that may help the model in this tab: off until the user turns it on. */
import { type ChatModel, Gateway, type HoneLM, HoneLMError, HybridModel, RemoteModel } from "../honelm";
import { type Helper, recall, remember } from "./preferences";
import { Signal } from "./signal";

export type HybridState =
  | { stage: "off" }
  /** The gateway is fetched, and the server asked for its models. */
  | { stage: "starting"; host: string }
  | { stage: "on"; host: string; model: string; helper: Helper }
  | { stage: "failed"; problem: string };

/** The switch. */
export class Hybrid {
  readonly state = new Signal<HybridState>({ stage: "off" });
  #gateway: Gateway | null = null;
  #remote: RemoteModel | null = null;
  #context: number | null = null;
  #attempt = 0;
  /** The model that answers now, which has learned how many tokens texts have. */
  #over: { local: HoneLM; model: HybridModel } | null = null;

  /** Turns the switch on again if it was on at the last visit and no key is missing. */
  async restore(): Promise<void> {
    const helper = recall("helper");
    const key = recall("key");
    if (!helper?.on) return;
    if (helper.keyed && key === null) this.state.value = { stage: "failed", problem: "The key was not kept. Enter it to turn this on again." };
    else await this.turnOn(helper, key ?? "", key !== null);
  }

  /** Fetches the gateway, and asks the server for its models. `keep` stores the key in this browser. */
  async turnOn(wanted: Omit<Helper, "on" | "keyed">, key: string, keep: boolean): Promise<void> {
    const attempt = ++this.#attempt;
    this.#over = null;
    remember("key", keep && key !== "" ? key : null);
    const helper: Helper = { ...wanted, on: true, keyed: key !== "" };
    try {
      const remote = new RemoteModel({ baseURL: helper.baseURL, ...(key === "" ? {} : { apiKey: key }), ...(helper.model === null ? {} : { model: helper.model }) });
      const { host } = new URL(remote.baseURL);
      this.state.value = { stage: "starting", host };
      const gateway = (this.#gateway ??= new Gateway());
      const [facts] = await Promise.all([soon(host, remote.facts()), gateway.call("open", null)]);
      if (attempt !== this.#attempt) return;
      if (!facts) throw new HoneLMError("no-model", `${host}: ${helper.model === null ? "the server has no model" : `the server has no model ${helper.model}`}`);
      remote.model = facts.name;
      [this.#remote, this.#context] = [remote, facts.context];
      remember("helper", helper);
      this.state.value = { stage: "on", host, model: facts.name, helper };
    } catch (thrown) {
      if (attempt !== this.#attempt) return;
      // The worker of a gateway that could not be opened cannot be used again.
      this.#gateway?.close();
      this.#gateway = null;
      remember("helper", { ...helper, on: false });
      this.state.value = { stage: "failed", problem: HoneLMError.from(thrown).message };
    }
  }

  /** Turns the switch off. What the user entered stays, but for a key that is not to be kept. */
  turnOff(): void {
    this.#attempt++;
    const helper = recall("helper");
    if (helper) remember("helper", { ...helper, on: false });
    this.#gateway?.close();
    [this.#gateway, this.#remote, this.#over] = [null, null, null];
    this.state.value = { stage: "off" };
  }

  /** Returns the model that answers in place of `local`: it with the server's help, if the switch is on. */
  over(local: HoneLM): ChatModel {
    const { value } = this.state;
    if (value.stage !== "on" || !this.#remote || !this.#gateway) return local;
    const { policy, privacy } = value.helper;
    if (this.#over?.local !== local) {
      this.#over = { local, model: new HybridModel(local, this.#remote, this.#gateway, { policy, privacy, serverContext: this.#context }) };
    }
    return this.#over.model;
  }
}

/** The time in milliseconds within which a server must tell its models. */
const PATIENCE = 15_000;

/** Rejects if a server does not answer soon. */
function soon<T>(host: string, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new HoneLMError("unreachable", `${host}: no answer within ${PATIENCE / 1000} s`)), PATIENCE);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
