import type { CallOptions, Fence, StateEvent, Watch, Written } from "./common.ts";
import type { FsCallOptions, FsFiles, FsReader } from "./fs-files.ts";

/** What a tree came to. */
export interface FsCommitted extends Written {
  /** Names all that is in it: trees with the same files have the same root. */
  readonly root: string;
}

export type FsKind = "file" | "folder" | "link";

/** One version of what is at a path. */
export interface FsVersion {
  readonly kind: FsKind;
  readonly size: number;
  readonly mode: number;
  /** Names its content: the same for the same bytes. */
  readonly hash: string;
}

/** What differs at a path. A folder differs where it came or went, or its mode changed; what is in it is told by itself. */
export interface FsChange {
  /** From the root of the tree, with a slash in front. */
  readonly path: string;
  readonly type: "added" | "changed" | "deleted";
  readonly before: FsVersion | undefined;
  readonly after: FsVersion | undefined;
}

export type FsEvent =
  /** First, once. `root` is undefined where there is no such tree yet: it is empty then. */
  | { readonly kind: "snapshot"; readonly root: string | undefined; readonly revision: number }
  /** One for each commit, or for several that came at once, with what differs by path, in order. */
  | {
      readonly kind: "changes" | "resynced";
      readonly root: string | undefined;
      readonly previous: string | undefined;
      readonly changes: readonly FsChange[];
      readonly revision: number;
    }
  | StateEvent;

/** As of `fs.watch` in Node. */
export interface FsWatchEvent {
  /** `rename`: it came or went. */
  readonly eventType: "rename" | "change";
  /** Relative to what is watched. */
  readonly filename: string;
}

/** One commit of the history. */
export interface FsLogEntry {
  readonly root: string;
  /** What it was made from; undefined of the first one. */
  readonly parent: string | undefined;
  /** From 1, by one for each commit. */
  readonly generation: number;
  /** The host that made it. */
  readonly by: string;
  /** By that host's clock; ISO 8601. */
  readonly at: string;
  readonly revision: number;
}

export interface FsProgress {
  readonly files: number;
  readonly filesInAll: number;
  /** Of content. */
  readonly bytes: number;
  readonly bytesInAll: number;
  /** Bytes that had to be moved so far: the others were there. */
  readonly moved: number;
}

export interface FsTransferOptions extends FsCallOptions {
  /** Folder of the tree. Default: all of it. */
  readonly path?: string;
  /** What is on the other side and not on this one is deleted there. Default false. */
  readonly mirror?: boolean;
  /** Called as it goes, at most once for each file. */
  readonly onProgress?: (progress: FsProgress) => void;
}

export interface FsTransferred {
  readonly files: number;
  readonly folders: number;
  readonly links: number;
  /** Of content. */
  readonly bytes: number;
  /** Bytes that had to be moved: the others were there. */
  readonly moved: number;
  readonly deleted: number;
}

export interface FsGcOptions extends CallOptions {
  /** Nothing is deleted: what would be is told. Default false. */
  readonly dryRun?: boolean;
  readonly fence?: Fence;
}

/** What a garbage collection found, of all trees of the namespace together: they share what they have in common. */
export interface FsGcResult {
  readonly objects: number;
  readonly bytes: number;
  /** That something needs: a tree, its history, a deploy, a snapshot that is pinned, a commit in flight. */
  readonly neededObjects: number;
  readonly neededBytes: number;
  /** With `dryRun` those that would be. */
  readonly deletedObjects: number;
  readonly deletedBytes: number;
  /** Milliseconds. */
  readonly tookMs: number;
}

/** A tree as it was, which nothing changes. It is kept until it is closed, or its World is. */
export interface FsSnapshot extends FsReader, AsyncDisposable {
  readonly root: string;
  /** What differs in `other`, by path. */
  diff(other: string, options?: CallOptions): Promise<readonly FsChange[]>;
  /** Copies it into a local folder. */
  download(folder: string, options?: FsTransferOptions): Promise<FsTransferred>;
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * A tree of files, or a local folder, with the same functions. Every call by itself is one commit; whoever reads sees all of it or none.
 *
 * ```ts
 * const site = world.fs("etcdfs:///fs/site");
 * await site.mkdir("/conf", { recursive: true });
 * await site.writeFile("/conf/motd", "hello\n");
 * console.log(await site.readdir("/conf"));
 * ```
 */
export interface Fs extends FsFiles {
  readonly uri: string;
  /**
   * All that `change` does is one commit; where it throws, nothing is. What others committed meanwhile is merged with it by path; the same path
   * changed by both is FsConflict, and nothing is committed.
   *
   * ```ts
   * const site = world.fs("etcdfs:///fs/site");
   * await site.transaction(async (tx) => {
   *   const text = await tx.readFile("/motd", "utf8");
   *   await tx.writeFile("/motd", text.toUpperCase());
   *   await tx.rm("/motd.draft", { force: true });
   * });
   * ```
   *
   * @throws what `change` throws; FsConflict
   */
  transaction<T>(
    change: (tx: FsFiles) => Promise<T>,
    options?: CallOptions & { readonly fence?: Fence },
  ): Promise<FsCommitted & { readonly result: T }>;
  /** Copies a local folder into the tree, as one commit. What is there already is not moved. */
  upload(folder: string, options?: FsTransferOptions): Promise<FsCommitted & FsTransferred>;
  /** Copies the tree, or a folder of it, into a local folder. What is there already is left. */
  download(folder: string, options?: FsTransferOptions): Promise<FsTransferred>;
  /** The root as of now; undefined where there is no such tree. */
  root(options?: CallOptions): Promise<string | undefined>;
  /** The tree as it is now, pinned. */
  snapshot(options?: CallOptions): Promise<FsSnapshot>;
  /**
   * The tree as of one of the roots of its history, or that a deploy has, pinned.
   *
   * @throws FsError ENOENT where it is not kept any more
   */
  at(root: string, options?: CallOptions): Promise<FsSnapshot>;
  /** The newest first. As many as are kept, or `limit`. */
  log(options?: CallOptions & { readonly limit?: number }): Promise<readonly FsLogEntry[]>;
  /** Every commit, by what differs. */
  changes(options?: { readonly path?: string; readonly signal?: AbortSignal }): Watch<FsEvent>;
  /** As in Node: what changes in a file or a folder, from now on. With `recursive` also in the folders below. */
  watch(path: string, options?: { readonly recursive?: boolean; readonly signal?: AbortSignal }): AsyncIterable<FsWatchEvent>;
  /** Deletes what nothing needs. The leader does that from time to time by itself. */
  gc(options?: FsGcOptions): Promise<FsGcResult>;
}
