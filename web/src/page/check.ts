/** The accuracy check: compares the model on this device with the same model in single precision on the CPU. */
import text from "../../../crates/honelm/data/heldout.txt?url";
import { type Check, HoneLMError } from "../honelm";
import { describe, h, say } from "./dom";
import type { Session } from "./session";

/** The number of chunks, and the tokens per chunk, of which the second half is scored. This takes some seconds on the CPU. */
const SETTINGS = { protocol: "llama.cpp-128", chunks: 4 };
/** The length of the text's beginning that is enough for these chunks with any tokenizer. */
const CHARACTERS = 20_000;

/** The part of the measure view for the check. */
export class CheckView {
  readonly #session: Session;
  readonly #run = h("button", { type: "button", id: "check", disabled: true, onclick: () => void this.#check() }, "Check accuracy");
  readonly #stop = h("button", { type: "button", id: "stop-check", hidden: true }, "Stop");
  readonly #progress = h("p", { id: "check-progress", class: "figures", role: "status", hidden: true });
  readonly #failure = h("p", { id: "check-error", class: "notice bad", role: "alert", hidden: true });
  readonly #facts = h("dl", { id: "check-facts", class: "tiles", hidden: true });
  readonly place = h("section", { class: "panel" },
    h("h2", {}, "Accuracy"),
    h("p", { class: "hint" }, "Compares the model's predictions on this device with its predictions in single precision on the CPU, over a sample text."),
    h("div", { class: "row" }, this.#run, this.#stop), this.#progress, this.#failure, this.#facts);

  constructor(session: Session) {
    this.#session = session;
    this.#stop.addEventListener("click", () => session.inUse.value?.model.abort());
    session.inUse.follow(() => {
      this.#facts.hidden = true;
      say(this.#failure, undefined);
      this.#update();
    });
    session.busy.follow(() => this.#update());
  }

  #update(): void {
    this.#run.disabled = this.#session.inUse.value?.place !== "tab" || this.#session.busy.value;
  }

  async #check(): Promise<void> {
    const inUse = this.#session.inUse.value;
    if (inUse?.place !== "tab") return;
    say(this.#failure, undefined);
    say(this.#progress, "loading the model a second time …");
    this.#facts.hidden = true;
    this.#stop.hidden = false;
    try {
      await this.#session.work(async () => {
        const answer = await fetch(text);
        if (!answer.ok) throw new HoneLMError("http-status", `the text of the check cannot be read: the server answered ${answer.status}`);
        const read = (await answer.text()).slice(0, CHARACTERS);
        this.#describe(await inUse.model.check(read, SETTINGS, ({ done, total }) => {
          say(this.#progress, `part ${Math.min(done + 1, total)} of ${total} …`);
        }));
      });
    } catch (error) {
      const { code, message } = HoneLMError.from(error);
      if (code !== "interrupted" && code !== "closed") say(this.#failure, message);
    } finally {
      say(this.#progress, undefined);
      if (document.activeElement === this.#stop) this.#run.focus();
      this.#stop.hidden = true;
    }
  }

  #describe(check: Check): void {
    describe(this.#facts, [
      ["Tokens", String(check.tokens)],
      ["KL divergence", check.kl_divergence.toExponential(1)],
      ["Same top token", `${check.same_top_percent.toFixed(1)}%`],
      ["Confident tokens changed", `${check.clear_positions_changed} of ${check.clear_positions}`],
    ], true);
  }
}
