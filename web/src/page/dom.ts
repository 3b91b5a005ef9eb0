/** Helpers for the document. */

/** Returns the element with this id; throws if the page does not have it. */
export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** Creates an element with a text. */
export function make<K extends keyof HTMLElementTagNameMap>(name: K, text = "", className = ""): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.textContent = text;
  if (className !== "") made.className = className;
  return made;
}

/** Shows a message, or hides its place if there is none. */
export function say(place: HTMLElement, message: string | undefined): void {
  place.textContent = message ?? "";
  place.hidden = message === undefined;
}

/** Fills a list of names and values; with `grouped`, each pair has its own element. */
export function describe(list: HTMLDListElement, rows: [name: string, value: string][], grouped = false): void {
  const pairs = rows.map(([name, value]) => [make("dt", name), make("dd", value)]);
  list.replaceChildren(...pairs.flatMap((pair) => (grouped ? [group(pair)] : pair)));
  list.hidden = rows.length === 0;
}

function group(children: HTMLElement[]): HTMLElement {
  const made = make("div");
  made.append(...children);
  return made;
}
