/** Requests of OpenAI's API as messages and settings of a model. */
import type { ChatFacts, ChatModel } from "./chat";
import type { ChatCompletionParams, ChatMessageParam, ContentPart } from "./openai-types";
import { type GenerationSettings, HoneLMError, type Message, type ToolCall } from "./types";

/** The types of content parts with text. */
const TEXTS = ["text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal"];

/** Returns the text of a message's content. */
export function textOf(content: string | ContentPart[] | null | undefined, place: string): string {
  if (content === null || content === undefined) return "";
  if (typeof content === "string") return content;
  const part = ({ type, text, refusal }: ContentPart, i: number): string => {
    if (!TEXTS.includes(type)) {
      throw new HoneLMError("invalid-argument", `${place}[${i}]: found a part of type "${type}", expected text: the model reads nothing else`);
    }
    return (type === "refusal" ? refusal : text) ?? "";
  };
  return content.map(part).join("\n");
}

/** Converts a conversation. */
export function messagesOf(params: ChatMessageParam[]): Message[] {
  return params.map((param, i) => {
    const { tool_call_id, reasoning_content } = param;
    const calls = (param.tool_calls ?? []).flatMap(({ id, function: called }): ToolCall[] =>
      called ? [{ id, type: "function", function: { name: called.name, arguments: called.arguments } }] : [],
    );
    return {
      role: roleOf(param.role),
      content: textOf(param.content, `messages[${i}].content`),
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
      ...(tool_call_id === undefined ? {} : { tool_call_id }),
      ...(reasoning_content === undefined ? {} : { reasoning_content }),
    };
  });
}

/** Converts a role: those of newer and older versions of the API have other names. */
export function roleOf(role: ChatMessageParam["role"]): Message["role"] {
  if (role === "developer") return "system";
  return role === "function" ? "tool" : role;
}

/** Converts the settings of a request. */
export function settingsOf(params: ChatCompletionParams, model: ChatModel, facts: ChatFacts | null): GenerationSettings {
  const { stop, tools, tool_choice, parallel_tool_calls, response_format, logprobs, top_logprobs } = params;
  const functions = tools?.filter(({ type }) => type === "function");
  return {
    ...defined({
      max_tokens: params.max_completion_tokens ?? params.max_tokens ?? endless(model, facts),
      temperature: params.temperature,
      top_p: params.top_p,
      top_k: params.top_k,
      min_p: params.min_p,
      repeat_penalty: params.repeat_penalty,
      frequency_penalty: params.frequency_penalty,
      presence_penalty: params.presence_penalty,
      logit_bias: params.logit_bias,
      seed: params.seed ?? anySeed(model),
      stop: typeof stop === "string" ? [stop] : stop,
      logprobs: logprobs ? (top_logprobs ?? 0) : undefined,
      tools: functions && functions.length > 0 ? functions : undefined,
      tool_choice,
      parallel_tool_calls,
      response_format,
      model: model.place === "server" ? params.model : undefined,
    }),
  };
}

/** Returns the settings that are given. */
export function defined<T extends object>(settings: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(given) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** Returns the limit of an answer without one: what the context holds. */
export function endless(model: ChatModel, facts: ChatFacts | null): number | undefined {
  return model.place === "tab" ? (facts?.context ?? undefined) : undefined;
}

/** Returns a new seed for a model in this tab, whose default is always the same. */
export function anySeed(model: ChatModel): number | undefined {
  return model.place === "tab" ? Math.floor(Math.random() * 2 ** 32) : undefined;
}
