/** Messages between the page and the worker of the store. */
import type { DownloadProgress, StoredModel, StoreSource, StoreSpace, Verified } from "./types";

/** The calls of the worker: the request, and the result. */
export interface StoreCalls {
  list: { request: null; result: StoredModel[] };
  space: { request: null; result: StoreSpace };
  download: { request: StoreSource; result: StoredModel };
  verify: { request: { id: string }; result: Verified };
  rename: { request: { id: string; name: string }; result: null };
  delete: { request: { id: string }; result: null };
  export: { request: { id: string }; result: { name: string; blob: Blob } };
  import: { request: { files: File[] }; result: StoredModel };
  source: { request: { id: string }; result: { stored: string } | { files: File[]; name: string } };
}

export type StoreCall = keyof StoreCalls;

export type ToStore =
  | { [C in StoreCall]: { id: number; call: C; request: StoreCalls[C]["request"] } }[StoreCall]
  /** Ends the call with this id. */
  | { id: number; call: "abort" };

export type FromStore =
  | { id: number; progress: DownloadProgress }
  | { id: number; result: unknown }
  | { id: number; error: { code: string; message: string } };

/** The name of the channel that tells all tabs of changes. */
export const CHANGES = "honelm-store";
