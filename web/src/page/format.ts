/** Formatting of figures. */

/** Formats bytes in decimal units, as download pages do. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit > 0 && value < 99.95 ? value.toFixed(1) : value.toFixed(0)} ${units[unit] ?? ""}`;
}

/** Formats a count: 8.4 million. */
export function count(value: number): string {
  if (value >= 999.5e6) return `${(value / 1e9).toFixed(2)} billion`;
  if (value >= 999.5e3) return `${(value / 1e6).toFixed(1)} million`;
  return value.toLocaleString("en");
}

/** Formats tokens per second. */
export function rate(perSecond: number): string {
  return `${perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(1)} tok/s`;
}

/** Formats a time in seconds. */
export function seconds(value: number): string {
  return value < 1 ? `${(value * 1000).toFixed(0)} ms` : `${value.toFixed(1)} s`;
}

/** Formats the time that is left: 3 min 20 s. */
export function timeLeft(left: number): string {
  if (left < 60) return `${Math.max(1, Math.round(left))} s left`;
  if (left < 3600) return `${Math.floor(left / 60)} min ${Math.round(left % 60)} s left`;
  return `${(left / 3600).toFixed(1)} h left`;
}

/** Formats a day for a list: today, yesterday, or the date. */
export function day(time: number, now = Date.now()): string {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - 86_400_000) return "Yesterday";
  return new Date(time).toLocaleDateString("en", { year: "numeric", month: "long", day: "numeric" });
}
