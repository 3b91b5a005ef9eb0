/** The check: whether this device answers as the same model does in single precision on the processor. */
import text from "../../../crates/honelm/data/heldout.txt?url";
import { type Check, HoneLM, HoneLMError, type ModelFacts } from "../honelm";
import { describe, element, say } from "./dom";
import type { Busy } from "./main";

/** Chunks of the text, and the tokens of each, of which the second half counts: some seconds on the processor. */
const SETTINGS = { protocol: "llama.cpp-128", chunks: 4 };
/** The beginning of the text, enough for them with any tokenizer. */
const CHARACTERS = 20_000;

const run = element("check", HTMLButtonElement);
const stop = element("stop-check", HTMLButtonElement);
const progress = element("check-progress", HTMLElement);
const failure = element("check-error", HTMLElement);
const facts = element("check-facts", HTMLDListElement);

/** A part of the measure view. */
export class CheckView {
  readonly #honelm: HoneLM;
  readonly #busy: Busy;
  #ready = false;

  constructor(honelm: HoneLM, busy: Busy) {
    this.#honelm = honelm;
    this.#busy = busy;
    run.addEventListener("click", () => void this.#run());
    stop.addEventListener("click", () => honelm.abort());
    busy.onChange(() => this.#update());
  }

  /** Begins anew with a model, or waits for one. */
  model(found: ModelFacts | undefined): void {
    this.#ready = found !== undefined;
    facts.hidden = true;
    say(failure, undefined);
    this.#update();
  }

  #update(): void {
    run.disabled = !this.#ready || this.#busy.value;
  }

  async #run(): Promise<void> {
    say(failure, undefined);
    say(progress, "loading the model a second time …");
    facts.hidden = true;
    stop.hidden = false;
    this.#busy.set(true);
    try {
      const answer = await fetch(text);
      if (!answer.ok) throw new HoneLMError("http-status", `the text of the check: the server answers ${answer.status}`);
      const read = (await answer.text()).slice(0, CHARACTERS);
      this.#describe(await this.#honelm.check(read, SETTINGS, ({ done, total }) => {
        say(progress, `part ${Math.min(done + 1, total)} of ${total} …`);
      }));
    } catch (error) {
      const { code, message } = HoneLMError.from(error);
      if (code !== "interrupted") say(failure, message);
    } finally {
      say(progress, undefined);
      stop.hidden = true;
      this.#busy.set(false);
    }
  }

  #describe(check: Check): void {
    describe(facts, [
      ["Tokens", String(check.tokens)],
      ["KL divergence", check.kl_divergence.toExponential(1)],
      ["Same top token", `${check.same_top_percent.toFixed(1)}%`],
      ["Clear ones changed", `${check.clear_positions_changed} of ${check.clear_positions}`],
    ], true);
  }
}
