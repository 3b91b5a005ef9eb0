/** The progress of a download: bytes, speed, time left. */
import type { DownloadProgress, StoredModel } from "./types";

/** The milliseconds over which the speed is measured, and between two reports. */
const WINDOW = 4000;
const PACE = 100;

export class Meter {
  stage: DownloadProgress["stage"] = "downloading";
  ranges = true;
  total: number | null = null;
  /** The bytes of all files, if the publisher tells them. */
  expected = 0;
  #done = 0;
  /** Bytes that arrived, by time. */
  #arrived: { at: number; bytes: number }[] = [];
  #told = Number.NEGATIVE_INFINITY;
  readonly #tell: (progress: DownloadProgress) => void;

  constructor(tell: (progress: DownloadProgress) => void) {
    this.#tell = tell;
  }

  /** Begins at what is stored. `streamed` is the size of the last file if only its server tells it. */
  follow({ stored, bytes, files }: Pick<StoredModel, "stored" | "bytes" | "files">, streamed: number | null): void {
    this.#done = stored;
    const listed = bytes + (streamed === null ? 0 : streamed - (files.at(-1)?.bytes ?? 0));
    this.total = Math.max(listed, this.expected);
    this.tell();
  }

  /** Counts bytes that arrived. */
  add(bytes: number): void {
    this.#done += bytes;
    const now = performance.now();
    this.#arrived.push({ at: now, bytes });
    while (this.#arrived.length > 1 && now - (this.#arrived[0]?.at ?? now) > WINDOW) this.#arrived.shift();
    if (now - this.#told >= PACE) this.tell();
  }

  tell(): void {
    const now = performance.now();
    this.#told = now;
    const begin = this.#arrived[0]?.at ?? now;
    const bytes = this.#arrived.reduce((sum, arrived) => sum + arrived.bytes, 0);
    const speed = now - begin < PACE ? 0 : (bytes * 1000) / (now - begin);
    const left = this.total === null || speed === 0 ? null : Math.max(0, this.total - this.#done) / speed;
    this.#tell({
      stage: this.stage, done: this.#done, total: this.total, bytes_per_second: speed, seconds_left: left, ranges: this.ranges,
    });
  }
}
