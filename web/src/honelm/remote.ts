/** Models of a server: `honelm serve`, or any server with OpenAI's chat completions. */
import type { ChatFacts, ChatModel, ChatModelEntry } from "./chat";
import { AnswerReader } from "./remote-answer";
import { eventsOf } from "./remote-events";
import { type Answer, type AnswerEvent, type GenerationSettings, HoneLMError, type Message } from "./types";

/** The settings of a connection. */
export interface RemoteOptions {
  /** The address that `chat/completions` and `models` lie below, such as `http://127.0.0.1:8080/v1/`. */
  baseURL: string;
  /** The key that the server asks for. */
  apiKey?: string;
  /** The name of the model; by default the one that the server has loaded, else its first one. */
  model?: string;
}

/** A connection to a server. */
export class RemoteModel implements ChatModel {
  readonly place = "server";
  /** The address, which ends with a slash. */
  readonly baseURL: string;
  /** The name of the model that answers; null for the one that the server has loaded, else its first one. */
  model: string | null;
  #key: string | null;
  /** The place of the key in the session's storage, if it is kept there. */
  #kept: string | null = null;
  readonly #running = new Set<AbortController>();

  constructor({ baseURL, apiKey, model }: RemoteOptions) {
    this.baseURL = address(baseURL);
    this.#key = apiKey ?? null;
    this.model = model ?? null;
  }

  /** Connects to the server of this page, as `honelm serve` marks it; null if a server without models gave the page. */
  static ofPage(): RemoteModel | null {
    const base = pageServer();
    if (base === null) return null;
    const remote = new RemoteModel({ baseURL: base.content });
    remote.#kept = `honelm.key ${remote.baseURL}`;
    remote.#key = kept(remote.#kept);
    return remote;
  }

  /** The key; null if none is known. Setting it keeps it for this tab's session if the connection is to the page's own server. */
  get apiKey(): string | null {
    return this.#key;
  }

  set apiKey(key: string | null) {
    this.#key = key === "" ? null : key;
    if (this.#kept !== null) keep(this.#kept, this.#key);
  }

  /** True if the page's server asks for a key and none is known yet. */
  get needsKey(): boolean {
    return this.#kept !== null && this.#key === null && pageServer()?.dataset.key === "required";
  }

  async chat(messages: Message[], settings: GenerationSettings = {}, onEvent: (event: AnswerEvent) => void = () => {}): Promise<Answer> {
    let asked = messages;
    for (;;) {
      try {
        return await this.send(requestOf(asked, settings, settings.model ?? this.model), settings, onEvent);
      } catch (thrown) {
        const shorter = isTooLong(thrown) && settings.overflow === "shift" ? withoutOldest(asked) : undefined;
        if (shorter === undefined) throw thrown;
        asked = shorter;
      }
    }
  }

  abort(): void {
    for (const running of this.#running) running.abort();
  }

  close(): void {
    this.abort();
  }

  async models(): Promise<ChatModelEntry[]> {
    const list = await (await this.#fetch("models", {})).json().catch(() => undefined);
    if (!Array.isArray(list?.data)) throw new HoneLMError("invalid-response", `${this.baseURL}models: expected a list of models`);
    return (list.data as unknown[]).flatMap((entry) => entryOf(entry) ?? []);
  }

  async facts(): Promise<ChatFacts | null> {
    const models = await this.models();
    const chosen = this.model === null ? (models.find(({ loaded }) => loaded) ?? models[0]) : models.find(({ id }) => id === this.model);
    if (!chosen) return null;
    const { id, context, capabilities } = chosen;
    return { name: id, place: "server", context, device: new URL(this.baseURL).host, capabilities, generation: {} };
  }

  /**
   * Sends the body of a request as it is. Of `settings`, only the headers of a gateway count.
   * @internal
   */
  async send(body: Record<string, unknown>, settings: GenerationSettings, onEvent: (event: AnswerEvent) => void): Promise<Answer> {
    const running = new AbortController();
    this.#running.add(running);
    const reader = new AnswerReader(onEvent);
    try {
      const response = await this.#fetch("chat/completions", { method: "POST", body: JSON.stringify(body), signal: running.signal }, settings);
      if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream") || !response.body) {
        return reader.whole(await response.json().catch(() => undefined));
      }
      for await (const data of eventsOf(response.body)) {
        if (data === "[DONE]") return reader.answer();
        reader.add(data);
      }
      if (reader.isFinished) return reader.answer();
      throw new HoneLMError("unreachable", `${this.baseURL}: the connection broke off in the middle of the answer`);
    } catch (thrown) {
      if (running.signal.aborted) return reader.answer("cancelled");
      throw thrown instanceof HoneLMError ? thrown : unreachable(this.baseURL, thrown);
    } finally {
      this.#running.delete(running);
    }
  }

  /** Sends a request. Rejects for every status but success. */
  async #fetch(path: string, init: RequestInit, { policy, privacy }: GenerationSettings = {}): Promise<Response> {
    const headers: Record<string, string> = init.body === undefined ? {} : { "content-type": "application/json" };
    if (this.#key !== null) headers.authorization = `Bearer ${this.#key}`;
    if (policy !== undefined) headers["x-honelm-policy"] = policy;
    if (privacy !== undefined) headers["x-honelm-privacy"] = privacy;
    const url = this.baseURL + path;
    let response;
    try {
      // A key goes to this address alone.
      response = await fetch(url, { ...init, headers, redirect: "error", credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer" });
    } catch (thrown) {
      if (init.signal?.aborted) throw thrown;
      throw unreachable(this.baseURL, thrown);
    }
    if (response.ok) return response;
    throw await refused(url, response);
  }
}

/** Returns the mark of the page's server: the address of its API, and if it asks for a key. */
function pageServer(): HTMLMetaElement | null {
  if (typeof document === "undefined") return null;
  const mark = document.querySelector<HTMLMetaElement>('meta[name="honelm-server"]');
  return mark && mark.content !== "" ? mark : null;
}

/** Returns an address with a slash at the end. */
function address(text: string): string {
  let url;
  try {
    url = new URL(text, typeof document === "undefined" ? undefined : document.baseURI);
  } catch {
    throw new HoneLMError("invalid-url", `${text}: not a valid address`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new HoneLMError("invalid-url", `${text}: expected an address of http or https`);
  if (url.username !== "" || url.password !== "") throw new HoneLMError("invalid-url", "the address holds a password; give the key apart from it");
  url.search = url.hash = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url.href;
}

/**
 * Returns the body of a request in OpenAI's form. Settings that a request does not name stay the server's.
 * @internal
 */
export function requestOf(messages: Message[], settings: GenerationSettings, model: string | null): Record<string, unknown> {
  const { json_schema, logprobs, overflow, parse_special, begun, model: _, policy, privacy, ...same } = settings;
  return {
    ...same,
    ...(model === null ? {} : { model }),
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ...(logprobs === undefined ? {} : { logprobs: true, top_logprobs: logprobs }),
    ...(json_schema === undefined ? {} : { response_format: { type: "json_schema", json_schema: { name: "answer", schema: json_schema } } }),
  };
}

/** Returns the error of a response that is no success. */
async function refused(url: string, response: Response): Promise<HoneLMError> {
  const text = await response.text().catch(() => "");
  const { code, message } = problemOf(text);
  const said = message ?? (text.trimStart().startsWith("<") || text === "" ? response.statusText : text.slice(0, 300));
  if (response.status === 401) return new HoneLMError("unauthorized", said || "the server asks for a key");
  return new HoneLMError(code ?? `http-${response.status}`, message ?? `${url}: error ${response.status} ${said}`.trimEnd());
}

/** Reads the error object of OpenAI's API, and of servers with other ones. */
function problemOf(text: string): { code?: string; message?: string } {
  try {
    const { error, message } = JSON.parse(text) as { error?: unknown; message?: unknown };
    if (typeof error === "string") return { message: error };
    const found = (typeof error === "object" && error !== null ? error : { message }) as { code?: unknown; message?: unknown };
    return {
      ...(typeof found.code === "string" ? { code: found.code } : {}),
      ...(typeof found.message === "string" ? { message: found.message } : {}),
    };
  } catch {
    return {};
  }
}

function unreachable(base: string, thrown: unknown): HoneLMError {
  const foreign = typeof location !== "undefined" && new URL(base).origin !== location.origin;
  const hint = foreign ? `, or it does not allow this page (honelm serve --allow-origin ${location.origin})` : "";
  const cause = thrown instanceof Error && thrown.message !== "" ? ` (${thrown.message})` : "";
  return new HoneLMError("unreachable", `${base}: the server does not answer${hint}${cause}`);
}

function isTooLong(thrown: unknown): boolean {
  return thrown instanceof HoneLMError && thrown.code === "context_length_exceeded";
}

/** Returns a conversation without its oldest exchange; undefined if only the last question is left. */
function withoutOldest(messages: Message[]): Message[] | undefined {
  const start = messages.findIndex(({ role }) => role !== "system");
  const next = messages.findIndex(({ role }, i) => i > start && role === "user");
  return start < 0 || next < 0 ? undefined : [...messages.slice(0, start), ...messages.slice(next)];
}

/** Reads an entry of a list of models, with the fields that HoneLM's server adds. */
function entryOf(entry: unknown): ChatModelEntry | undefined {
  const { id, loaded, size_bytes, context_length, max_model_len, architecture, capabilities } = (entry ?? {}) as Record<string, unknown>;
  if (typeof id !== "string") return undefined;
  const number = (...values: unknown[]): number | null => values.find((value) => typeof value === "number") ?? null;
  return {
    id,
    loaded: typeof loaded === "boolean" ? loaded : null,
    bytes: number(size_bytes),
    context: number(context_length, max_model_len),
    architecture: typeof architecture === "string" ? architecture : null,
    capabilities: Array.isArray(capabilities) ? capabilities.filter((name) => typeof name === "string") : [],
  };
}

function kept(place: string): string | null {
  try {
    return sessionStorage.getItem(place);
  } catch {
    // Without storage, the key is asked for again.
    return null;
  }
}

function keep(place: string, key: string | null): void {
  try {
    if (key === null) sessionStorage.removeItem(place);
    else sessionStorage.setItem(place, key);
  } catch {
    // Without storage, the key is asked for again.
  }
}
