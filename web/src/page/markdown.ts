/**
 * Markdown as elements. The text is only split into tokens; each becomes an element of this list with its texts as text nodes, so no text
 * is ever read as HTML. Images are not loaded: they become links. Links lead to http, https and mailto alone.
 */
import { lexer, type MarkedToken, type Token } from "marked";
import { h, icon } from "./dom";

/** The schemes of links. */
const SCHEMES = ["http:", "https:", "mailto:"];

/** A text that grows, with the elements of its finished blocks kept. */
export class Rendered {
  readonly #place: HTMLElement;
  #blocks: string[] = [];
  /** The targets of references, which change the blocks that use them. */
  #targets = "";

  constructor(place: HTMLElement) {
    this.#place = place;
  }

  /** Shows a text; only blocks that differ from those shown are made again. */
  show(text: string): void {
    const list = lexer(text);
    const targets = JSON.stringify(list.links);
    if (targets !== this.#targets) this.#blocks = [];
    this.#targets = targets;
    const tokens = list.filter(({ type }) => type !== "space" && type !== "def");
    const same = this.#blocks.findIndex((raw, i) => tokens[i]?.raw !== raw);
    const kept = Math.min(same < 0 ? this.#blocks.length : same, tokens.length);
    while (this.#place.childNodes.length > kept) this.#place.lastChild?.remove();
    this.#place.append(...tokens.slice(kept).map(block));
    this.#blocks = tokens.map(({ raw }) => raw);
  }
}

/** Returns the element of a block; always exactly one, so that blocks and elements correspond. */
function block(given: Token): HTMLElement {
  const token = given as MarkedToken;
  switch (token.type) {
    case "heading":
      // The page's own headings come first.
      return h(`h${Math.min(6, token.depth + 2)}` as "h3", {}, ...inline(token.tokens));
    case "paragraph":
      return h("p", {}, ...inline(token.tokens));
    case "code":
      return code(token.text, token.lang ?? "");
    case "blockquote":
      return h("blockquote", {}, ...blocks(token.tokens));
    case "hr":
      return h("hr");
    case "list": {
      const start = token.ordered && typeof token.start === "number" && token.start !== 1 ? token.start : undefined;
      const items = token.items.map((item) => h("li", {}, ...(item.task ? [item.checked ? "☑ " : "☐ "] : []), ...blocks(item.tokens, !item.loose)));
      return h(token.ordered ? "ol" : "ul", { start }, ...items);
    }
    case "table": {
      const cell = (name: "th" | "td") => ({ tokens, align }: { tokens: Token[]; align: string | null }): HTMLElement =>
        h(name, { class: align === null ? undefined : `to-${align}` }, ...inline(tokens));
      const head = h("thead", {}, h("tr", {}, ...token.header.map(cell("th"))));
      const body = h("tbody", {}, ...token.rows.map((row) => h("tr", {}, ...row.map(cell("td")))));
      return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" }, h("table", {}, head, body));
    }
    default:
      return h("p", {}, ...inline([given]));
  }
}

function blocks(tokens: Token[], tight = false): Node[] {
  return tokens.flatMap((token) => {
    if (token.type === "space" || token.type === "checkbox" || token.type === "def") return [];
    if (token.type === "text" || (tight && token.type === "paragraph")) return inline("tokens" in token && token.tokens ? token.tokens : [token]);
    return [block(token)];
  });
}

function inline(tokens: Token[]): Node[] {
  return tokens.flatMap((given): Node[] => {
    const token = given as MarkedToken;
    switch (token.type) {
      case "strong":
        return [h("strong", {}, ...inline(token.tokens))];
      case "em":
        return [h("em", {}, ...inline(token.tokens))];
      case "del":
        return [h("del", {}, ...inline(token.tokens))];
      case "codespan":
        return [h("code", {}, token.text)];
      case "br":
        return [h("br")];
      case "link":
        return [link(token.href, inline(token.tokens))];
      case "image":
        return [link(token.href, [document.createTextNode(token.text === "" ? "image" : `image: ${token.text}`)])];
      case "text":
        return token.tokens ? inline(token.tokens) : [document.createTextNode(entities(token.text))];
      case "escape":
        return [document.createTextNode(token.text)];
      default:
        // Markup is shown as it was written.
        return [document.createTextNode(given.raw)];
    }
  });
}

/** Returns a link, or its text alone if it leads anywhere else than to a site. */
function link(href: string, label: Node[]): Node {
  let url: URL;
  try {
    url = new URL(entities(href));
  } catch {
    return h("span", {}, ...label);
  }
  if (!SCHEMES.includes(url.protocol)) return h("span", {}, ...label);
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", title: url.href }, ...label);
}

/** Returns a block of code with its language and a button that copies it. */
function code(text: string, language: string): HTMLElement {
  const name = /^[\w+#.-]{1,24}/.exec(language)?.[0] ?? "";
  const copy = h("button", { type: "button", class: "ghost small" }, icon("copy"), "Copy");
  copy.addEventListener("click", () => void copied(copy, text));
  return h("figure", { class: "code" },
    h("figcaption", {}, h("span", {}, name || "code"), copy),
    h("pre", { tabindex: 0 }, h("code", {}, text)));
}

/** Copies a text and says so on the button. */
export async function copied(button: HTMLButtonElement, text: string): Promise<void> {
  const before = [...button.childNodes];
  try {
    await navigator.clipboard.writeText(text);
    button.replaceChildren(icon("done"), ...(before.length > 1 ? ["Copied"] : []));
  } catch {
    button.replaceChildren("Copying was refused");
  }
  setTimeout(() => button.replaceChildren(...before), 1500);
}

const NAMED: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", hellip: "…", mdash: "—", ndash: "–", copy: "©" };

/** Replaces the usual character references by their characters. */
function entities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]+));/gi, (whole, decimal: string, hex: string, name: string) => {
    if (name !== undefined) return NAMED[name] ?? whole;
    const point = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}
