/** Conversations as files: JSON that this page reads again, and Markdown for people. */
import { branch, type Conversation, type Turn, VERSION } from "./conversation";

/** The longest file that is read, in bytes. */
const LIMIT = 64 << 20;
const FORMAT = "honelm-conversations";

/** An error of a file, with what to do. */
export class TransferError extends Error {}

/** Writes conversations as JSON. */
export function toJson(conversations: Conversation[]): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, exported: new Date().toISOString(), conversations }, undefined, 2);
}

/** Writes the shown branch of a conversation as Markdown. */
export function toMarkdown(talk: Conversation): string {
  const parts = [`# ${talk.title || "Conversation"}`];
  if (talk.system.trim() !== "") parts.push(`> ${talk.system.trim().replaceAll("\n", "\n> ")}`);
  for (const { role, model, content } of branch(talk)) {
    parts.push(`## ${role === "user" ? "You" : (model ?? "Assistant")}`, content.trim());
  }
  return `${parts.join("\n\n")}\n`;
}

/** Reads a file with conversations. Each gets a new identifier, so that nothing is overwritten. */
export async function fromFile(file: File): Promise<Conversation[]> {
  if (file.size > LIMIT) throw new TransferError(`${file.name}: found ${file.size} bytes, expected at most ${LIMIT}`);
  return fromJson(file.name, await file.text());
}

/** Reads the text of a file with conversations. */
export function fromJson(name: string, text: string): Conversation[] {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    throw new TransferError(`${name}: is not JSON; choose a file that this page has exported as JSON`);
  }
  const document = fields(name, read);
  if (document.format !== FORMAT) {
    throw new TransferError(`${name}: format: found ${show(document.format)}, expected "${FORMAT}"; choose a file that this page has exported as JSON`);
  }
  if (document.version !== VERSION) {
    throw new TransferError(`${name}: version: found ${show(document.version)}, this page reads version ${VERSION}; export it again, or update this page`);
  }
  if (!Array.isArray(document.conversations)) throw wrong(name, "conversations", document.conversations, "a list");
  return document.conversations.map((each, i) => conversation(`${name}: conversations[${i}]`, each));
}

function conversation(place: string, read: unknown): Conversation {
  const talk = fields(place, read);
  if (talk.version !== VERSION) throw wrong(place, "version", talk.version, String(VERSION));
  if (!Array.isArray(talk.turns)) throw wrong(place, "turns", talk.turns, "a list");
  const known = new Set<string>();
  const turns = talk.turns.map((each, i) => {
    const made = turn(`${place}.turns[${i}]`, each);
    if (known.has(made.id)) throw wrong(`${place}.turns[${i}]`, "id", made.id, "an identifier that no other message has");
    if (made.parent !== null && !known.has(made.parent)) throw wrong(`${place}.turns[${i}]`, "parent", made.parent, "an earlier message");
    known.add(made.id);
    return made;
  });
  const reference = (name: "leaf" | "first"): string | null => {
    const id = talk[name];
    if (id === null || (typeof id === "string" && known.has(id))) return id;
    throw wrong(place, name, id, "null or the identifier of a message");
  };
  return {
    version: VERSION, id: crypto.randomUUID(), turns, leaf: reference("leaf"), first: reference("first"),
    title: string(place, "title", talk.title), system: string(place, "system", talk.system),
    created: time(place, "created", talk.created), updated: time(place, "updated", talk.updated),
    shift: talk.shift === true,
  };
}

function turn(place: string, read: unknown): Turn {
  const found = fields(place, read);
  const { role, parent, ended, figures, reasoning, model } = found;
  if (role !== "user" && role !== "assistant") throw wrong(place, "role", role, `"user" or "assistant"`);
  if (parent !== null && typeof parent !== "string") throw wrong(place, "parent", parent, "null or a text");
  const why = (["length", "context", "cancelled", "tool_calls"] as const).find((name) => name === ended);
  return {
    id: string(place, "id", found.id), parent, role,
    content: string(place, "content", found.content),
    created: time(place, "created", found.created),
    ...(reasoning === undefined ? {} : { reasoning: string(place, "reasoning", reasoning) }),
    ...(model === undefined ? {} : { model: string(place, "model", model) }),
    ...(why === undefined ? {} : { ended: why }),
    ...(figures === undefined ? {} : { figures: measured(`${place}.figures`, figures) }),
  };
}

function measured(place: string, read: unknown): NonNullable<Turn["figures"]> {
  const found = fields(place, read);
  const rate = (name: string): number | null => {
    const value = found[name];
    if (value === null || (typeof value === "number" && value >= 0)) return value;
    throw wrong(place, name, value, "null or a number");
  };
  return {
    prompt_characters: rate("prompt_characters") ?? 0, prompt_tokens: rate("prompt_tokens"), cached_tokens: rate("cached_tokens"),
    completion_tokens: rate("completion_tokens"), prefill_tokens_per_second: rate("prefill_tokens_per_second"),
    decode_tokens_per_second: rate("decode_tokens_per_second"), first_token_seconds: rate("first_token_seconds"),
  };
}

function fields(place: string, read: unknown): Record<string, unknown> {
  if (typeof read === "object" && read !== null && !Array.isArray(read)) return { ...read };
  throw new TransferError(`${place}: found ${show(read)}, expected an object`);
}

function string(place: string, name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw wrong(place, name, value, "a text");
}

function time(place: string, name: string, value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw wrong(place, name, value, "a time in milliseconds");
}

function wrong(place: string, name: string, value: unknown, expected: string): TransferError {
  return new TransferError(`${place}: ${name}: found ${show(value)}, expected ${expected}`);
}

/** Shows a found value, shortened. */
function show(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 37)}…` : text;
}
