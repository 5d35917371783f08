import { badType, badValue, FsError } from "./error.ts";
import type { Place } from "./error.ts";
import { parentOf, within } from "./volume.ts";
import type { Found, Volume } from "./volume.ts";

/** Where a path leads. */
export interface Walked {
  /** Without links in it, except in its last level where that was not to be followed. */
  readonly path: string;
  readonly found: Found | undefined;
  /** It ends in a slash, or in a dot: only a folder can be there. */
  readonly asFolder: boolean;
  /** It ends in `.` or `..`, which cannot be moved or made. */
  readonly byDots: boolean;
}

/** As Linux has it. */
const mostLinks = 40;
const longestName = 255;
const longestPath = 4_095;

/** @throws TypeError as Node */
export function checkPath(path: unknown, name = "path"): asserts path is string {
  if (typeof path !== "string") throw badType(name, "of type string", path);
  if (path.includes("\0")) throw badValue(name, "must be a string without null bytes", path);
}

/**
 * Goes along a path from the root, through links, and never out of it: `..` of the root is the root, and a link that begins with a slash
 * leads on from there.
 *
 * @param follow whether a link in the last level is followed
 * @throws FsError ENOENT and ENOTDIR where a folder on the way is not there, or is none; ELOOP; ENAMETOOLONG; EINVAL
 */
export async function walk(volume: Pick<Volume, "look">, path: string, place: Place, follow: boolean): Promise<Walked> {
  if (path === "") throw new FsError("ENOENT", place);
  if (Buffer.byteLength(path) > longestPath) throw new FsError("ENAMETOOLONG", place);
  if (!path.isWellFormed()) throw new FsError("EINVAL", place);
  const root: Found = (await volume.look("")) ?? { kind: "folder", size: 0, mode: 0o755, mtimeMs: 0 };
  let left = levelsOf(path);
  let at = "";
  let found: Found | undefined = root;
  let links = 0;
  let asFolder = /(^|\/)\.{0,2}$/.test(path);
  const byDots = /(^|\/)\.{1,2}\/*$/.test(path);
  for (let level = left.shift(); level !== undefined; level = left.shift()) {
    if (found === undefined) throw new FsError("ENOENT", place);
    if (found.kind !== "folder") throw new FsError("ENOTDIR", place);
    if (level === ".") continue;
    if (level === "..") {
      at = parentOf(at);
      found = at === "" ? root : await volume.look(at);
      continue;
    }
    if (Buffer.byteLength(level) > longestName) throw new FsError("ENAMETOOLONG", place);
    const here = within(at, level);
    const next = await volume.look(here);
    if (next?.kind === "link" && (left.length > 0 || follow || asFolder)) {
      if (++links > mostLinks) throw new FsError("ELOOP", place);
      const target = next.target ?? "";
      if (left.length === 0 && /(^|\/)\.{0,2}$/.test(target)) asFolder = true;
      left = [...levelsOf(target), ...left];
      if (target.startsWith("/")) {
        at = "";
        found = root;
      }
      continue;
    }
    at = here;
    found = next;
  }
  if (asFolder && found !== undefined && found.kind !== "folder") throw new FsError("ENOTDIR", place);
  return { path: at, found, asFolder, byDots };
}

function levelsOf(path: string): string[] {
  return path.split("/").filter((level) => level !== "");
}
