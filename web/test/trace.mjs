// The tasks of a page's main thread, from the browser's own trace.

const CATEGORIES = ["toplevel", "blink.user_timing", "devtools.timeline", "disabled-by-default-devtools.timeline"];
const MARK = "honelm-trace";

/** Marks the beginning of each document, which may have a process of its own. */
export async function marked(context) {
  await context.addInitScript((mark) => performance.mark(mark), MARK);
  return context;
}

/** Traces `work`, and returns the tasks of the page's main thread during it, in milliseconds of its own time, the longest first. */
export async function tasksDuring(browser, page, work) {
  await browser.startTracing(page, { categories: CATEGORIES });
  const mark = () => page.evaluate((mark) => performance.mark(mark), MARK);
  await mark();
  await work();
  await mark();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
  const marks = traceEvents.filter(({ name, cat }) => name === MARK && cat.includes("user_timing")).sort((a, b) => a.ts - b.ts);
  const last = marks.at(-1);
  const first = marks.find(({ pid, tid }) => pid === last?.pid && tid === last?.tid);
  if (!first || first === last) throw new Error("the trace has no marks");
  // The time that the thread itself computed; other programs of the machine do not count.
  const mine = traceEvents.filter(({ name, ph, pid, tid, ts }) => name.endsWith("RunTask") && ph === "X" && pid === first.pid && tid === first.tid && ts >= first.ts && ts <= last.ts);
  if (mine.length === 0) throw new Error("the trace has no tasks");
  return mine.map(({ tdur = 0 }) => tdur / 1000).sort((a, b) => b - a);
}
