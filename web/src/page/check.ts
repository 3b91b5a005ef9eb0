/** The accuracy check: compares the model on this device with the same model in single precision on the CPU. */
import text from "../../../crates/honelm/data/heldout.txt?url";
import { type Check, HoneLM, HoneLMError, type ModelFacts } from "../honelm";
import type { Busy } from "./busy";
import { describe, element, say } from "./dom";

/** The number of chunks, and the tokens per chunk, of which the second half is scored. This takes some seconds on the CPU. */
const SETTINGS = { protocol: "llama.cpp-128", chunks: 4 };
/** The length of the text's beginning that is enough for these chunks with any tokenizer. */
const CHARACTERS = 20_000;

const run = element("check", HTMLButtonElement);
const stop = element("stop-check", HTMLButtonElement);
const progress = element("check-progress", HTMLElement);
const failure = element("check-error", HTMLElement);
const facts = element("check-facts", HTMLDListElement);

/** The part of the measure view for the check. */
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

  /** Clears the view for a new model, or without one. */
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
      if (!answer.ok) throw new HoneLMError("http-status", `the text of the check cannot be read: the server answered ${answer.status}`);
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
      ["Confident tokens changed", `${check.clear_positions_changed} of ${check.clear_positions}`],
    ], true);
  }
}
