/** The files of a repository on the Hugging Face Hub. */
import { HUB, isFile } from "./address";

/** A form of a model that can be loaded. */
export interface HubFile {
  /** The encoding in the file's name, or `original` for the folder. */
  label: string;
  url: string;
  name: string;
  bytes: number | null;
  /** The SHA-256 of the file, if the Hub knows it. */
  sha256: string | null;
}

/** The facts that the Hub tells about a repository. */
export interface HubModel {
  files: HubFile[];
  /** Files that cannot be loaded, with the reason. */
  notes: string[];
}

interface Sibling {
  rfilename: string;
  size?: number;
  lfs?: { sha256?: string };
}

/** An encoding in a file's name: Q4_K_M, IQ2_XXS, F16, UD-Q4_K_XL. */
const ENCODING = /(?:^|[-_.])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|BF16|F16|F32|MXFP4(?:_MOE)?))(?=\.gguf$)/i;

/** Asks the Hub for the forms of a model. */
export async function list(repository: string, revision: string, signal?: AbortSignal): Promise<HubModel> {
  const place = `${repository}${revision === "main" ? "" : `@${revision}`}`;
  const at = revision === "main" ? "" : `/revision/${encodeURIComponent(revision)}`;
  let answer: Response;
  try {
    answer = await fetch(`${HUB}/api/models/${repository}${at}?blobs=true`, signal ? { signal } : {});
  } catch {
    signal?.throwIfAborted();
    throw new Error(`${place}: the Hugging Face Hub cannot be reached; there is no connection, or it is blocked`);
  }
  // The Hub does not tell a missing repository from a private one.
  if (answer.status === 401 || answer.status === 404) throw new Error(`${place}: not found on the Hugging Face Hub, or not public; check the spelling of ORG/REPO`);
  if (!answer.ok) throw new Error(`${place}: the Hugging Face Hub answered ${answer.status}; try again later`);
  const read: unknown = await answer.json().catch(() => undefined);
  const siblings = siblingsOf(read);
  if (!siblings) throw new Error(`${place}: the Hugging Face Hub sent no list of files`);
  if (typeof read === "object" && read !== null && "gated" in read && read.gated !== false) {
    throw new Error(`${place}: its publisher asks for an agreement first, so a page cannot download it; use honelm pull, then open the file`);
  }
  const found = forms(repository, revision, siblings);
  if (found.files.length === 0) {
    const why = found.notes.length > 0 ? found.notes.join("; ") : "it has neither a GGUF file nor a folder with config.json and safetensors";
    throw new Error(`${place}: nothing that can be loaded here: ${why}`);
  }
  return found;
}

/** Sorts the files of a repository into forms of its model. */
export function forms(repository: string, revision: string, siblings: Sibling[]): HubModel {
  const base = `${HUB}/${repository}/resolve/${encodeURIComponent(revision)}/`;
  const notes: string[] = [];
  const files: HubFile[] = [];
  const split = new Set<string>();
  for (const { rfilename, size, lfs } of siblings) {
    if (!/\.gguf$/i.test(rfilename) || /mmproj/i.test(rfilename)) continue;
    const part = /-\d{5}-of-\d{5}\.gguf$/i.exec(rfilename);
    if (part) {
      split.add(rfilename.slice(0, part.index));
      continue;
    }
    const file = rfilename.split("/").at(-1) ?? rfilename;
    files.push({
      label: ENCODING.exec(file)?.[1]?.toUpperCase() ?? file, url: base + rfilename.split("/").map(encodeURIComponent).join("/"),
      name: file.replace(/\.gguf$/i, ""), bytes: size ?? null, sha256: lfs?.sha256 ?? null,
    });
  }
  for (const name of split) notes.push(`${name}: several parts, which only the command line joins`);
  const top = siblings.filter(({ rfilename }) => !rfilename.includes("/"));
  if (top.some(({ rfilename }) => rfilename === "config.json")) {
    const weights = top.filter(({ rfilename }) => isFile(rfilename) && rfilename.endsWith(".safetensors"));
    const known = weights.every(({ size }) => size !== undefined);
    if (weights.length > 0) {
      const bytes = known ? weights.reduce((sum, { size }) => sum + (size ?? 0), 0) : null;
      files.push({ label: "original", url: base, name: repository.split("/").at(-1) ?? repository, bytes, sha256: null });
    } else if (files.length === 0) {
      notes.push("its weights are not in safetensors");
    }
  }
  files.sort((a, b) => (a.bytes ?? Number.POSITIVE_INFINITY) - (b.bytes ?? Number.POSITIVE_INFINITY));
  return { files, notes };
}

function siblingsOf(read: unknown): Sibling[] | undefined {
  if (typeof read !== "object" || read === null || !("siblings" in read) || !Array.isArray(read.siblings)) return undefined;
  return read.siblings.filter((each): each is Sibling => typeof each?.rfilename === "string");
}
