import { getSystemErrorMap } from "node:util";
import type { FsVersion } from "../api/fs.ts";
import { WorldError } from "../error.ts";

/** What file systems refuse, as Node says it. */
export type FsErrorCode =
  | "EACCES"
  | "EBADF"
  | "EEXIST"
  | "EFBIG"
  | "EINVAL"
  | "EISDIR"
  | "ELOOP"
  | "ENAMETOOLONG"
  | "ENOENT"
  | "ENOSPC"
  | "ENOTDIR"
  | "ENOTEMPTY"
  | "EPERM"
  | "EROFS"
  | "EXDEV"
  | "EBUSY"
  | "ENOTSUP";

interface Known {
  readonly errno: number;
  readonly words: string;
}

const known: ReadonlyMap<string, Known> = new Map(
  [...getSystemErrorMap()].map(([errno, [code, words]]) => [code, { errno, words }]),
);

export interface FsErrorPlace {
  /** As Node calls it: `open`, `mkdir`, `scandir`. */
  readonly syscall: string;
  readonly path?: string | undefined;
  readonly dest?: string | undefined;
  readonly cause?: unknown;
}

/** As `node:fs/promises` fails: with `code`, `errno`, `syscall` and the paths. Paths are those of the tree. */
export class FsError extends Error implements NodeJS.ErrnoException {
  readonly code: FsErrorCode;
  readonly errno: number;
  readonly syscall: string;
  declare readonly path?: string;
  declare readonly dest?: string;

  constructor(code: FsErrorCode, { syscall, path, dest, cause }: FsErrorPlace) {
    const { errno, words } = known.get(code) ?? { errno: -1, words: "failed" };
    const where = path === undefined ? "" : dest === undefined ? ` '${path}'` : ` '${path}' -> '${dest}'`;
    super(`${code}: ${words}, ${syscall}${where}`, cause === undefined ? undefined : { cause });
    this.name = "FsError";
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    if (path !== undefined) this.path = path;
    if (dest !== undefined) this.dest = dest;
  }
}

export interface FsConflictDetails {
  readonly path: string;
  /** What both began with; undefined where there was nothing. */
  readonly base: FsVersion | undefined;
  /** What this commit was to make of it. */
  readonly ours: FsVersion | undefined;
  /** What somebody else made of it meanwhile. */
  readonly theirs: FsVersion | undefined;
}

/** The same path was changed by somebody else since it was read. Nothing was committed. */
export class FsConflict extends WorldError implements FsConflictDetails {
  readonly path: string;
  readonly base: FsVersion | undefined;
  readonly ours: FsVersion | undefined;
  readonly theirs: FsVersion | undefined;

  constructor(what: string, { path, base, ours, theirs }: FsConflictDetails) {
    super("CONFLICT", `Cannot ${what}: ${path} is ${worded(theirs)} by now, and was to be ${worded(ours)}`, {
      hint: "Read it again, and decide anew",
      data: { path, base: base?.hash, ours: ours?.hash, theirs: theirs?.hash },
    });
    this.name = "FsConflict";
    this.path = path;
    this.base = base;
    this.ours = ours;
    this.theirs = theirs;
  }
}

function worded(version: FsVersion | undefined): string {
  if (version === undefined) return "deleted";
  const { kind, size, hash } = version;
  return kind === "file" ? `a file of ${size} bytes (${hash.slice(0, 12)})` : `a ${kind} (${hash.slice(0, 12)})`;
}
