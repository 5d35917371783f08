import type { KeyRecord } from "../../../etcd/index.ts";
import { bytesOf, emptyFolder } from "./node.ts";
import type { Objects } from "./objects.ts";
import { parseCommit, parsePin, rootOfDeploy } from "./records.ts";
import type { Pin } from "./records.ts";
import { deployRecords } from "./repository.ts";
import type { Moment, Store, StoreCall } from "./store.ts";
import type { Address, Commit, History } from "./types.ts";

/** What the records say of one moment. */
export interface Seen {
  readonly moment: Moment;
  /** Commits of each tree that are in its history, the newest first. */
  readonly trees: ReadonlyMap<string, readonly LoggedCommit[]>;
  readonly pins: readonly { readonly pin: Pin; readonly revision: number }[];
  readonly deployed: readonly Address[];
}

export interface LoggedCommit extends Commit {
  readonly key: string;
}

/** @throws WorldError INVALID_VALUE where a record cannot be read: what it needs is not known */
export async function lookAround(store: Store, call: StoreCall): Promise<Seen> {
  const { fs } = store.keys;
  const moment = await store.moment(call);
  const log = await moment.scan(fs.log, { ...call, descending: true });
  const pins = await moment.scan(fs.pins, call);
  const heads = await moment.scan(fs.heads, call);
  const deploys = await deployRecords(store.keys, moment, call.signal);
  const trees = new Map<string, LoggedCommit[]>();
  const add = (name: string, commit: LoggedCommit): void => {
    const commits = trees.get(name) ?? [];
    trees.set(name, commits);
    commits.push(commit);
  };
  // Whoever has deleted the log by hand has not deleted the tree.
  for (const record of heads.records) {
    const name = fs.heads.nameIn(record.key);
    if (name !== undefined) add(name, loggedIn(record, fs.commit(name, parseCommit(record).generation)));
  }
  for (const record of log.records) {
    const id = fs.parseCommit(record.key);
    if (id === undefined) continue;
    const commit = loggedIn(record, record.key);
    if (trees.get(id.name)?.[0]?.generation !== commit.generation) add(id.name, commit);
  }
  return {
    moment,
    trees,
    pins: pins.records.map((record) => ({ pin: parsePin(record), revision: record.createRevision })),
    deployed: deploys.flatMap((record) => rootOfDeploy(record) ?? []),
  };
}

function loggedIn(record: KeyRecord, key: string): LoggedCommit {
  return { ...parseCommit(record), key };
}

/** The commit that was the head when the pin was made. */
function asOf(commits: readonly LoggedCommit[] | undefined, revision: number): LoggedCommit | undefined {
  return commits?.find((commit) => commit.revision <= revision);
}

function treeOf(pin: Pin): string | undefined {
  return "tree" in pin ? pin.tree : "draft" in pin ? pin.draft : undefined;
}

/** Roots that somebody needs, whatever becomes of the history. */
export function rootsInUse({ trees, pins, deployed }: Seen): Set<Address> {
  const roots = new Set(deployed);
  for (const { pin, revision } of pins) {
    const name = treeOf(pin);
    const root = "root" in pin ? pin.root : name === undefined ? undefined : asOf(trees.get(name), revision)?.root;
    if (root !== undefined) roots.add(root);
  }
  return roots;
}

/** Everything that was written or touched since is needed: a commit in flight builds on it. Infinity where there is none. */
export function shelteredFrom({ pins }: Seen): number {
  return Math.min(Infinity, ...pins.flatMap(({ pin, revision }) => ("draft" in pin ? [revision] : [])));
}

/** Commits whose place in the history may go. The present one of each tree stays, and what was present when a pin was made. */
export async function tooOld(objects: Objects, seen: Seen, history: History, signal?: AbortSignal): Promise<LoggedCommit[]> {
  const old: LoggedCommit[] = [];
  for (const [name, commits] of seen.trees) {
    const pinned = new Set(seen.pins.flatMap(({ pin, revision }) => (treeOf(pin) === name ? [asOf(commits, revision)] : [])));
    const visited = new Set<Address>();
    const counted = new Set<Address>();
    let [kept, bytes] = [0, 0];
    let isFull = false;
    for (const commit of commits) {
      if (!isFull) {
        await objects.walk(
          [commit.root],
          visited,
          (address) => {
            if (!counted.has(address)) bytes += bytesOf(address);
            counted.add(address);
          },
          signal,
        );
      }
      isFull ||= kept > 0 && (kept >= history.commits || bytes > history.bytes);
      kept++;
      if (isFull && !pinned.has(commit)) old.push(commit);
    }
  }
  return old;
}

/** Every object that a tree of these roots has. */
export async function objectsOf(objects: Objects, roots: Iterable<Address>, signal?: AbortSignal): Promise<Set<Address>> {
  const needed = new Set<Address>();
  const all = [...new Set(roots)].filter((root) => root !== emptyFolder);
  await objects.walk(all, new Set(), (address) => needed.add(address), signal);
  return needed;
}
