/** The gateway of `honelm serve` in a page: decides where an answer is written, and replaces private data before anything leaves. */
import { HoneLMError } from "../types";
import type { FromGateway, GatewayCall, GatewayCalls } from "./protocol";

export type { Decision, GatewayAsk, Piece, Policy, Privacy, Redacted, ReplacedValue, Replacement } from "./protocol";

interface Pending {
  resolve: (result: never) => void;
  reject: (error: HoneLMError) => void;
}

/** A gateway in its own worker. The worker fetches its module, the tagger of names and the estimator at the first call: 1.8 MB. */
export class Gateway {
  #worker: Worker | undefined;
  readonly #pending = new Map<number, Pending>();
  #next = 0;
  #closed = false;

  /** Calls the worker. Results arrive in the order of the calls. */
  call<C extends GatewayCall>(call: C, request: GatewayCalls[C]["request"]): Promise<GatewayCalls[C]["result"]> {
    if (this.#closed) return Promise.reject(new HoneLMError("closed", "the gateway was closed"));
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#started().postMessage({ id, call, request });
    });
  }

  /** Ends the worker. Calls that have not ended, and later ones, fail with the code `closed`. */
  close(): void {
    this.#closed = true;
    this.#broken(new HoneLMError("closed", "the gateway was closed"));
  }

  #started(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "honelm-gateway" });
    worker.addEventListener("message", ({ data }: MessageEvent<FromGateway>) => this.#heard(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#broken(new HoneLMError("worker", event.message || "the worker of the gateway could not be started"));
    });
    return (this.#worker = worker);
  }

  #heard(message: FromGateway): void {
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if ("error" in message) pending?.reject(new HoneLMError(message.error.code, message.error.message));
    else pending?.resolve(message.result as never);
  }

  #broken(error: HoneLMError): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of pending) call.reject(error);
  }
}
