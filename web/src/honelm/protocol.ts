/** Messages between the page and its worker. */
import type {
  Answer, AnswerEvent, Check, CheckSettings, GenerationSettings, LoadOptions, LoadProgress, Measurement, Memory, Message, ModelFacts, Sample,
  Source,
} from "./types";

/** What can be asked of the worker, with what it tells meanwhile and gives at the end. */
export interface Calls {
  load: { request: { source: Source; options: LoadOptions & { trust: Record<string, unknown> } }; event: LoadProgress; result: ModelFacts };
  chat: { request: { messages: Message[]; settings: GenerationSettings }; event: AnswerEvent; result: Answer };
  complete: { request: { text: string; settings: GenerationSettings }; event: AnswerEvent; result: Answer };
  measure: {
    request: { prompt: string; tokens: number; adapter: string | null };
    event: Sample;
    result: Measurement;
  };
  check: { request: { text: string; settings: CheckSettings }; event: { done: number; total: number }; result: Check };
  memory: { request: Record<string, never>; event: never; result: Memory };
  unload: { request: Record<string, never>; event: never; result: null };
}

export type Call = keyof Calls;

/** A call on its way to the worker; `abort` ends what is running. */
export type ToWorker =
  | { [C in Call]: { id: number; call: C; request: Calls[C]["request"] } }[Call]
  | { call: "abort" };

/** What comes back. */
export type FromWorker =
  | { id: number; event: unknown }
  | { id: number; result: unknown }
  | { id: number; error: { code: string; message: string } }
  /** The worker cannot go on. */
  | { id: null; error: { code: string; message: string } };
