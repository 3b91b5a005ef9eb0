/** The worker of the gateway, which owns its wasm module. Searching a long conversation for private data must not hold up the page. */
import init, { type Redacted, type Restoring, WebGateway } from "../../../pkg/honelm_gateway";
import { built } from "../built";
import { HoneLMError } from "../types";
import type { FromGateway, GatewayCall, GatewayCalls, ToGateway } from "./protocol";

declare const self: DedicatedWorkerGlobalScope;

const gateway = opened();
/** The answers that are being turned back. */
const answers = new Map<number, { redacted: Redacted; text: Restoring; reasoning: Restoring }>();
let next = 0;

async function opened(): Promise<WebGateway> {
  const bytes = async (response: Promise<Response>): Promise<Uint8Array> => new Uint8Array(await (await response).arrayBuffer());
  const [tagger, estimator] = await Promise.all([
    bytes(built("tagger.bin", new URL("../../../pkg/tagger.bin", import.meta.url))),
    bytes(built("router.estimator", new URL("../../../pkg/router.estimator", import.meta.url))),
    init({ module_or_path: built("honelm_gateway_bg.wasm", new URL("../../../pkg/honelm_gateway_bg.wasm", import.meta.url)) }),
  ]);
  return new WebGateway(tagger, estimator, crypto.getRandomValues(new Uint8Array(32)));
}

/** The implementation of each call. */
const does: { [C in GatewayCall]: (request: GatewayCalls[C]["request"]) => Promise<GatewayCalls[C]["result"]> } = {
  async open() {
    await gateway;
    return null;
  },
  async decide(ask) {
    return JSON.parse((await gateway).decide(JSON.stringify(ask)));
  },
  async heard({ event, now }) {
    (await gateway).heard(event, now);
    return null;
  },
  async redact({ body, replacement, json }) {
    const redacted = (await gateway).redact(JSON.stringify(body), replacement);
    const answer = next++;
    answers.set(answer, { redacted, text: redacted.restoring(json), reasoning: redacted.restoring(false) });
    return { answer, body: JSON.parse(redacted.body()), ...JSON.parse(redacted.replaced()) };
  },
  async push({ answer, text, reasoning }) {
    const found = restored(answer);
    return { text: found.text.push(text), reasoning: found.reasoning.push(reasoning) };
  },
  async finish({ answer, calls }) {
    const { redacted, text, reasoning } = restored(answer);
    answers.delete(answer);
    const whole = (call: string): string => {
      const restoring = redacted.restoring(true);
      const found = restoring.push(call) + restoring.finish();
      restoring.free();
      return found;
    };
    const rest = { text: text.finish(), reasoning: reasoning.finish(), calls: calls.map(whole) };
    for (const each of [text, reasoning, redacted]) each.free();
    return rest;
  },
};

function restored(answer: number): { redacted: Redacted; text: Restoring; reasoning: Restoring } {
  const found = answers.get(answer);
  if (!found) throw new HoneLMError("internal", `answer ${answer}: not one that is being written`);
  return found;
}

async function handle<C extends GatewayCall>(id: number, call: C, request: GatewayCalls[C]["request"]): Promise<void> {
  let message: FromGateway;
  try {
    message = { id, result: await does[call](request) };
  } catch (thrown) {
    const { code, message: text } = HoneLMError.from(thrown);
    message = { id, error: { code, message: text } };
  }
  self.postMessage(message);
}

// A rejection reaches the caller of `open`.
gateway.catch(() => {});
self.addEventListener("message", ({ data }: MessageEvent<ToGateway>) => void handle(data.id, data.call, data.request));
