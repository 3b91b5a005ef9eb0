/** A conversation: a tree of messages, of which one branch is shown. Pure functions of data, which the archive keeps as it is. */
import type { Answer, GenerationSettings, Message, Route } from "../honelm";

/** The version of the form in which conversations are kept and exported. */
export const VERSION = 1;

/** A message, below the one that it follows. */
export interface Turn {
  id: string;
  parent: string | null;
  role: "user" | "assistant";
  content: string;
  /** The model's reasoning before its answer. */
  reasoning?: string;
  created: number;
  /** The name of the model that wrote it. */
  model?: string;
  /** The reason why an answer ended, unless the model ended it. */
  ended?: "length" | "context" | "cancelled" | "tool_calls";
  figures?: Figures;
  /** The route that a gateway chose. */
  route?: Route;
}

/** The figures of an answer, as the model reported them, and the number of characters that it answered. */
export type Figures = { prompt_characters: number } & Pick<
  Answer,
  "prompt_tokens" | "cached_tokens" | "completion_tokens" | "prefill_tokens_per_second" | "decode_tokens_per_second" | "first_token_seconds"
>;

export interface Conversation {
  version: typeof VERSION;
  id: string;
  title: string;
  created: number;
  updated: number;
  /** The system prompt; empty if there is none. */
  system: string;
  turns: Turn[];
  /** The last message of the branch that is shown. */
  leaf: string | null;
  /** The first message that the model still sees; null if it sees all. */
  first: string | null;
  /** True if the user has agreed that the oldest messages are left out when the context is full. */
  shift: boolean;
}

/** Creates an empty conversation. */
export function begin(system: string, now = Date.now()): Conversation {
  return { version: VERSION, id: crypto.randomUUID(), title: "", created: now, updated: now, system, turns: [], leaf: null, first: null, shift: false };
}

/** Adds a message below another (by default the last one shown), and shows it. */
export function add(talk: Conversation, turn: Omit<Turn, "id" | "parent" | "created">, parent = talk.leaf): Turn {
  const now = Date.now();
  const made: Turn = { id: crypto.randomUUID(), parent, created: now, ...turn };
  talk.turns.push(made);
  talk.leaf = made.id;
  talk.updated = now;
  if (talk.title === "" && turn.role === "user") talk.title = titleOf(turn.content);
  return made;
}

/** Returns the branch that is shown, from its first message. */
export function branch(talk: Conversation, leaf = talk.leaf): Turn[] {
  const byId = new Map(talk.turns.map((turn) => [turn.id, turn]));
  const found: Turn[] = [];
  for (let turn = leaf === null ? undefined : byId.get(leaf); turn; turn = turn.parent === null ? undefined : byId.get(turn.parent)) {
    found.push(turn);
    // An imported file may have a circle.
    if (found.length > talk.turns.length) break;
  }
  return found.reverse();
}

/** Returns the versions of a message: those that follow the same one. */
export function versions(talk: Conversation, turn: Turn): Turn[] {
  return talk.turns.filter(({ parent, role }) => parent === turn.parent && role === turn.role);
}

/** Shows the branch through a message, down to its newest end. */
export function choose(talk: Conversation, turn: Turn): void {
  let last = turn;
  for (;;) {
    const next = talk.turns.filter(({ parent }) => parent === last.id).at(-1);
    if (!next) break;
    last = next;
  }
  talk.leaf = last.id;
}

/** Removes a message and all below it, and shows what it followed. */
export function remove(talk: Conversation, turn: Turn): void {
  const gone = new Set([turn.id]);
  // A message follows its parent in the list.
  for (const { id, parent } of talk.turns) if (parent !== null && gone.has(parent)) gone.add(id);
  talk.turns = talk.turns.filter(({ id }) => !gone.has(id));
  talk.leaf = turn.parent;
  if (talk.turns.length === 0) talk.title = "";
}

/** Returns the messages for the model: the system prompt and the branch, without what was left out. */
export function messages(talk: Conversation, turns = seen(talk)): Message[] {
  const system: Message[] = talk.system.trim() === "" ? [] : [{ role: "system", content: talk.system }];
  return [...system, ...turns.map(({ role, content, reasoning }): Message => ({
    role, content, ...(reasoning === undefined || role === "user" ? {} : { reasoning_content: reasoning }),
  }))];
}

/** Returns the messages of the branch that the model sees. */
export function seen(talk: Conversation, turns = branch(talk)): Turn[] {
  const first = turns.findIndex(({ id }) => id === talk.first);
  return first > 0 ? turns.slice(first) : turns;
}

/**
 * Leaves out the oldest question with its answers. Returns false if only the newest question is left.
 */
export function leaveOut(talk: Conversation): boolean {
  const turns = seen(talk);
  const next = turns.findIndex(({ role }, i) => i > 0 && role === "user");
  const kept = turns[next];
  if (!kept) return false;
  talk.first = kept.id;
  return true;
}

/** The part of the context that an answer needs at least, unless fewer tokens are asked for. */
const RESERVE = 1 / 8;

/** Estimates the tokens of the next prompt from the last answer's own counts. Returns null before the first answer. */
export function promptTokens(talk: Conversation): number | null {
  const counted = branch(talk).findLast(({ figures }) => figures !== undefined && figures.prompt_characters > 0);
  const { prompt_tokens = null, completion_tokens = null, prompt_characters = 0 } = counted?.figures ?? {};
  if (!counted || prompt_tokens === null || completion_tokens === null) return null;
  const rate = (prompt_tokens + completion_tokens) / (prompt_characters + characters([counted]));
  return Math.ceil(rate * characters(messages(talk)));
}

/** Counts the characters of messages. */
export function characters(list: { content: string; reasoning?: string; reasoning_content?: string }[]): number {
  return list.reduce((sum, { content, reasoning, reasoning_content }) => sum + content.length + (reasoning ?? reasoning_content ?? "").length, 0);
}

/** Returns true if the next answer would have less room than it needs. */
export function isFull(talk: Conversation, context: number, settings: GenerationSettings): boolean {
  const prompt = promptTokens(talk);
  if (prompt === null || seen(talk).length < 2) return false;
  const reserve = Math.min(settings.max_tokens ?? Number.POSITIVE_INFINITY, Math.floor(context * RESERVE));
  return prompt + reserve > context;
}

/** Returns true if the title or a message has the words. */
export function matches(talk: Conversation, words: string): boolean {
  const wanted = words.toLocaleLowerCase().split(/\s+/).filter((word) => word !== "");
  const text = [talk.title, ...talk.turns.map(({ content }) => content)].join("\n").toLocaleLowerCase();
  return wanted.every((word) => text.includes(word));
}

function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line;
}
