/** Messages between the page and its worker. */
import type {
  Answer, AnswerEvent, Check, CheckSettings, DeviceState, Embeddings, EmbeddingSettings, GenerationSettings, LoadOptions, LoadProgress, Measurement, Memory, Message, ModelFacts, ModelPlan,
  PlanOptions, Probe, Sample, Source,
} from "./types";

/** The calls of the worker: the request, the events while it runs, and the result. */
export interface Calls {
  load: { request: { source: Source; options: LoadOptions & { trust: Record<string, unknown> } }; event: LoadProgress; result: ModelFacts };
  chat: { request: { messages: Message[]; settings: GenerationSettings }; event: AnswerEvent; result: Answer };
  complete: { request: { text: string; settings: GenerationSettings }; event: AnswerEvent; result: Answer };
  embed: { request: { texts: string[]; settings: EmbeddingSettings }; event: never; result: Embeddings };
  measure: {
    request: { prompt: string; tokens: number; adapter: string | null };
    event: Sample;
    result: Measurement;
  };
  check: { request: { text: string; settings: CheckSettings }; event: { done: number; total: number }; result: Check };
  memory: { request: Record<string, never>; event: never; result: Memory };
  plan: { request: { source: Source; options: PlanOptions; measure: boolean }; event: never; result: ModelPlan };
  probe: { request: { encoding: string; options: PlanOptions }; event: never; result: Probe };
  unload: { request: Record<string, never>; event: never; result: null };
}

export type Call = keyof Calls;

/** A message to the worker; `abort` ends what is running. */
export type ToWorker =
  | { [C in Call]: { id: number; call: C; request: Calls[C]["request"] } }[Call]
  | { call: "abort" };

/** A message from the worker. */
export type FromWorker =
  | { id: number; event: unknown }
  | { id: number; result: unknown }
  | { id: number; error: { code: string; message: string } }
  | { id: null; state: DeviceState }
  /** The worker cannot be used any more. */
  | { id: null; error: { code: string; message: string } };
