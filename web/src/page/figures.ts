/** The figures of an answer in words. */
import type { Figures } from "./conversation";
import { rate, seconds } from "./format";

/** Returns the figures of an answer in one line. */
export function figures(done: Figures): string {
  const parts: string[] = [];
  if (done.prompt_tokens !== null) {
    const cached = (done.cached_tokens ?? 0) > 0 ? ` (${done.cached_tokens} cached)` : "";
    const read = done.prefill_tokens_per_second === null ? "" : ` at ${rate(done.prefill_tokens_per_second)}`;
    parts.push(`prompt ${done.prompt_tokens} tokens${cached}${read}`);
  }
  if (done.completion_tokens !== null) {
    const written = done.decode_tokens_per_second === null ? "" : ` at ${rate(done.decode_tokens_per_second)}`;
    parts.push(`answer ${done.completion_tokens} tokens${written}`);
  }
  if (done.first_token_seconds !== null) parts.push(`first token after ${seconds(done.first_token_seconds)}`);
  return parts.join(" · ");
}
