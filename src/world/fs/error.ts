import { getSystemErrorMap } from "node:util";
import type { FsVersion } from "../api/fs.ts";
import { WorldError } from "../error.ts";

/** What file systems refuse, as Node says it. A local folder may fail with others of the system's. */
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
  | "EBUSY"
  | "EROFS"
  | "ERR_FS_EISDIR"
  | "ERR_FS_CP_DIR_TO_NON_DIR"
  | "ERR_FS_CP_EEXIST"
  | "ERR_FS_CP_EINVAL"
  | "ERR_FS_CP_NON_DIR_TO_DIR";

interface Known {
  readonly errno: number;
  readonly words: string;
}

/** What Node calls by names of its own. */
const own: readonly (readonly [FsErrorCode, Known])[] = [
  ["ERR_FS_EISDIR", { errno: 21, words: "Path is a directory" }],
  ["ERR_FS_CP_DIR_TO_NON_DIR", { errno: 21, words: "Cannot overwrite non-directory with directory" }],
  ["ERR_FS_CP_EEXIST", { errno: 17, words: "Target already exists" }],
  ["ERR_FS_CP_EINVAL", { errno: 22, words: "Invalid src or dest" }],
  ["ERR_FS_CP_NON_DIR_TO_DIR", { errno: 20, words: "Cannot overwrite directory with non-directory" }],
];

const known: ReadonlyMap<string, Known> = new Map([
  ...[...getSystemErrorMap()].map(([errno, [code, words]]) => [code, { errno, words }] as const),
  ...own,
]);

/** What is being done, as Node tells it. */
export interface Place {
  /** `open`, `mkdir`, `scandir`. */
  readonly syscall: string;
  readonly path?: string | undefined;
  readonly dest?: string | undefined;
}

/** As `node:fs/promises` fails: with `code`, `errno`, `syscall` and the paths, which are those of the tree. */
export class FsError extends Error implements NodeJS.ErrnoException {
  readonly code: FsErrorCode | (string & {});
  readonly errno: number;
  readonly syscall: string;
  declare readonly path?: string;
  declare readonly dest?: string;

  constructor(code: FsErrorCode | (string & {}), { syscall, path, dest }: Place, cause?: unknown) {
    const { errno, words } = known.get(code) ?? { errno: -1, words: "it failed" };
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

/** What the system, or the engine, has refused, as it is told: with the paths of the tree. Others come back as they are. */
export function asFsError(error: unknown, place: Place): unknown {
  if (error instanceof FsError || !(error instanceof Error)) return error;
  if (error instanceof WorldError) {
    const limit = error.code === "TOO_LARGE" ? error.data["limit"] : undefined;
    return limit === undefined ? error : new FsError(limit === "file" ? "EFBIG" : "ENOSPC", place, error);
  }
  const { code, errno } = error as NodeJS.ErrnoException;
  return typeof code === "string" && typeof errno === "number" ? new FsError(code, place, error) : error;
}

/** Runs a call, or one step of it, which is told as that. */
export async function step<T>(place: Place, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw asFsError(error, place);
  }
}

export function aborted(syscall: string, signal: AbortSignal): WorldError {
  return new WorldError("ABORTED", `Cannot ${syscall}: it was aborted`, { cause: signal.reason });
}

/** An argument that is none, as Node says it. */
export function badType(name: string, wanted: string, given: unknown): TypeError {
  const message = `The "${name}" argument must be ${wanted}. Received ${given === null ? "null" : `type ${typeof given}`}`;
  return Object.assign(new TypeError(message), { code: "ERR_INVALID_ARG_TYPE" });
}

export function badValue(name: string, why: string, given: unknown): TypeError {
  const message = `The argument '${name}' ${why}. Received ${JSON.stringify(given)}`;
  return Object.assign(new TypeError(message), { code: "ERR_INVALID_ARG_VALUE" });
}

export function outOfRange(name: string, wanted: string, given: unknown): RangeError {
  const message = `The value of "${name}" is out of range. It must be ${wanted}. Received ${String(given)}`;
  return Object.assign(new RangeError(message), { code: "ERR_OUT_OF_RANGE" });
}

/** @throws TypeError, RangeError */
export function checkInteger(name: string, given: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof given !== "number") throw badType(name, "of type number", given);
  if (!Number.isInteger(given)) throw outOfRange(name, "an integer", given);
  if (given < least || given > most) throw outOfRange(name, `>= ${least} && <= ${most}`, given);
  return given;
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
