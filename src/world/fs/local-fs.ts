import { randomBytes } from "node:crypto";
import { watch as systemWatch } from "node:fs";
import * as system from "node:fs/promises";
import { passOn } from "../../clock.ts";
import type { CallOptions, Watch } from "../api/common.ts";
import type { Fs, FsCommitted, FsEvent, FsSnapshot } from "../api/fs.ts";
import type { Context } from "../context.ts";
import type { Source } from "../watch/news.ts";
import { changesIn, eventsOf, nodeWatch } from "./changes.ts";
import type { Told } from "./changes.ts";
import { memoryStore, openEngine } from "./engine/index.ts";
import type { Committed, Engine, Repository } from "./engine/types.ts";
import { badType, FsError } from "./error.ts";
import { filesOver } from "./files.ts";
import { applyTo } from "./local-apply.ts";
import { localVolume, localWay } from "./local.ts";
import { entriesBelow, uploadInto } from "./transfer.ts";
import { treeFs } from "./tree-fs.ts";
import type { TreeFsParts } from "./tree-fs.ts";
import { draftWay, inTurn } from "./tree-way.ts";
import { checkPath, walk } from "./walk.ts";

export interface LocalFsParts extends Pick<TreeFsParts, "run" | "call" | "failure"> {
  readonly uri: string;
  readonly folder: string;
  readonly context: Context;
}

/** A folder is looked through that often, whatever the system tells of it. */
const lookEveryMs = 2_000;
/** Many changes come together. */
const settleMs = 20;
/** What has changed so short a time ago may have changed again within the same millisecond. */
const freshMs = 50;
const unlimited = { fileBytes: Infinity, treeBytes: Infinity };

/** What a folder is at a moment, as a tree in memory. */
interface Copied {
  readonly engine: Engine;
  readonly repository: Repository;
  readonly root: string;
}

/**
 * A folder of this machine, as it is. It has no history but what it is now: snapshots and transactions work on a copy in memory, and what a
 * transaction comes to is written file by file, where nobody has changed the same meanwhile.
 */
export function localFs({ uri, folder, context, ...calls }: LocalFsParts): Fs {
  const { clock, hostname } = context;
  const { run, call } = calls;
  const files = filesOver(localWay(folder, run));
  const turn = inTurn();
  const now = (): number => clock.wallTime().getTime();

  const newEngine = (): Engine => openEngine({ store: memoryStore(clock), by: hostname, randomBytes });
  /** Brings the tree to what the folder is. */
  const refresh = async (repository: Repository, from: string, signal: AbortSignal | undefined): Promise<Committed> => {
    await using draft = await repository.draft(signal);
    const unchangedBefore = now() - freshMs;
    await uploadInto(draft, "", from, { mirror: true, unchangedBefore, ...(signal === undefined ? {} : { signal }) });
    return await draft.commit({ signal });
  };
  const copy = async (from: string, signal: AbortSignal | undefined): Promise<Copied> => {
    const engine = newEngine();
    try {
      const repository = engine.repository("copy", unlimited);
      const { root } = await refresh(repository, from, signal);
      return { engine, repository, root };
    } catch (error) {
      await engine.close();
      throw error;
    }
  };
  const exists = async (): Promise<boolean> => (await localVolume(folder).look("")) !== undefined;
  const rootNow = async (signal: AbortSignal | undefined): Promise<string> => {
    const { engine, root } = await copy(folder, signal);
    await engine.close();
    return root;
  };
  const snapshotOf = async (from: string, signal: AbortSignal | undefined): Promise<FsSnapshot> => {
    const { engine, repository } = await copy(from, signal);
    const inner = await treeFs({ uri, repository, engine, clock, ...calls }).snapshot();
    const release = context.hold(() => engine.close());
    const close = async (): Promise<void> => {
      release();
      await engine.close();
    };
    return { ...inner, close, [Symbol.asyncDispose]: close };
  };

  const changes: Fs["changes"] = ({ path = "/", signal } = {}): Watch<FsEvent> => {
    const source: Source<Told> = (handler) => {
      const engine = newEngine();
      const repository = engine.repository("copy", unlimited);
      const over = new AbortController();
      let stop = (): void => undefined;
      const end = (): void => {
        if (over.signal.aborted) return;
        over.abort(new DOMException("The watch is over", "AbortError"));
        release();
        stop();
        void engine.close();
      };
      const fail = (error: unknown): void => {
        if (over.signal.aborted) return;
        end();
        handler.onFailure(error);
      };
      const release = context.hold(() => {
        fail(context.over.reason);
        return Promise.resolve();
      });
      const look = async (): Promise<void> => {
        for (;;) {
          try {
            if (await exists()) await refresh(repository, folder, over.signal);
            return;
          } catch (error) {
            // It went while it was looked at.
            const { code } = error as NodeJS.ErrnoException;
            if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
            await clock.sleep(settleMs, over.signal);
          }
        }
      };
      const follow = async (): Promise<void> => {
        await look();
        if (over.signal.aborted) return;
        stop = changesIn(repository, path, clock)({ onNews: handler.onNews, onFailure: fail });
        for (;;) {
          await changed(folder, over.signal, clock);
          await look();
        }
      };
      follow().catch(fail);
      return end;
    };
    return eventsOf(source, signal);
  };

  return {
    ...files,
    uri,
    transaction: (change, options = {}) => {
      if (typeof change !== "function") throw badType("change", "of type function", change);
      return call(`change ${uri}`, patient(options), (signal) =>
        turn(async () => {
          const { engine, repository, root: base } = await copy(folder, signal);
          await using _ = engine;
          await using draft = await repository.draft(signal);
          const way = draftWay(draft, now, run);
          let result;
          try {
            result = await change(filesOver(way));
          } finally {
            await way.end();
          }
          const { changed: isChanged, root } = await draft.commit({ signal });
          if (!isChanged) return { changed: false, root, revision: 0, result };
          options.fence?.check();
          await applyTo(folder, repository.tree(root), await repository.diff(base, root), `change ${uri}`);
          // Times of folders are the system's.
          return { changed: true, root: await rootNow(signal), revision: 0, result };
        }),
      );
    },
    upload: (from, options = {}) =>
      call(`upload into ${uri}`, patient(options), async (signal) => {
        checkPath(from, "folder");
        await system.mkdir(folder, { recursive: true });
        const before = await rootNow(signal);
        let into = folder;
        if (options.path !== undefined) {
          await files.mkdir(options.path, { recursive: true });
          const { path } = await walk(localVolume(folder), options.path, { syscall: "upload", path: options.path }, true);
          into = `${folder}/${path}`;
        }
        await using source = await snapshotOf(from, signal);
        const { path: _, ...rest } = options;
        const done = await source.download(into, rest);
        const root = await rootNow(signal);
        const committed: FsCommitted = { changed: root !== before, root, revision: 0 };
        return { ...done, ...committed };
      }),
    download: async (to, options = {}) => {
      await using source = await call(`read ${uri}`, patient(options), (signal) => snapshotOf(folder, signal));
      return await source.download(to, options);
    },
    root: (options = {}) =>
      call(`read the root of ${uri}`, patient(options), async (signal) => ((await exists()) ? await rootNow(signal) : undefined)),
    snapshot: (options = {}) => call(`read ${uri}`, patient(options), (signal) => snapshotOf(folder, signal)),
    at: (root, options = {}) =>
      call(`read ${uri}`, patient(options), async (signal) => {
        const snapshot = await snapshotOf(folder, signal);
        if (snapshot.root === root) return snapshot;
        await snapshot.close();
        throw new FsError("ENOENT", { syscall: "open", path: root });
      }),
    log: (options = {}) =>
      call(`read the history of ${uri}`, patient(options), async (signal) => {
        if (!(await exists()) || options.limit === 0) return [];
        const { engine, repository, root } = await copy(folder, signal);
        await using _ = engine;
        const entries = await entriesBelow(repository.tree(root), "", "", signal);
        const newest = entries.reduce((ms, { of }) => Math.max(ms, of.mtimeMs), 0);
        return [{ root, parent: undefined, generation: 1, by: hostname, at: new Date(newest).toISOString(), revision: 0 }];
      }),
    changes,
    watch: (path, options = {}) => nodeWatch(files, (signal) => changes({ signal }), path, options),
    gc: () =>
      Promise.resolve({
        objects: 0,
        bytes: 0,
        neededObjects: 0,
        neededBytes: 0,
        deletedObjects: 0,
        deletedBytes: 0,
        tookMs: 0,
      }),
  };
}

function patient(options: CallOptions): CallOptions {
  return { timeoutMs: 2 ** 31 - 1, ...options };
}

/** Returns when something may have changed in a folder: at the latest after some time, as no system tells of everything. */
async function changed(folder: string, signal: AbortSignal, clock: Context["clock"]): Promise<void> {
  const rung = new AbortController();
  const release = passOn([signal], rung);
  const ring = (): void => {
    rung.abort();
  };
  let watcher: ReturnType<typeof systemWatch> | undefined;
  try {
    watcher = systemWatch(folder, { recursive: true }, ring);
    watcher.on("error", ring);
  } catch {
    // A folder that is not there tells nothing.
  }
  try {
    await clock.sleep(lookEveryMs, rung.signal).catch(() => undefined);
    signal.throwIfAborted();
    if (rung.signal.aborted) await clock.sleep(settleMs, signal);
  } finally {
    release();
    watcher?.close();
  }
}
