import { constants } from "node:fs";
import type { FsKind } from "../api/fs.ts";
import type { FsDirent, FsStats } from "../api/fs-files.ts";
import type { Access } from "./flags.ts";

/**
 * What a tree, a draft of one and a local folder have in common, below what Node's functions do: paths are names joined by `/`, the root is
 * `""`, and no link is followed. What is to be there has been looked at before; a local folder may have changed since then, and fails as
 * the system does.
 */
export interface Volume {
  look(path: string): Promise<Found | undefined>;
  /** In order. */
  list(path: string): Promise<readonly Named[]>;
  open(path: string, access: Access, mode: number): Promise<RawFile>;
  mkdir(path: string, mode: number): Promise<void>;
  symlink(target: string, path: string): Promise<void>;
  chmod(path: string, mode: number): Promise<void>;
  /** A file, a link, an empty folder; with `deep` also one that is not. */
  remove(path: string, kind: FsKind, deep: boolean): Promise<void>;
  /** In place of what is there. */
  move(from: string, to: string): Promise<void>;
  /** A file or a link, in place of what is there; a folder, whole, where nothing is. */
  copy(from: string, to: string, kind: FsKind): Promise<void>;
}

export interface Found {
  readonly kind: FsKind | "other";
  readonly size: number;
  /** Permissions. */
  readonly mode: number;
  readonly mtimeMs: number;
  /** Of a link. */
  readonly target?: string;
}

export interface Named {
  readonly name: string;
  readonly kind: FsKind | "other";
}

/** A file that is open, without a position of its own. */
export interface RawFile {
  stat(): Promise<Found>;
  /** How many bytes: fewer only at the end. */
  read(into: Uint8Array, at: number): Promise<number>;
  /** `at` undefined: at the end, wherever that is. Gives where it ends. */
  write(bytes: Uint8Array, at: number | undefined): Promise<number>;
  truncate(size: number): Promise<void>;
  chmod(mode: number): Promise<void>;
  readonly sync: () => Promise<void>;
  readonly close: () => Promise<void>;
  /** Closes it; what was not synced need not be kept. */
  readonly abandon: () => Promise<void>;
}

const bits: Readonly<Record<FsKind | "other", number>> = {
  file: constants.S_IFREG,
  folder: constants.S_IFDIR,
  link: constants.S_IFLNK,
  other: constants.S_IFIFO,
};

export function statsOf({ kind, size, mode, mtimeMs }: Found): FsStats {
  return { size, mode: bits[kind] | mode, mtimeMs, mtime: new Date(mtimeMs), ...kindOf(kind) };
}

export function direntOf({ name, kind }: Named, parentPath: string): FsDirent {
  return { name, parentPath, ...kindOf(kind) };
}

function kindOf(kind: FsKind | "other"): Pick<FsStats, "isFile" | "isDirectory" | "isSymbolicLink"> {
  return { isFile: () => kind === "file", isDirectory: () => kind === "folder", isSymbolicLink: () => kind === "link" };
}

/** By UTF-16, as JavaScript compares. */
export function byName(a: Named, b: Named): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

export function within(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}
