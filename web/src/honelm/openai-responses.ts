/** `responses` of OpenAI's API. */
import type { ChatModel } from "./chat";
import { identifier, now } from "./openai-chat";
import { anySeed, defined, endless, roleOf, textOf } from "./openai-request";
import { ResponseWriter } from "./openai-responses-events";
import type {
  InputItem, OutputItem, ResponseEvent, ResponseObject, ResponseParams, ResponseTool, ResponseToolChoice, ResponseToolParam,
} from "./openai-responses-types";
import { EventStream, inTurn } from "./openai-stream";
import type { ContentPart, RequestOptions } from "./openai-types";
import { type GenerationSettings, HoneLMError, type Message, type ToolCall } from "./types";

/** The number of responses that later ones can follow. */
const KEPT = 100;

/** A request, ready for the model. */
interface Prepared {
  response: ResponseObject;
  /** The conversation without the system message of this request. */
  history: Message[];
  messages: Message[];
  settings: GenerationSettings;
  isKept: boolean;
}

/** The responses of a model. */
export class Responses {
  readonly #model: ChatModel;
  /** The conversation up to each response, the oldest first. */
  readonly #kept = new Map<string, Message[]>();

  constructor(model: ChatModel) {
    this.#model = model;
  }

  /** Responds to an input: at once, or as a stream of events. */
  create(params: ResponseParams & { stream: true }, options?: RequestOptions): Promise<EventStream<ResponseEvent>>;
  create(params: ResponseParams & { stream?: false | null }, options?: RequestOptions): Promise<ResponseObject>;
  create(params: ResponseParams, options?: RequestOptions): Promise<ResponseObject | EventStream<ResponseEvent>>;
  async create(params: ResponseParams, options: RequestOptions = {}): Promise<ResponseObject | EventStream<ResponseEvent>> {
    const prepared = await this.#prepare(params);
    if (params.stream === true) {
      const write = async (push: (event: ResponseEvent) => void, signal: AbortSignal): Promise<void> => {
        await this.#write(prepared, push, signal);
      };
      return EventStream.start(write, options.signal);
    }
    const response = await this.#write(prepared, () => {}, options.signal);
    if (options.signal?.aborted) throw new HoneLMError("interrupted", "the request was ended");
    return response;
  }

  async #prepare(params: ResponseParams): Promise<Prepared> {
    const facts = await this.#model.facts();
    const { instructions, previous_response_id: previous, temperature, top_p, parallel_tool_calls, metadata } = params;
    const history = [...this.#before(previous), ...messagesOf(params.input ?? [])];
    const system: Message[] = instructions ? [{ role: "system", content: instructions }] : [];
    const tools = (params.tools ?? []).filter(({ type }) => type === "function").map(toolOf);
    const choice = choiceOf(params.tool_choice);
    const response: ResponseObject = {
      id: identifier("resp_"),
      object: "response",
      created_at: now(),
      status: "in_progress",
      error: null,
      access_programs: null,
      incomplete_details: null,
      instructions: instructions ?? null,
      metadata: metadata ?? null,
      model: params.model ?? facts?.name ?? "",
      output: [],
      output_text: "",
      parallel_tool_calls: parallel_tool_calls ?? true,
      previous_response_id: previous ?? null,
      temperature: temperature ?? null,
      top_p: top_p ?? null,
      tool_choice: choice,
      tools,
    };
    const settings = defined({
      max_tokens: params.max_output_tokens ?? endless(this.#model, facts),
      temperature,
      top_p,
      seed: params.seed ?? anySeed(this.#model),
      logprobs: params.top_logprobs,
      tools: tools.length > 0 ? tools.map(({ type, ...called }) => ({ type, function: defined(called) })) : undefined,
      tool_choice: typeof choice === "string" ? choice : { type: "function", function: { name: choice.name } },
      parallel_tool_calls,
      response_format: formatOf(params),
      overflow: params.truncation === "auto" ? ("shift" as const) : undefined,
      model: this.#model.place === "server" ? params.model : undefined,
    });
    return { response, history, messages: [...system, ...history], settings, isKept: params.store !== false };
  }

  /** Returns the conversation up to a response. */
  #before(id: string | null | undefined): Message[] {
    if (id === null || id === undefined) return [];
    const found = this.#kept.get(id);
    if (!found) throw new HoneLMError("invalid-argument", `previous_response_id: found "${id}", expected one of the last ${KEPT} stored responses`);
    return found;
  }

  async #write(prepared: Prepared, push: (event: ResponseEvent) => void, signal: AbortSignal | null | undefined): Promise<ResponseObject> {
    const { history, messages, settings, isKept } = prepared;
    // The first events come when it is this request's turn, so that errors of the request come before them.
    let writer: ResponseWriter | undefined;
    const begun = (): ResponseWriter => (writer ??= new ResponseWriter(prepared.response, push));
    const answer = await inTurn(this.#model, signal, () => this.#model.chat(messages, settings, (event) => begun().hear(event)));
    const response = begun().end(answer);
    if (isKept) this.#keep(response.id, [...history, ...messagesOf(response.output as InputItem[])]);
    return response;
  }

  #keep(id: string, conversation: Message[]): void {
    this.#kept.set(id, conversation);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size > KEPT && !oldest.done) this.#kept.delete(oldest.value);
  }
}

/** Converts items to messages. Reasoning and calls become parts of the answer that they belong to. */
function messagesOf(input: string | (InputItem | OutputItem)[]): Message[] {
  if (typeof input === "string") return [{ role: "user", content: input }];
  const messages: Message[] = [];
  for (const [i, item] of (input as InputItem[]).entries()) {
    const place = `input[${i}]`;
    const before = messages.at(-1);
    switch (item.type ?? "message") {
      case "message":
        messages.push({ role: roleOf(item.role ?? "user"), content: textOf(item.content, `${place}.content`) });
        break;
      case "function_call": {
        const { call_id = "", name = "", arguments: text = "{}" } = item;
        const call: ToolCall = { id: call_id, type: "function", function: { name, arguments: text } };
        if (before?.role === "assistant") before.tool_calls = [...(before.tool_calls ?? []), call];
        else messages.push({ role: "assistant", content: "", tool_calls: [call] });
        break;
      }
      case "function_call_output": {
        const content = typeof item.output === "string" ? item.output : textOf(item.output as ContentPart[], `${place}.output`);
        messages.push({ role: "tool", content, tool_call_id: item.call_id ?? "" });
        break;
      }
      case "reasoning":
        break;
      default:
        throw new HoneLMError("invalid-argument", `${place}.type: found "${item.type}", expected message, function_call, function_call_output or reasoning`);
    }
  }
  return messages;
}

/** Reads a tool, whose name stands beside its type here. */
function toolOf({ name, description, parameters, strict }: ResponseToolParam, i: number): ResponseTool {
  if (name === undefined) throw new HoneLMError("invalid-argument", `tools[${i}].name: found nothing, expected the name of a function`);
  return { type: "function", name, description: description ?? null, parameters: parameters ?? null, strict: strict ?? null };
}

/** Reads the choice of a tool. */
function choiceOf(choice: unknown): ResponseToolChoice {
  if (choice === undefined || choice === null) return "auto";
  if (choice === "none" || choice === "auto" || choice === "required") return choice;
  const { type, name } = choice as { type?: unknown; name?: unknown };
  if (type === "function" && typeof name === "string") return { type, name };
  throw new HoneLMError("invalid-argument", 'tool_choice: expected "none", "auto", "required" or the name of a function');
}

/** Converts the form of the text: the schema stands beside the type here. */
function formatOf({ text }: ResponseParams): unknown {
  const format = text?.format;
  if (format?.type !== "json_schema") return format;
  return { type: "json_schema", json_schema: { name: format.name ?? "answer", schema: format.schema } };
}
