/** The events of a stream (`text/event-stream`, WHATWG HTML 9.2.6), from bytes that are split anywhere. */
import { HoneLMError } from "./types";

/** The longest event, in characters. */
const LONGEST = 1 << 24;

/** Yields the data of each event. Comments and fields other than `data` are left out. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      yield* parser.add(done ? decoder.decode() : decoder.decode(value, { stream: true }));
      if (done) {
        // An event that no empty line ended is complete for servers that forget it.
        yield* parser.add("\n\n");
        return;
      }
    }
  } finally {
    // A stream that broke off cannot be cancelled, and needs not be.
    await reader.cancel().catch(() => {});
  }
}

/** Collects lines into events. */
export class EventParser {
  /** The text after the last complete line. */
  #rest = "";
  #data: string[] = [];
  #length = 0;

  /** Adds text, and returns the data of the events that it completes. */
  add(text: string): string[] {
    const events: string[] = [];
    this.#rest += text;
    let start = 0;
    for (;;) {
      const end = lineEnd(this.#rest, start);
      if (end === undefined) break;
      const data = this.#line(this.#rest.slice(start, end.at));
      if (data !== undefined) events.push(data);
      start = end.next;
    }
    this.#rest = this.#rest.slice(start);
    if (this.#rest.length + this.#length > LONGEST) throw new HoneLMError("invalid-response", `found an event of more than ${LONGEST} characters`);
    return events;
  }

  /** Reads a line; an empty one ends an event. */
  #line(line: string): string | undefined {
    if (line === "") {
      const data = this.#data.length > 0 ? this.#data.join("\n") : undefined;
      this.#data = [];
      this.#length = 0;
      return data;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    if (field !== "data") return undefined;
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    this.#data.push(value);
    this.#length += value.length;
    return undefined;
  }
}

/** Finds the end of the line that begins at `start`: `\n`, `\r\n` or `\r`. A `\r` at the end of the text may be half of `\r\n`. */
function lineEnd(text: string, start: number): { at: number; next: number } | undefined {
  for (let at = start; at < text.length; at++) {
    const c = text[at];
    if (c === "\n") return { at, next: at + 1 };
    if (c !== "\r") continue;
    if (at + 1 === text.length) return undefined;
    return { at, next: text[at + 1] === "\n" ? at + 2 : at + 1 };
  }
  return undefined;
}
