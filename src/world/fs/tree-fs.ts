import type { Clock } from "../../clock.ts";
import type { CallOptions } from "../api/common.ts";
import type { Fs, FsLogEntry, FsSnapshot, FsTransferOptions } from "../api/fs.ts";
import type { Source } from "../watch/news.ts";
import { emptyRoot } from "./engine/index.ts";
import type { Commit, Engine, PinnedTree, Repository } from "./engine/types.ts";
import { changesIn, eventsOf, nodeWatch, told } from "./changes.ts";
import type { Told } from "./changes.ts";
import { badType, FsError } from "./error.ts";
import { filesOver } from "./files.ts";
import { readerOver } from "./reader.ts";
import { downloadInto, uploadInto } from "./transfer.ts";
import { draftWay, snapshotWay, treeWay } from "./tree-way.ts";
import type { Run } from "./way.ts";
import { treeVolume } from "./tree-volume.ts";
import { checkPath, walk } from "./walk.ts";

export interface TreeFsParts {
  readonly uri: string;
  readonly repository: Repository;
  readonly engine: Pick<Engine, "collect">;
  readonly clock: Clock;
  /** One call on files. */
  readonly run: Run;
  readonly failure: (error: unknown, what: string) => unknown;
  /** One of the others: in its time. */
  readonly call: <T>(what: string, options: CallOptions, act: (signal: AbortSignal | undefined) => Promise<T>) => Promise<T>;
}

/** A tree that is kept by an engine. */
export function treeFs(parts: TreeFsParts): Fs {
  const { uri, repository, engine, clock, run, call, failure } = parts;
  const now = (): number => clock.wallTime().getTime();
  const files = filesOver(treeWay(repository, now, run));
  const failing =
    (source: Source<Told>): Source<Told> =>
    (handler) =>
      source({ onNews: handler.onNews, onFailure: (error) => handler.onFailure(failure(error, `watch ${uri}`)) });
  const pinnedHead = async (signal: AbortSignal | undefined): Promise<PinnedTree> => {
    for (;;) {
      const head = await repository.head(signal);
      const pinned = await repository.pin(head?.root ?? emptyRoot, signal);
      // Undefined where others have gone on far since.
      if (pinned !== undefined) return pinned;
    }
  };
  const snapshotOf = (tree: PinnedTree): FsSnapshot => {
    const close = (): Promise<void> => tree.close();
    return {
      ...readerOver(snapshotWay(tree, run)),
      root: tree.root,
      diff: (other, options = {}) =>
        call(`compare roots of ${uri}`, options, async (signal) => {
          const differences = await repository.diff(tree.root, other, signal === undefined ? {} : { signal });
          return told(differences);
        }),
      download: (folder, options = {}) => download(tree, folder, options),
      close,
      [Symbol.asyncDispose]: close,
    };
  };
  const download = (tree: PinnedTree, folder: string, options: FsTransferOptions): ReturnType<FsSnapshot["download"]> =>
    call(`download ${uri}`, patient(options), async (signal) => {
      const from = await folderIn(tree, options.path, "download");
      checkPath(folder, "folder");
      return await downloadInto(tree, from, folder, { ...options, ...(signal === undefined ? {} : { signal }) });
    });

  return {
    ...files,
    uri,
    transaction: (change, options = {}) => {
      if (typeof change !== "function") throw badType("change", "of type function", change);
      return call(`change ${uri}`, patient(options), async (signal) => {
        await using draft = await repository.draft(signal);
        const way = draftWay(draft, now, run);
        let result;
        try {
          result = await change(filesOver(way));
        } finally {
          await way.end();
        }
        return { ...(await draft.commit({ signal, fence: options.fence })), result };
      });
    },
    upload: (folder, options = {}) =>
      call(`upload into ${uri}`, patient(options), async (signal) => {
        checkPath(folder, "folder");
        await using draft = await repository.draft(signal);
        const way = draftWay(draft, now, run);
        if (options.path !== undefined) await filesOver(way).mkdir(options.path, { recursive: true });
        const into = await folderIn(draft, options.path, "upload");
        const done = await uploadInto(draft, into, folder, { ...options, ...(signal === undefined ? {} : { signal }) });
        return { ...done, ...(await draft.commit({ signal })) };
      }),
    download: async (folder, options = {}) => {
      await using tree = await call(`read ${uri}`, patient(options), pinnedHead);
      return await download(tree, folder, options);
    },
    root: (options = {}) => call(`read the root of ${uri}`, options, async (signal) => (await repository.head(signal))?.root),
    snapshot: (options = {}) => call(`read ${uri}`, options, async (signal) => snapshotOf(await pinnedHead(signal))),
    at: (root, options = {}) =>
      call(`read ${uri}`, options, async (signal) => {
        checkPath(root, "root");
        const tree = await repository.pin(root, signal);
        if (tree === undefined) throw new FsError("ENOENT", { syscall: "open", path: root });
        return snapshotOf(tree);
      }),
    log: (options = {}) =>
      call(`read the history of ${uri}`, options, async (signal) => {
        const commits = await repository.log({ limit: options.limit, signal });
        return commits.map(logEntryOf);
      }),
    changes: ({ path = "/", signal } = {}) => eventsOf(failing(changesIn(repository, path, clock)), signal),
    watch: (path, options = {}) =>
      nodeWatch(files, (signal) => eventsOf(failing(changesIn(repository, "/", clock)), signal), path, options),
    gc: (options = {}) =>
      call("collect what no tree needs", patient(options), (signal) =>
        engine.collect({ dryRun: options.dryRun, fence: options.fence, signal }),
      ),
  };
}

/** Of what takes as long as it takes, unless somebody says how long. */
function patient(options: CallOptions): CallOptions {
  return { timeoutMs: 2 ** 31 - 1, ...options };
}

async function folderIn(tree: Parameters<typeof treeVolume>[0], path: string | undefined, syscall: string): Promise<string> {
  if (path === undefined) return "";
  checkPath(path);
  const place = { syscall, path };
  const { found, path: at } = await walk(treeVolume(tree, undefined), path, place, true);
  if (found === undefined) throw new FsError("ENOENT", place);
  if (found.kind !== "folder") throw new FsError("ENOTDIR", place);
  return at;
}

function logEntryOf({ root, parent, generation, by, at, revision }: Commit): FsLogEntry {
  return { root, parent, generation, by, at, revision };
}
