/** Line charts, by token or by reading. */
import { h, svg } from "./dom";

/** One line of a chart. */
export interface Series {
  name: string;
  /** The name of a custom property of the style sheet. */
  colour: string;
  /** One value per token or reading, from the first on; null if there is none. */
  values: (number | null)[];
}

/** The width of a chart that is not laid out yet. */
const WIDTH = 640;
const HEIGHT = 200;
const LEFT = 44;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;

/** The charts that are shown, each with the function that draws it again. */
const drawn = new Map<HTMLElement, () => void>();
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const width = target.querySelector(".chart")?.getAttribute("viewBox")?.split(" ")[2];
    // A chart that is drawn again has the width of its figure, so that its text keeps its size.
    if (target.clientWidth > 0 && width !== undefined && Number(width) !== target.clientWidth) drawn.get(target as HTMLElement)?.();
  }
});

/** Draws lines into `figure`, by `unit`, with a legend that follows the pointer; again whenever the figure's width changes. */
export function draw(figure: HTMLElement, series: Series[], show: (value: number) => string, unit = "token"): void {
  if (!drawn.has(figure)) widths.observe(figure);
  drawn.set(figure, () => lines(figure, series, show, unit));
  lines(figure, series, show, unit);
}

function lines(figure: HTMLElement, series: Series[], show: (value: number) => string, unit: string): void {
  const shown = series.filter((line) => line.values.some((value) => value !== null));
  const length = Math.max(0, ...shown.map((line) => line.values.length));
  figure.querySelectorAll(".chart, .legend").forEach((old) => old.remove());
  figure.hidden = length < 2;
  if (length < 2) return;
  // One unit is one pixel, so that text has the same size on every screen.
  const width = figure.clientWidth > 0 ? figure.clientWidth : WIDTH;
  const highest = Math.max(...shown.flatMap((line) => line.values.filter((value) => value !== null)));
  const ticks = ticksUpTo(highest);
  const top = ticks.at(-1) ?? 1;
  const x = (token: number): number => LEFT + ((width - LEFT - RIGHT) * (token - 1)) / (length - 1);
  const y = (value: number): number => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / top;

  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
  chart.setAttribute("aria-label", `${figure.querySelector("figcaption")?.textContent ?? ""}: ${shown.map((s) => s.name).join(", ")}`);
  for (const tick of ticks) {
    chart.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
    chart.append(label(String(tick), LEFT - 6, y(tick) + 4, "end"));
  }
  for (const token of [1, Math.round((length + 1) / 2), length]) {
    const anchor = token === 1 ? "start" : token === length ? "end" : "middle";
    chart.append(label(token === 1 ? `${unit} 1` : String(token), x(token), HEIGHT - 4, anchor));
  }
  for (const line of shown) {
    const points = line.values.flatMap((value, i) => (value === null ? [] : [`${x(i + 1).toFixed(1)},${y(value).toFixed(1)}`]));
    chart.append(svg("path", { d: `M${points.join("L")}`, style: `stroke: var(${line.colour})` }));
  }
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  chart.append(cursor);
  const legend = h("div", { class: "legend" });
  figure.append(chart, legend);
  fill(legend, shown, length, show, unit);

  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * width;
    const token = Math.min(length, Math.max(1, Math.round(1 + ((place - LEFT) / (width - LEFT - RIGHT)) * (length - 1))));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, String(x(token)));
    cursor.setAttribute("visibility", "visible");
    fill(legend, shown, token, show, unit);
  });
  chart.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    fill(legend, shown, length, show, unit);
  });
}

/** Shows the values of all lines at a token. */
function fill(legend: HTMLElement, series: Series[], token: number, show: (value: number) => string, unit: string): void {
  const entries = series.map((line) => {
    const value = line.values[token - 1];
    const mark = h("i");
    mark.style.background = `var(${line.colour})`;
    return h("span", {}, mark, `${line.name}: ${value === null || value === undefined ? "–" : show(value)}`);
  });
  legend.replaceChildren(h("span", {}, `${unit} ${token}`), ...entries);
}

/** Returns round numbers from 0 to at least `highest`. */
function ticksUpTo(highest: number): number[] {
  const rough = Math.max(highest, 1e-9) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? rough;
  const count = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: Math.max(1, count) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

function label(text: string, x: number, y: number, anchor: string): SVGElement {
  const made = svg("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}
