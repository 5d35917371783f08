import type { Fence } from "../../api/common.ts";
import type { Compare } from "../../../etcd/index.ts";
import type { FsGcResult } from "../../api/fs.ts";
import type { Source } from "../../watch/news.ts";

/**
 * The engine of `world.fs`: trees of content-addressed objects in a store. Paths are names joined by `/`, without one in front or behind; the
 * root is `""`. Names are not looked into: `.`, `..` and links are the caller's to resolve, and a link in the middle of a path leads nowhere.
 *
 * Everything rejects with WorldError: what the store fails with; `TOO_LARGE` with `data.limit` `file`, `tree` or `folder` (an object that has
 * to be one value); `STALE` where objects of a tree are not kept any more (it was not pinned, or the session was lost); `INVALID_VALUE`
 * where an object is not what its address says.
 */

/** Bytes of one chunk of a file. The last one may be shorter. */
export const chunkBytes = 256 * 1024;

/** Names an object: its SHA-256 in hex, a dash, and how many bytes it has. The root of a tree is the address of its uppermost folder. */
export type Address = string;

export interface Attributes {
  /** Permissions, 0 to 0o7777. */
  readonly mode: number;
  /** Whole milliseconds. */
  readonly mtimeMs: number;
}

/** Bytes that are in the store, or will be with the draft that they were written to. */
export interface Content {
  readonly size: number;
  /** SHA-256 in hex of each chunk of {@link chunkBytes} bytes, in order. */
  readonly chunks: readonly string[];
}

export interface FileEntry extends Attributes, Content {
  readonly kind: "file";
}

export interface FolderEntry extends Attributes {
  readonly kind: "folder";
  /** Undefined in a draft that has changed it, until it is committed. */
  readonly node: Address | undefined;
  /** Entries below, at all levels. */
  readonly entries: number;
  /** Of all files below. */
  readonly bytes: number;
}

export interface LinkEntry extends Attributes {
  readonly kind: "link";
  readonly target: string;
}

export type Entry = FileEntry | FolderEntry | LinkEntry;

export const emptyContent: Content = { size: 0, chunks: [] };

/** What can be read. */
export interface Reading {
  /** Undefined where there is none. The root itself is a folder of mode 0o755. */
  entry(path: string, signal?: AbortSignal): Promise<Entry | undefined>;
  /** By name, in the order of their UTF-16. Undefined where that is no folder. */
  list(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, Entry> | undefined>;
  /** Bytes from `from` up to but without `to`, as far as there are any. */
  read(content: Content, from: number, to: number, signal?: AbortSignal): Promise<Buffer>;
}

/** A tree as it was at one root: nothing changes it. */
export interface Tree extends Reading {
  readonly root: Address;
}

/** A tree that is kept until `close()`, or until the session that it hangs on is lost. */
export interface PinnedTree extends Tree, AsyncDisposable {
  /** Fires when it may be kept no more. */
  readonly signal: AbortSignal;
  /** Idempotent. */
  close(): Promise<void>;
}

/** One commit. */
export interface Commit {
  readonly root: Address;
  /** Undefined of the first. */
  readonly parent: Address | undefined;
  /** From 1, by one for each commit. */
  readonly generation: number;
  /** The host that made it. */
  readonly by: string;
  /** By that host's clock, ISO 8601. */
  readonly at: string;
  /** Entries and bytes of all files in the tree. */
  readonly entries: number;
  readonly bytes: number;
  /** Of the store. */
  readonly revision: number;
}

export interface Committed {
  /** False where the tree was that already: no commit was made. */
  readonly changed: boolean;
  readonly root: Address;
  readonly revision: number;
}

export interface CommitOptions {
  readonly fence?: Fence | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Content that is being written or changed. Nothing of it counts before `finish`; chunks that are full are stored ahead. */
export interface Editing {
  readonly size: number;
  read(from: number, to: number, signal?: AbortSignal): Promise<Buffer>;
  /** What is between the end and `at` becomes zeros. */
  write(at: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
  truncate(size: number, signal?: AbortSignal): Promise<void>;
  /** What it is now; it can be changed on. */
  finish(signal?: AbortSignal): Promise<Content>;
}

/**
 * A tree that is being changed, seen by nobody else. Objects are stored ahead under a lease (a few small ones wait for the commit, and
 * need none), which ends with `close()`, or with this process: what was not committed is gone then.
 *
 * A parent folder has to be there (nothing checks it twice: ENOENT and ENOTDIR are the caller's to say). Changes of one draft are
 * made one after the other.
 */
export interface Draft extends Reading, AsyncDisposable {
  /** What it began with; undefined where there was no tree yet. */
  readonly base: Commit | undefined;
  /** For {@link Draft.put}. @param from what to begin with */
  edit(from?: Content): Editing;
  /** The same for bytes that are there, or come. */
  write(bytes: Uint8Array | AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Content>;
  /** Whether that chunk is in the tree that the draft began with, so that it needs no moving. */
  has(chunk: Address, signal?: AbortSignal): Promise<boolean>;
  /** Makes or replaces a file, a link, or an empty folder. */
  put(
    path: string,
    entry: FileEntry | LinkEntry | ({ readonly kind: "folder" } & Attributes),
    signal?: AbortSignal,
  ): Promise<void>;
  /** Mode and time of what is there. */
  set(path: string, attributes: Partial<Attributes>, signal?: AbortSignal): Promise<void>;
  /** With all that is in it. Nothing where there is none. */
  remove(path: string, signal?: AbortSignal): Promise<void>;
  /** With all that is in it, in place of what is there. Reads nothing but folders. @param of another tree of the same namespace */
  copy(from: string, to: string, of?: Tree, signal?: AbortSignal): Promise<void>;
  /**
   * All of it at once. What others committed since `base` is merged with it by path. Then the draft is over, also where it fails.
   *
   * @throws FsConflict; WorldError FENCED, TOO_LARGE, and OUTCOME_UNKNOWN where nobody can say whether it happened
   */
  commit(options?: CommitOptions): Promise<Committed>;
  /** Nothing of it happens. Idempotent. */
  close(): Promise<void>;
}

/** What differs at one path. Folders differ where they came or went, or by mode; what is in them is told by itself. */
export interface Difference {
  readonly path: string;
  readonly before: Entry | undefined;
  readonly after: Entry | undefined;
}

export interface Limits {
  /** Of one file. Default 64 MiB. */
  readonly fileBytes: number;
  /** Of all files of a tree. Default 256 MiB. */
  readonly treeBytes: number;
}

/** What is kept of a tree's history, the present commit among it, and in any case. */
export interface History {
  /** Default 100. */
  readonly commits: number;
  /** Of all objects of these commits, each counted once. Default 256 MiB. */
  readonly bytes: number;
}

/** One tree by its name, and its history. */
export interface Repository {
  readonly name: string;
  readonly limits: Limits;
  /** As of now, linearizably. Undefined where there is no such tree. */
  head(signal?: AbortSignal): Promise<Commit | undefined>;
  /** Without a pin: for as long as something else keeps it. `emptyRoot` of index.ts is always there. */
  tree(root: Address): Tree;
  /** Undefined where nothing keeps that root (any more): neither this tree's history, nor a deploy, nor another pin. */
  pin(root: Address, signal?: AbortSignal): Promise<PinnedTree | undefined>;
  /**
   * What has to hold in the transaction by which a deploy comes to name that root (`keys.deploys.root(id)`, which the collection reads).
   * Undefined where nothing keeps it, as with `pin`.
   */
  proof(root: Address, signal?: AbortSignal): Promise<Compare | undefined>;
  /** Of the head as of now. */
  draft(signal?: AbortSignal): Promise<Draft>;
  /** The newest first. */
  log(options?: { readonly limit?: number | undefined; readonly signal?: AbortSignal | undefined }): Promise<readonly Commit[]>;
  /** In the order of paths. Both have to be kept. @param path of the folder, or the file, to which it is confined */
  diff(
    before: Address,
    after: Address,
    options?: { readonly path?: string; readonly signal?: AbortSignal },
  ): Promise<readonly Difference[]>;
  /** The head, then every one that follows it (as one item, whose key does not matter). */
  readonly heads: Source<Commit>;
}

export interface CollectOptions {
  readonly dryRun?: boolean | undefined;
  readonly history?: Partial<History> | undefined;
  readonly fence?: Fence | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** All trees of one namespace, or of one memory. */
export interface Engine extends AsyncDisposable {
  repository(name: string, limits?: Partial<Limits>): Repository;
  /** Names of the trees there are, in order. */
  names(signal?: AbortSignal): Promise<readonly string[]>;
  /**
   * Deletes what nothing needs, one collection at a time in the whole cluster; others wait for it. Histories are shortened to what
   * {@link History} says.
   */
  collect(options?: CollectOptions): Promise<FsGcResult>;
  /** Ends drafts, pins and the rest; nothing is left running. Idempotent. */
  close(): Promise<void>;
}
