/** The model in use, and the one that is being loaded beside it. */
import {
  type ChatFacts, type DeviceState, HoneLM, HoneLMError, type LoadOptions, type LoadProgress, type ModelFacts, type RemoteModel, type Source,
} from "../honelm";
import { type Remembered, remember } from "./preferences";
import { Signal } from "./signal";

/** The model that answers: one in this tab, or one of a server. */
export type InUse =
  | { place: "tab"; model: HoneLM; facts: ModelFacts; name: string; again: Remembered | null }
  | { place: "server"; model: RemoteModel; facts: ChatFacts; name: string };

/** A model that is being loaded. */
export interface Loading {
  name: string;
  progress: LoadProgress | null;
  /** Bytes per second of what is read, over the last seconds; null at first. */
  speed: number | null;
}

/** A model that could not be loaded. */
export interface Failure {
  name: string;
  code: string;
  message: string;
  /** Loads it again after the model in use is unloaded; only if memory was short. */
  retry?: () => void;
}

/** A model that the user chose. */
export interface Choice {
  name: string;
  source: Source;
  /** The form in which the page finds it again after a reload, if it can. */
  again: Remembered | null;
}

/** The errors after which unloading the model in use may help. */
const SHORT = ["out-of-memory"];

/** The models of this page. */
export class Session {
  readonly inUse = new Signal<InUse | null>(null);
  readonly loading = new Signal<Loading | null>(null);
  readonly failure = new Signal<Failure | null>(null);
  /** The problem of the device of the model in use. */
  readonly trouble = new Signal<string | null>(null);
  /** True while the model works: an answer, a measurement, a check. */
  readonly busy = new Signal(false);
  /** The model in this tab, or the one that will be loaded first. */
  #honelm = new HoneLM();
  #beside: HoneLM | null = null;
  #job: Promise<unknown> | null = null;
  #unfollow: () => void = () => {};
  readonly #options: LoadOptions;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#publish();
  }

  /** The address or the identifier in the store of the model in use; null if it has neither. */
  get origin(): string | null {
    const { value } = this.inUse;
    if (value?.place !== "tab" || value.again === null) return null;
    return value.again.place === "address" ? value.again.url : value.again.id;
  }

  /** Loads a model beside the one in use, and takes its place once it is there. Returns true if it did. */
  async load({ name, source, again }: Choice): Promise<boolean> {
    this.stopLoading();
    this.failure.value = null;
    this.loading.value = { name, progress: null, speed: null };
    // The first model needs no second worker.
    const beside = this.inUse.value?.place === "tab" ? new HoneLM() : this.#honelm;
    this.#beside = beside;
    const meter = new Meter();
    try {
      const facts = await beside.load(source, this.#options, (progress) => {
        if (this.#beside === beside) this.loading.value = { name, progress, speed: meter.speed(progress) };
      });
      // An answer that is being written is not cut off.
      await this.#idle();
      if (this.#beside !== beside) throw new HoneLMError("interrupted", "loading was stopped");
      this.#take({ place: "tab", model: beside, facts, name: facts.name || name, again });
      remember("model", again);
      return true;
    } catch (thrown) {
      if (this.#beside === beside) beside.close();
      this.#failed({ name, source, again }, HoneLMError.from(thrown), beside);
      return false;
    } finally {
      if (this.#beside === beside) {
        this.#beside = null;
        this.loading.value = null;
      }
    }
  }

  /** Stops loading. The model in use stays. */
  stopLoading(): void {
    const beside = this.#beside;
    this.#beside = null;
    beside?.close();
    if (beside === this.#honelm) {
      // The call that was stopped has not ended yet, so the next one gets another worker.
      this.#honelm = new HoneLM();
      this.#publish();
    }
    this.loading.value = null;
  }

  /** Uses a model of a server. */
  async connect(model: RemoteModel): Promise<void> {
    this.stopLoading();
    this.failure.value = null;
    const facts = await model.facts();
    if (!facts) throw new HoneLMError("no-model", `${model.baseURL}: the server has no model`);
    this.#take({ place: "server", model, facts, name: facts.name });
    remember("model", { place: "server", id: facts.name });
  }

  /** Unloads the model in use. */
  unload(): void {
    const { value } = this.inUse;
    this.#unfollow();
    this.trouble.value = null;
    value?.model.abort();
    if (value?.place === "tab") value.model.close();
    this.inUse.value = null;
  }

  /** Runs a job of the model in use; only one runs at a time. */
  async work<T>(job: () => Promise<T>): Promise<T> {
    if (this.busy.value) throw new HoneLMError("busy", "the model is working");
    this.busy.value = true;
    const running = job();
    this.#job = running;
    try {
      return await running;
    } finally {
      this.#job = null;
      this.busy.value = false;
    }
  }

  /** Waits until the model in use has finished its work. */
  async #idle(): Promise<void> {
    while (this.#job) await this.#job.catch(() => {});
  }

  #take(next: InUse): void {
    this.unload();
    if (next.place === "tab") {
      this.#honelm = next.model;
      this.#unfollow = next.model.onState((state) => this.#changed(next, state));
    }
    this.#publish();
    this.inUse.value = next;
  }

  /** Follows the device of the model in use: it may be lost, and come back. */
  #changed(inUse: InUse & { place: "tab" }, state: DeviceState): void {
    if (state.state === "recovering") this.trouble.value = `The GPU was lost (${state.message}). The model is placed again; the answer goes on then.`;
    else if (state.state === "lost") this.trouble.value = `The GPU was lost, and the model could not be placed again: ${state.message}. Load it again, or a smaller one.`;
    else {
      this.trouble.value = null;
      this.inUse.value = { ...inUse, facts: state.facts };
    }
  }

  #failed(choice: Choice, { code, message }: HoneLMError, beside: HoneLM): void {
    // Somebody else is being loaded by now, or the user stopped.
    if (this.#beside !== beside || code === "interrupted") return;
    const short = SHORT.includes(code) && this.inUse.value?.place === "tab";
    const retry = (): void => {
      this.unload();
      void this.load(choice);
    };
    this.failure.value = { name: choice.name, code, message, ...(short ? { retry } : {}) };
  }

  /** Gives the model in this tab to the browser's console. */
  #publish(): void {
    Object.assign(globalThis, { honelm: this.#honelm });
  }
}

/** Measures the speed of reading over the last seconds. */
class Meter {
  #marks: { time: number; bytes: number }[] = [];
  #file = "";
  #before = 0;
  #last = 0;

  speed({ stage, file, done }: LoadProgress): number | null {
    if (stage !== "reading") return null;
    if (file !== this.#file) {
      this.#before += this.#last;
      this.#file = file;
    }
    this.#last = done;
    const now = performance.now();
    this.#marks.push({ time: now, bytes: this.#before + done });
    while (this.#marks.length > 2 && now - (this.#marks[0]?.time ?? now) > 4000) this.#marks.shift();
    const [first, last] = [this.#marks[0], this.#marks.at(-1)];
    if (!first || !last || last.time - first.time < 250) return null;
    return (1000 * (last.bytes - first.bytes)) / (last.time - first.time);
  }
}
