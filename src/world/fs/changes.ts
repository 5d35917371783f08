import { passOn } from "../../clock.ts";
import type { Clock } from "../../clock.ts";
import { isRetryable } from "../../errors.ts";
import type { FsChange, FsEvent, FsWatchEvent } from "../api/fs.ts";
import type { FsReader } from "../api/fs-files.ts";
import type { Watch } from "../api/common.ts";
import type { News, Source } from "../watch/news.ts";
import { watchOver } from "../watch/watch.ts";
import type { Commit, Difference, Entry, PinnedTree, Repository } from "./engine/types.ts";
import { emptyRoot, versionOf } from "./engine/index.ts";
import { WorldError } from "../error.ts";
import { FsError } from "./error.ts";
import { checkPath } from "./walk.ts";

/** What a commit has made of a tree. */
export interface Told {
  readonly root: string | undefined;
  readonly changes: readonly FsChange[];
}

function changeOf({ path, before, after }: Difference): FsChange {
  const type = before === undefined ? "added" : after === undefined ? "deleted" : "changed";
  return { path: `/${path}`, type, before: before && versionOf(before), after: after && versionOf(after) };
}

/** What differs by its time alone is no change. */
export function told(differences: readonly Difference[]): FsChange[] {
  return differences
    .map(changeOf)
    .filter(({ before, after }) => before?.kind !== after?.kind || before?.mode !== after?.mode || before?.hash !== after?.hash);
}

/** As users see them. */
export function eventsOf(source: Source<Told>, signal: AbortSignal | undefined): Watch<FsEvent> {
  return watchOver(source, signal, (news): FsEvent => {
    if (news.kind === "state") return news;
    const { revision } = news;
    if (news.kind === "snapshot") {
      const [told] = news.items.values();
      return { kind: "snapshot", root: told?.root, revision };
    }
    const [change] = news.changes.values();
    const { before, after } = change!;
    return { kind: news.kind, root: after?.root, previous: before?.root, changes: after?.changes ?? [], revision };
  });
}

type HeadNews = Exclude<News<Commit>, { readonly kind: "state" }>;

type Versions = ReadonlyMap<string, Entry>;

/** Where the cluster is out of reach for a moment. */
const againMs = 200;

/** Heads with what differs in them; those that come while one is looked at are one together. */
export function changesIn(repository: Repository, path: string, clock: Clock): Source<Told> {
  const below = path
    .split("/")
    .filter((level) => level !== "")
    .join("/");
  const within = below === "" ? {} : { path: below };

  /** What differs, also where the former root is not kept any more. */
  const since = async (before: string, known: Versions, root: string): Promise<readonly Difference[]> => {
    try {
      return await repository.diff(before, root, within);
    } catch (error) {
      if (!(error instanceof WorldError) || error.code !== "STALE") throw error;
      const present = new Map((await repository.diff(emptyRoot, root, within)).map((one) => [one.path, one.after!]));
      const paths = [...new Set([...known.keys(), ...present.keys()])].sort();
      return paths.map((at) => ({ path: at, before: known.get(at), after: present.get(at) }));
    }
  };

  return (handler) => {
    const over = new AbortController();
    let begun = false;
    let next: HeadNews | undefined;
    let state: Extract<News<Told>, { readonly kind: "state" }> | undefined;
    let working: Promise<void> | undefined;
    /** What was told last. It is kept until the next one is told. */
    let last: { readonly root: string | undefined; readonly pin: PinnedTree | undefined } = { root: undefined, pin: undefined };
    const known = new Map<string, Entry>();

    const end = (): void => {
      if (over.signal.aborted) return;
      over.abort();
      stop();
      if (working === undefined) void last.pin?.close();
    };
    const fail = (error: unknown): void => {
      if (over.signal.aborted) return;
      end();
      handler.onFailure(error);
    };
    const tellState = (): void => {
      if (state !== undefined && begun && !over.signal.aborted) void handler.onNews(state);
      state = undefined;
    };
    const tell = async (news: HeadNews): Promise<void> => {
      const { revision } = news;
      const commit = news.kind === "snapshot" ? [...news.items.values()][0] : [...news.changes.values()][0]?.after;
      const root = commit?.root;
      const pin = root === undefined ? undefined : await repository.pin(root);
      // Others have gone on since: what follows is on its way.
      if (root !== undefined && pin === undefined) return;
      const before = last;
      let differences: readonly Difference[];
      try {
        differences = await since(before.root ?? emptyRoot, known, root ?? emptyRoot);
      } catch (error) {
        await pin?.close();
        throw error;
      }
      last = { root, pin };
      void before.pin?.close();
      for (const { path: at, after } of differences) {
        if (after === undefined) known.delete(at);
        else known.set(at, after);
      }
      if (over.signal.aborted) return;
      if (!begun) {
        begun = true;
        await handler.onNews({ kind: "snapshot", items: new Map([["", { root, changes: [] }]]), revision });
      } else if (root !== before.root && differences.length > 0) {
        const difference = { before: { root: before.root, changes: [] }, after: { root, changes: told(differences) } };
        const kind = news.kind === "changes" ? "changes" : "resynced";
        await handler.onNews({ kind, changes: new Map([["", difference]]), revision });
      }
    };
    const work = async (): Promise<void> => {
      for (let one = next; one !== undefined && !over.signal.aborted; one = next) {
        next = undefined;
        try {
          await tell(one);
        } catch (error) {
          if (!isRetryable(error)) throw error;
          next ??= one;
          await clock.sleep(againMs, over.signal).catch(() => undefined);
          continue;
        }
        tellState();
      }
    };
    const stop = repository.heads({
      onNews: (news) => {
        if (over.signal.aborted) return;
        if (news.kind === "state") {
          state = news;
          if (working === undefined) tellState();
          return;
        }
        next = news;
        working ??= work()
          .catch(fail)
          .finally(() => {
            working = undefined;
            if (over.signal.aborted) void last.pin?.close();
          });
      },
      onFailure: fail,
    });
    return end;
  };
}

/** As `fs.watch` of Node: what comes and goes, and what changes, in one folder or file. */
export function nodeWatch(
  files: Pick<FsReader, "stat" | "realpath">,
  changes: (signal: AbortSignal) => Watch<FsEvent>,
  path: string,
  { recursive = false, signal }: { readonly recursive?: boolean; readonly signal?: AbortSignal },
): AsyncIterable<FsWatchEvent> {
  checkPath(path);
  return {
    [Symbol.asyncIterator]: () => {
      // Whoever ends the iteration does not wait for another change.
      const own = new AbortController();
      const release = passOn([signal], own);
      const events = namesIn(files, () => changes(own.signal), path, recursive);
      return {
        next: () => events.next(),
        return: async () => {
          own.abort();
          release();
          return await events.return(undefined);
        },
      };
    },
  };
}

async function* namesIn(
  files: Pick<FsReader, "stat" | "realpath">,
  changes: () => Watch<FsEvent>,
  path: string,
  recursive: boolean,
): AsyncGenerator<FsWatchEvent, undefined> {
  const refused = (error: unknown): never => {
    throw error instanceof FsError ? new FsError(error.code, { syscall: "watch", path }, error) : error;
  };
  const isFolder = (await files.stat(path).catch(refused)).isDirectory();
  const at = await files.realpath(path).catch(refused);
  const around = at === "/" ? "/" : `${at}/`;
  for await (const event of changes()) {
    if (event.kind !== "changes" && event.kind !== "resynced") continue;
    for (const { path: changed, type } of event.changes) {
      const eventType = type === "changed" ? "change" : "rename";
      if (changed === at) yield { eventType, filename: at.slice(at.lastIndexOf("/") + 1) };
      else if (isFolder && changed.startsWith(around)) {
        const filename = changed.slice(around.length);
        if (recursive || !filename.includes("/")) yield { eventType, filename };
      }
    }
  }
  return undefined;
}
