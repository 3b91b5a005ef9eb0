/** A model in this tab, with a server for the questions that it answers better. */
import type { ChatFacts, ChatModel, ChatModelEntry, Route, Sent } from "./chat";
import type { Decision, Gateway, Policy, Privacy, Redacted, Replacement } from "./gateway";
import { type RemoteModel, requestOf } from "./remote";
import { type Answer, type AnswerEvent, type GenerationSettings, HoneLMError, type Message } from "./types";

/** The settings of a `HybridModel`. */
export interface HybridOptions {
  /** By default `auto`: where the estimator says. */
  policy?: Policy;
  /** By default `masked`. */
  privacy?: Privacy;
  /** By default `surrogate`. */
  replacement?: Replacement;
  /** The share of questions that the policy `auto` keeps in the tab; by default `75%`. */
  keepLocal?: string;
  /** The context of the server's model in tokens, if it is known. */
  serverContext?: number | null;
}

/** The times in milliseconds after which a server counts as silent: before the first piece of an answer, and between two. */
const SILENCE = { first: 30_000, between: 15_000 };
/** The tokens per character of text until the model in the tab has counted some. */
const RATE = 0.3;
/** The part of the context that an answer needs at least. */
const RESERVE = 1 / 8;
/** The settings that only the model in the tab can apply, since they are about its tokens. */
const ONLY_LOCAL = ["ignore_eos", "logit_bias", "parse_special"] as const;
/** The settings that OpenAI's API does not have. */
const FOREIGN = ["top_k", "min_p", "repeat_penalty", "stream", ...ONLY_LOCAL] as const;

type OnEvent = (event: AnswerEvent) => void;

/** The part of an answer that was heard before its server failed. */
class Broken extends Error {
  constructor(readonly reason: HoneLMError, readonly heard: string, readonly sent: Sent, readonly counts: Record<string, number>) {
    super(reason.message);
  }
}

/**
 * A model in this tab, with a server for the questions that it answers better. Each answer's `route` says where it was written, why, and what
 * left. If the server fails, the model in the tab goes on from what was received.
 *
 * Rejects as the model in the tab does; a failure of the server is no error as long as that one can answer.
 */
export class HybridModel implements ChatModel {
  readonly place = "tab";
  readonly #local: ChatModel;
  readonly #remote: RemoteModel;
  readonly #gateway: Gateway;
  readonly #options: HybridOptions;
  #rate = RATE;
  /** True once the answer that is being written was stopped. */
  #stopped = false;

  constructor(local: ChatModel, remote: RemoteModel, gateway: Gateway, options: HybridOptions = {}) {
    this.#local = local;
    this.#remote = remote;
    this.#gateway = gateway;
    this.#options = options;
  }

  async chat(messages: Message[], settings: GenerationSettings = {}, onEvent: OnEvent = () => {}): Promise<Answer> {
    this.#stopped = false;
    let decision: Decision;
    try {
      decision = await this.#decide(messages, settings, true);
    } catch (thrown) {
      // Without the gateway nothing may leave.
      const { message } = HoneLMError.from(thrown);
      return await this.#here(messages, settings, onEvent, { ...HERE, reason: "gateway-failed", detail: `the gateway failed: ${message}`, degraded: true });
    }
    if (decision.route === "refused") throw refused(decision);
    if (decision.route === "local") return await this.#here(messages, settings, onEvent, routeOf(decision));
    if (!navigator.onLine) {
      return await this.#here(messages, settings, onEvent, { ...HERE, reason: "offline", detail: "there is no connection", degraded: true, upstream: this.#host });
    }
    let redacted: Redacted | null;
    const body = this.#body(messages, settings);
    try {
      redacted = await this.#redacted(body, settings);
    } catch (thrown) {
      const kept = await this.#decide(messages, settings, false);
      if (kept.route === "refused") throw refused(kept);
      return await this.#here(messages, settings, onEvent, { ...routeOf(kept), detail: `${kept.detail} (${HoneLMError.from(thrown).message})` });
    }
    try {
      return await this.#there(redacted, body, settings, onEvent, decision);
    } catch (thrown) {
      if (!(thrown instanceof Broken)) throw thrown;
      return await this.#goOn(messages, settings, onEvent, thrown);
    }
  }

  abort(): void {
    this.#stopped = true;
    this.#remote.abort();
    this.#local.abort();
  }

  close(): void {
    this.#remote.close();
    this.#local.close();
    this.#gateway.close();
  }

  facts(): Promise<ChatFacts | null> {
    return this.#local.facts();
  }

  models(): Promise<ChatModelEntry[]> {
    return this.#local.models();
  }

  async #decide(messages: Message[], settings: GenerationSettings, masked: boolean): Promise<Decision> {
    const context = (await this.#local.facts())?.context ?? Number.MAX_SAFE_INTEGER;
    const own = ONLY_LOCAL.some((name) => settings[name] !== undefined && settings[name] !== false);
    const { policy = "auto", keepLocal = "75%", serverContext = null } = this.#options;
    return await this.#gateway.call("decide", {
      policy: own ? "local-only" : (settings.policy ?? policy),
      privacy: this.#privacy(settings),
      keep_local: keepLocal,
      local_context: context, server_context: serverContext,
      prompt_tokens: Math.ceil(this.#rate * characters(messages)),
      answer_tokens: Math.min(settings.max_tokens ?? Number.POSITIVE_INFINITY, Math.floor(context * RESERVE)),
      needs_tools: Array.isArray(settings.tools) && settings.tools.length > 0,
      is_masked: masked, now: performance.now(), messages,
    });
  }

  /** Returns the stricter of the classes of the model and of a request. */
  #privacy({ privacy: asked = "open" }: GenerationSettings): Privacy {
    const { privacy = "masked" } = this.#options;
    return CLASSES.indexOf(privacy) > CLASSES.indexOf(asked) ? privacy : asked;
  }

  /** Returns the body for the server. The model's reasoning stays here. */
  #body(messages: Message[], settings: GenerationSettings): Record<string, unknown> {
    const asked = messages.map(({ reasoning_content: _, ...message }) => message);
    const known = { ...settings };
    for (const name of FOREIGN) delete known[name];
    return requestOf(asked, known, this.#remote.model);
  }

  /** Replaces the private data of a body; null if it may leave as it is. */
  async #redacted(body: Record<string, unknown>, settings: GenerationSettings): Promise<Redacted | null> {
    const { replacement = "surrogate" } = this.#options;
    if (this.#privacy(settings) === "open") return null;
    const { type } = (body.response_format ?? {}) as { type?: unknown };
    return await this.#gateway.call("redact", { body, replacement, json: type !== undefined && type !== "text" });
  }

  /** Lets the model in the tab answer. */
  async #here(messages: Message[], settings: GenerationSettings, onEvent: OnEvent, route: Route): Promise<Answer> {
    if (this.#stopped) return { ...STOPPED, text: settings.begun ?? "", route };
    const { policy: _, privacy: __, ...known } = settings;
    const answer = await this.#local.chat(messages, { seed: Math.floor(Math.random() * 2 ** 32), ...known }, onEvent);
    if (answer.prompt_tokens !== null && settings.begun === undefined) this.#rate = answer.prompt_tokens / Math.max(1, characters(messages));
    return { ...answer, route };
  }

  /** Lets the server answer. */
  async #there(
    redacted: Redacted | null, open: Record<string, unknown>, settings: GenerationSettings, onEvent: OnEvent, decision: Decision,
  ): Promise<Answer> {
    if (this.#stopped) return { ...STOPPED, route: routeOf(decision) };
    const body = redacted?.body ?? open;
    const sent: Sent = { bytes: new TextEncoder().encode(JSON.stringify(body)).length, messages: body.messages as Message[], values: redacted?.values ?? [] };
    const back = new Back(this.#gateway, redacted, onEvent);
    const route: Route = { ...HERE, route: "cloud", reason: decision.reason, detail: decision.detail, upstream: this.#host, replaced: redacted?.counts ?? {}, sent };
    await this.#gateway.call("heard", { event: "sent", now: performance.now() });
    const silence = new Silence(() => this.#remote.abort());
    let answer: Answer;
    let rest: string[];
    try {
      answer = await this.#remote.send(body, settings, (event) => {
        silence.heard();
        back.push(event);
      });
      if (silence.isOver && !this.#stopped) throw new HoneLMError("unreachable", `${this.#host}: the server fell silent`);
      rest = await back.finish((answer.tool_calls ?? []).map((call) => call.function.arguments));
    } catch (thrown) {
      const heard = await back.broken();
      // A gateway that was closed meanwhile learns nothing.
      await this.#gateway.call("heard", { event: "failed", now: performance.now() }).catch(() => {});
      throw new Broken(HoneLMError.from(thrown), heard, sent, redacted?.counts ?? {});
    } finally {
      silence.end();
    }
    await this.#gateway.call("heard", { event: "succeeded", now: performance.now() }).catch(() => {});
    const calls = answer.tool_calls?.map((call, i) => ({ ...call, function: { ...call.function, arguments: rest[i] ?? call.function.arguments } }));
    if (calls) onEvent({ calls: calls.map((call, index) => ({ index, id: call.id, name: call.function.name, arguments: call.function.arguments })) });
    return {
      ...answer, text: back.text, ...(back.reasoning === "" ? {} : { reasoning_content: back.reasoning }), ...(calls ? { tool_calls: calls } : {}),
      route: { ...route, model: answer.model ?? null },
    };
  }

  /** Lets the model in the tab finish an answer that the server broke off, from what was received. */
  async #goOn(messages: Message[], settings: GenerationSettings, onEvent: OnEvent, { reason, heard, sent, counts }: Broken): Promise<Answer> {
    const route: Route = {
      ...HERE, reason: "upstream-failed", degraded: true, continued: heard !== "", upstream: this.#host, replaced: counts, sent,
      detail: `${heard === "" ? "the server did not answer" : "the server broke off"}: ${reason.message}`,
    };
    if (heard === "") return await this.#here(messages, settings, onEvent, route);
    // A model writes the space before a word with the word.
    const begun = heard.endsWith(" ") ? heard.slice(0, -1) : heard;
    let skips = begun.length < heard.length;
    const left = settings.max_tokens === undefined ? {} : { max_tokens: Math.max(1, settings.max_tokens - Math.ceil(this.#rate * begun.length)) };
    const answer = await this.#here(messages, { ...settings, ...left, begun }, (event) => {
      const text = skips && event.text?.startsWith(" ") ? event.text.slice(1) : event.text;
      if (event.text) skips = false;
      onEvent(text === undefined ? event : { ...event, text });
    }, route);
    if (this.#stopped && answer.token_ids.length === 0) return { ...answer, text: heard };
    const rest = begun.length < heard.length && answer.text.startsWith(" ") ? answer.text.slice(1) : answer.text;
    return { ...answer, text: heard + rest };
  }

  get #host(): string {
    return new URL(this.#remote.baseURL).host;
  }
}

const CLASSES: Privacy[] = ["open", "masked", "private"];

/** The route of an answer of the model in the tab. */
const HERE: Route = {
  route: "local", reason: "", detail: "", degraded: false, continued: false, upstream: null, cost: 0, saved: 0, currency: "", replaced: {}, model: null, tab: true,
};

/** An answer that was stopped before anything of it was written. */
const STOPPED: Answer = {
  text: "", token_ids: [], finish_reason: "cancelled", prompt_tokens: null, cached_tokens: null, completion_tokens: null,
  prefill_tokens_per_second: null, decode_tokens_per_second: null, first_token_seconds: null,
};

function routeOf({ reason, detail, degraded }: Decision): Route {
  return { ...HERE, reason, detail, degraded };
}

function refused({ reason, detail }: Decision): HoneLMError {
  return new HoneLMError(reason === "too-long" ? "prompt-too-long" : "no-route", `no place can answer: ${detail}`);
}

function characters(messages: Message[]): number {
  return messages.reduce((sum, { content, reasoning_content }) => sum + content.length + (reasoning_content ?? "").length, 0);
}

/** The way back of an answer: surrogates become values, and each piece is told once it is certain. */
class Back {
  readonly #gateway: Gateway;
  readonly #redacted: Redacted | null;
  readonly #tell: OnEvent;
  text = "";
  reasoning = "";

  constructor(gateway: Gateway, redacted: Redacted | null, tell: OnEvent) {
    this.#gateway = gateway;
    this.#redacted = redacted;
    this.#tell = tell;
  }

  /** Takes an event of the server. Calls are told when all of them are complete; log-probabilities would be those of surrogates. */
  push({ text = "", reasoning = "", route }: AnswerEvent): void {
    if (route) this.#tell({ route });
    if (text === "" && reasoning === "") return;
    if (!this.#redacted) return this.#told({ text, reasoning });
    // Results arrive in the order of the calls, so that `finish` is the last. A worker that ended makes it fail too.
    this.#gateway.call("push", { answer: this.#redacted.answer, text, reasoning }).then((found) => this.#told(found), () => {});
  }

  /** Ends the answer, and returns the restored arguments of its calls. */
  async finish(calls: string[]): Promise<string[]> {
    if (!this.#redacted) return calls;
    const found = await this.#gateway.call("finish", { answer: this.#redacted.answer, calls });
    this.#told(found);
    return found.calls;
  }

  /** Ends an answer that broke off, and returns its text. */
  async broken(): Promise<string> {
    // The beginning of a surrogate is told as it is: it is no private value.
    await this.finish([]).catch(() => {});
    return this.text;
  }

  #told({ text, reasoning }: { text: string; reasoning: string }): void {
    this.text += text;
    this.reasoning += reasoning;
    if (text !== "" || reasoning !== "") this.#tell({ ...(text === "" ? {} : { text }), ...(reasoning === "" ? {} : { reasoning }) });
  }
}

/** Calls `over` if a server says nothing for too long. */
class Silence {
  readonly #over: () => void;
  #timer: ReturnType<typeof setTimeout>;
  isOver = false;

  constructor(over: () => void) {
    this.#over = over;
    this.#timer = this.#wait(SILENCE.first);
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#wait(SILENCE.between);
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  #wait(milliseconds: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      this.isOver = true;
      this.#over();
    }, milliseconds);
  }
}
