/** The check of a stored model: every chunk is compared with its hash, and damaged ones are fetched again. */
import type { Backend } from "./backend";
import { type Address, address, fileUrl } from "./download";
import { FileFetch } from "./fetching";
import { Meter } from "./meter";
import { digest, Stored } from "./stored";
import type { DownloadProgress, Verified } from "./types";

/** Checks and repairs a model. The caller must be the only writer. */
export async function verify(
  backend: Backend, id: string, tell: (progress: DownloadProgress) => void, signal: AbortSignal,
): Promise<Verified> {
  const stored = await Stored.open(backend, id);
  try {
    const meter = new Meter(tell);
    const found = await check(stored, meter, signal);
    const { url, state } = stored.summary();
    if (state !== "damaged" || url === null) return { ...found, repaired: 0 };
    meter.stage = "downloading";
    // Chunks that an earlier check found damaged are repaired too.
    const repaired = await repair(stored, await address({ url }), meter, signal);
    return { checked: found.checked, damaged: repaired, repaired };
  } finally {
    await stored.close();
  }
}

async function check(stored: Stored, meter: Meter, signal: AbortSignal): Promise<{ checked: number; damaged: number }> {
  const result = { checked: 0, damaged: 0 };
  meter.stage = "checking";
  meter.total = stored.summary().stored;
  for (const file of stored.files()) {
    for (const { chunk, begin, length } of stored.file(file).extents) {
      signal.throwIfAborted();
      const found = await digest(await stored.read(file, begin, length));
      result.checked++;
      if (found !== stored.record.recorded(file, chunk)) {
        result.damaged++;
        stored.record.damaged(file, chunk);
        await stored.commit();
      }
      meter.add(length);
    }
  }
  meter.tell();
  return result;
}

async function repair(stored: Stored, from: Address, meter: Meter, signal: AbortSignal): Promise<number> {
  let repaired = 0;
  meter.follow(stored.summary(), null);
  for (const file of stored.files()) {
    const { path } = stored.file(file);
    repaired += await new FileFetch(stored, fileUrl(from, path), path, undefined, meter, signal).repair(file);
  }
  meter.tell();
  return repaired;
}
