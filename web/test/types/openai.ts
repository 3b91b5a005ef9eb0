// Compares the types of the client with those of the package `openai`. It is compiled and never run.
import type TheirOpenAI from "openai";
import { type ChatModel, HoneLM, OpenAI, RemoteModel, type openai } from "honelm-web";

/** Fails to compile unless `Ours` can be used where `Theirs` is expected. */
type Fits<Ours extends Theirs, Theirs> = Ours;

/** `false`, unless a type was not found. */
type IsAny<T> = 0 extends 1 & T ? true : false;
export const unknown: IsAny<openai.ChatCompletion | TheirOpenAI.Responses.Response | ChatModel> = false;

type Their = {
  completion: TheirOpenAI.Chat.Completions.ChatCompletion;
  chunk: TheirOpenAI.Chat.Completions.ChatCompletionChunk;
  params: TheirOpenAI.Chat.Completions.ChatCompletionCreateParams;
  response: TheirOpenAI.Responses.Response;
  event: TheirOpenAI.Responses.ResponseStreamEvent;
  embeddings: TheirOpenAI.CreateEmbeddingResponse;
  model: TheirOpenAI.Models.Model;
};

// Our results can be used as theirs.
export type Results = [
  Fits<openai.ChatCompletion, Their["completion"]>,
  Fits<openai.ChatCompletionChunk, Their["chunk"]>,
  Fits<openai.ResponseObject, Their["response"]>,
  Fits<openai.ResponseEvent, Their["event"]>,
  Fits<openai.CreateEmbeddingResponse, Their["embeddings"]>,
  Fits<openai.ModelEntry, Their["model"]>,
];

// We accept what they accept.
export type Requests = [
  Fits<Their["params"], openai.ChatCompletionParams>,
  Fits<TheirOpenAI.Chat.Completions.ChatCompletionMessageParam, openai.ChatMessageParam>,
];

export async function use(model: ChatModel): Promise<string[]> {
  const client = new OpenAI(model);
  const whole = await client.chat.completions.create({ messages: [{ role: "user", content: "Hi" }] });
  const stream = await client.chat.completions.create({ messages: [{ role: "user", content: "Hi" }], stream: true });
  const texts = [whole.choices[0]?.message.content ?? ""];
  for await (const chunk of stream) texts.push(chunk.choices[0]?.delta.content ?? "");
  const response = await client.responses.create({ input: "Hi" });
  for await (const event of await client.responses.create({ input: "Hi", stream: true })) {
    if (event.type === "response.output_text.delta") texts.push(event.delta);
  }
  const { data } = await client.embeddings.create({ input: ["a", "b"] });
  return [...texts, response.output_text, String(data[0]?.embedding[0])];
}

export const models: ChatModel[] = [new HoneLM(), new RemoteModel({ baseURL: "http://127.0.0.1:8080/v1" })];
