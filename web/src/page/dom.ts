/** Helpers for the document. */

type Child = Node | string | null | undefined | false;
/** Attributes; functions under `onclick` and the like are listeners, `true` sets an empty attribute, `false` and undefined none. */
type Attributes = Record<string, string | number | boolean | undefined | ((event: never) => void)>;

/** Returns the element with this id; throws if the page does not have it. */
export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** Creates an element with attributes and children. Texts become text nodes, never markup. */
export function h<K extends keyof HTMLElementTagNameMap>(name: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value as EventListener);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** Shows a message, or hides its place if there is none. */
export function say(place: HTMLElement, message: string | undefined): void {
  place.textContent = message ?? "";
  place.hidden = message === undefined;
}

/** Fills a list of names and values; with `grouped`, each pair has its own element. */
export function describe(list: HTMLDListElement, rows: [name: string, value: string][], grouped = false): void {
  const pairs = rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
  list.replaceChildren(...pairs.flatMap((pair) => (grouped ? [h("div", {}, ...pair)] : pair)));
  list.hidden = rows.length === 0;
}

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element of a drawing. */
export function svg(name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

/** The outlines of the icons, on a grid of 24. */
const ICONS = {
  chat: "M4 5h16v11H9l-5 4z",
  models: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  measure: "M4 20V10m5 10V4m5 16v-7m5 7V8",
  device: "M6 6h12v12H6zM9 2v4m6-4v4M9 18v4m6-4v4M2 9h4m-4 6h4m12-6h4m-4 6h4",
  menu: "M4 7h16M4 12h16M4 17h16",
  settings: "M4 7h9m5 0h2M4 17h2m5 0h9M13 7a2.5 2.5 0 1 0 5 0 2.5 2.5 0 1 0-5 0M6 17a2.5 2.5 0 1 0 5 0 2.5 2.5 0 1 0-5 0",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  send: "M12 19V5m-6 6l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M5 12.5l4.5 4.5L19 7.5",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  again: "M19 12a7 7 0 1 1-2.1-5M19 3v5h-5",
  left: "M14.5 6l-6 6 6 6",
  right: "M9.5 6l6 6-6 6",
  down: "M6 9.5l6 6 6-6",
  bin: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  save: "M12 4v11m-5-5l5 5 5-5M5 20h14",
  open: "M12 16V5m-5 5l5-5 5 5M5 20h14",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  chip: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7.5v5l3 2",
  pause: "M8 6v12m8-12v12",
  server: "M4 4h16v6H4zM4 14h16v6H4zM7.5 7h.01M7.5 17h.01",
} as const;

/** Draws an icon, which says nothing to screen readers: its button has a name. */
export function icon(name: keyof typeof ICONS): SVGElement {
  const drawn = svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" });
  drawn.append(svg("path", { d: ICONS[name] }));
  return drawn;
}

/** Creates a button with an icon and a name for screen readers and as a tip. */
export function iconButton(name: keyof typeof ICONS, title: string, onclick: () => void, className = ""): HTMLButtonElement {
  return h("button", { type: "button", class: `ghost ${className}`.trim(), title, "aria-label": title, onclick }, icon(name));
}

/** Offers a text as a file. */
export function download(name: string, text: string, type: string): void {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  // A browser needs the address until it has read the text.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
