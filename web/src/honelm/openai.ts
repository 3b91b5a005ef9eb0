/**
 * A client in the shape of the package `openai`, for the model in this tab or one of a server.
 *
 * ```ts
 * const honelm = new HoneLM();
 * await honelm.load({ url: "models/pocket/" });
 * const client = new OpenAI(honelm);
 * const stream = await client.chat.completions.create({ messages: [{ role: "user", content: "Tell me a story." }], stream: true });
 * for await (const chunk of stream) show(chunk.choices[0]?.delta.content ?? "");
 * ```
 */
import type { ChatModel } from "./chat";
import { Completions } from "./openai-chat";
import { defined } from "./openai-request";
import { Responses } from "./openai-responses";
import { inTurn } from "./openai-stream";
import type { CreateEmbeddingResponse, EmbeddingParams, ModelEntry, RequestOptions } from "./openai-types";
import { type Embeddings, type EmbeddingSettings, HoneLMError } from "./types";

export type * from "./openai-types";
export type * from "./openai-responses-types";
export type { Completions } from "./openai-chat";
export type { Responses } from "./openai-responses";
export type { EventStream } from "./openai-stream";

/** A model that computes embeddings, as `HoneLM` does. */
interface Embedder {
  embed(texts: string[], settings?: EmbeddingSettings): Promise<Embeddings>;
}

/** The client of a model. */
export class OpenAI {
  readonly chat: { readonly completions: Completions };
  readonly responses: Responses;
  readonly embeddings: { create(params: EmbeddingParams, options?: RequestOptions): Promise<CreateEmbeddingResponse> };
  readonly models: { list(): Promise<{ object: "list"; data: ModelEntry[] }> };

  constructor(model: ChatModel) {
    this.chat = { completions: new Completions(model) };
    this.responses = new Responses(model);
    this.embeddings = { create: (params, options = {}) => embed(model, params, options) };
    this.models = { list: () => list(model) };
  }
}

async function embed(model: ChatModel, params: EmbeddingParams, { signal }: RequestOptions): Promise<CreateEmbeddingResponse> {
  const { input, dimensions } = params;
  const texts = typeof input === "string" ? [input] : input;
  if (!Array.isArray(texts) || texts.length === 0 || texts.some((text) => typeof text !== "string" || text === "")) {
    throw new HoneLMError("invalid-argument", "input: expected a text, or a list of texts, none of them empty");
  }
  if (!("embed" in model)) throw new HoneLMError("invalid-argument", "embeddings are computed by models in this tab alone");
  const facts = await model.facts();
  const { embeddings, tokens } = await inTurn(model, signal, () => (model as ChatModel & Embedder).embed(texts, defined({ dimensions })));
  return {
    object: "list",
    data: embeddings.map((embedding, index) => ({ object: "embedding", index, embedding })),
    model: facts?.name ?? "",
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

async function list(model: ChatModel): Promise<{ object: "list"; data: ModelEntry[] }> {
  const models = await model.models();
  return { object: "list", data: models.map(({ id }) => ({ id, object: "model", created: 0, owned_by: "honelm" })) };
}
