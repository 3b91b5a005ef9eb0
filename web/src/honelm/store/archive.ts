/** Tar archives (POSIX ustar) whose contents are not copied: of stored models, and as a form of import. */
import { HoneLMError } from "../types";

const BLOCK = 512;
/** Positions and lengths of fields of a header. */
const NAME = [0, 100] as const;
const SIZE = [124, 12] as const;
const SUM = [148, 8] as const;
const TYPE = 156;
const MAGIC = [257, 5] as const;
const PREFIX = [345, 155] as const;

/** Returns an archive of files in a folder. */
export function packed(folder: string, files: { path: string; file: File }[]): Blob {
  const parts: BlobPart[] = [];
  for (const { path, file } of files) {
    parts.push(header(`${folder}/${path}`, file.size), file, new Uint8Array(-file.size & (BLOCK - 1)));
  }
  return new Blob([...parts, new Uint8Array(2 * BLOCK)], { type: "application/x-tar" });
}

function header(path: string, size: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const text = (at: number, value: string): void => block.set(new TextEncoder().encode(value), at);
  const octal = (at: number, length: number, value: number): void => text(at, value.toString(8).padStart(length - 1, "0"));
  const [prefix, name] = split(path);
  text(NAME[0], name);
  text(PREFIX[0], prefix);
  octal(100, 8, 0o644);
  octal(108, 8, 0);
  octal(116, 8, 0);
  if (size < 8 ** 11) {
    octal(SIZE[0], SIZE[1], size);
  } else {
    // Larger sizes are binary, which all tools read.
    block[SIZE[0]] = 0x80;
    new DataView(block.buffer).setBigUint64(SIZE[0] + 4, BigInt(size));
  }
  octal(136, 12, 0);
  block[TYPE] = "0".charCodeAt(0);
  text(MAGIC[0], "ustar\u000000");
  text(SUM[0], " ".repeat(SUM[1]));
  octal(SUM[0], SUM[1] - 1, block.reduce((sum, byte) => sum + byte, 0));
  block[SUM[0] + 6] = 0;
  return block;
}

/** Divides a path into the prefix and the name of a header. */
function split(path: string): [prefix: string, name: string] {
  const length = (text: string): number => new TextEncoder().encode(text).length;
  if (length(path) <= NAME[1]) return ["", path];
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (length(prefix) <= PREFIX[1] && length(name) <= NAME[1]) return [prefix, name];
  }
  throw new HoneLMError("not-a-model", `${path}: the name is too long for a tar archive`);
}

/** Returns the regular files of an archive, by their paths. */
export async function unpacked(archive: File): Promise<Map<string, Blob>> {
  const files = new Map<string, Blob>();
  const invalid = (problem: string): HoneLMError => new HoneLMError("not-a-model", `${archive.name}: not a tar archive: ${problem}`);
  for (let at = 0; at + BLOCK <= archive.size; ) {
    const block = new Uint8Array(await archive.slice(at, at + BLOCK).arrayBuffer());
    if (block.every((byte) => byte === 0)) break;
    const field = ([from, length]: readonly [number, number]): string => {
      const bytes = block.subarray(from, from + length);
      const end = bytes.indexOf(0);
      return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
    };
    const sum = block.reduce((sum, byte, i) => sum + (i >= SUM[0] && i < SUM[0] + SUM[1] ? 32 : byte), 0);
    if (field(MAGIC) !== "ustar" || Number.parseInt(field(SUM), 8) !== sum) throw invalid(`found no header at byte ${at}`);
    const binary = block[SIZE[0]] === 0x80;
    const size = binary ? Number(new DataView(block.buffer).getBigUint64(SIZE[0] + 4)) : Number.parseInt(field(SIZE) || "0", 8);
    const [begin, type] = [at + BLOCK, String.fromCharCode(block[TYPE] ?? 0)];
    if (!Number.isSafeInteger(size) || begin + size > archive.size) throw invalid(`the file at byte ${at} is cut short`);
    const prefix = field(PREFIX);
    const path = prefix === "" ? field(NAME) : `${prefix}/${field(NAME)}`;
    if (type === "0" || type === "\0") files.set(path, archive.slice(begin, begin + size));
    at = begin + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}
