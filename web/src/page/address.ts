/** The text that a user enters to name a model: an address, a path on this server, or a repository of the Hugging Face Hub. */

/** A named model. */
export type Named =
  /** A file, or a folder. */
  | { kind: "address"; url: string; name: string }
  /** A repository, whose files are to be listed. */
  | { kind: "hub"; repository: string; revision: string }
  | { kind: "wrong"; problem: string };

/** The Hub. */
export const HUB = "https://huggingface.co";
const SEGMENT = "[\\w][\\w.-]*";
const REPOSITORY = new RegExp(`^(?:hf:)?(${SEGMENT}/${SEGMENT})(?:@(${SEGMENT}))?$`);
const PAGE = new RegExp(`^/(${SEGMENT}/${SEGMENT})(?:/(tree|blob|resolve|raw)/([^/]+)(/.*)?)?/?$`);

/** Reads what a user entered; `base` is the address of the page. */
export function read(entered: string, base: string): Named {
  const text = entered.trim();
  if (text === "") return wrong("Enter the address of a model, or ORG/REPO of the Hugging Face Hub.");
  const repository = REPOSITORY.exec(text);
  if (repository?.[1] !== undefined && !isFile(text)) return { kind: "hub", repository: repository[1], revision: repository[2] ?? "main" };
  let url: URL;
  try {
    url = new URL(/^(www\.)?(huggingface\.co|hf\.co)\//.test(text) ? `https://${text}` : text, base);
  } catch {
    return wrong(`${text}: not an address; it begins with https:// and names a host, as https://example.org/model.gguf does.`);
  }
  if (url.protocol === "file:") return wrong("A page cannot read a file by its path. Open it with “Open a file …”, or drop it on this page.");
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    return wrong(`${text}: found ${url.protocol}, expected an address that begins with https://`);
  }
  if (url.protocol === "http:" && new URL(base).protocol === "https:" && !/^(localhost|127\.|\[::1\])/.test(url.hostname)) {
    return wrong(`${text}: this page was opened over https, so the browser refuses addresses that begin with http://`);
  }
  return /^(www\.)?(huggingface\.co|hf\.co)$/.test(url.hostname) ? hub(url) : address(url);
}

/** Reads the address of a page of the Hub. */
function hub(url: URL): Named {
  const found = PAGE.exec(url.pathname);
  const [, repository, kind, revision = "main", path = ""] = found ?? [];
  if (repository === undefined) return wrong(`${url.href}: not the page of a model; expected ${HUB}/ORG/REPO`);
  if (kind === "blob" || kind === "resolve" || kind === "raw") {
    return address(new URL(`${HUB}/${repository}/resolve/${revision}${path}${url.search}`));
  }
  return { kind: "hub", repository, revision };
}

function address(url: URL): Named {
  const parts = url.pathname.split("/").filter((part) => part !== "");
  return { kind: "address", url: url.href, name: decoded(parts.at(-1) ?? url.host).replace(/\.gguf$/i, "") };
}

/** Returns true for a name that ends as a model file does. */
export function isFile(name: string): boolean {
  return /\.(gguf|safetensors)$/i.test(name);
}

function wrong(problem: string): Named {
  return { kind: "wrong", problem };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
