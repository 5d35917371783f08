import type { Compare, KeyRecord } from "../../../etcd/index.ts";
import type { Difference as NewsDifference, News, Source } from "../../watch/news.ts";
import { differences } from "./diff.ts";
import { PinnedDraft } from "./draft.ts";
import { emptyFolder } from "./node.ts";
import type { Entries } from "./node.ts";
import type { Objects } from "./objects.ts";
import { recordIn } from "./pins.ts";
import type { HeldPin, Pins } from "./pins.ts";
import { parseCommit, rootOfDeploy } from "./records.ts";
import type { Moment, Store } from "./store.ts";
import { KeptTree, StoredTree } from "./tree.ts";
import type { Address, Commit, Difference, Draft, Limits, PinnedTree, Repository } from "./types.ts";

export interface RepositoryParts {
  readonly store: Store;
  readonly objects: Objects;
  readonly pins: Pins;
  readonly by: string;
  /** An id that nobody else has. */
  readonly newId: () => string;
  readonly onDraft: (draft: Draft) => void;
  readonly onDraftOver: (draft: Draft) => void;
}

export function repositoryOf(parts: RepositoryParts, name: string, limits: Limits): Repository {
  const { store, objects, pins, by, newId } = parts;
  const { fs } = store.keys;
  const headKey = fs.heads.key(name);

  const proof = async (root: Address, signal?: AbortSignal): Promise<Compare | undefined> => {
    const { records } = await store.scan(fs.commits(name), { descending: true, signal });
    const logged = records.find((record) => parseCommit(record).root === root);
    if (logged !== undefined) return { key: logged.key, createRevision: logged.createRevision };
    for (const record of await deployRecords(store.keys, await store.moment({ signal }), signal)) {
      if (rootOfDeploy(record) === root) return { key: record.key, modRevision: record.modRevision };
    }
    return undefined;
  };

  const pinned = async (root: Address, signal?: AbortSignal): Promise<HeldPin | undefined> => {
    for (;;) {
      const holds = await proof(root, signal);
      if (holds === undefined) return undefined;
      const { pin } = await pins.make({ root }, { when: [holds], signal });
      if (pin !== undefined) return pin;
    }
  };

  return {
    name,
    limits,
    head: async (signal) => {
      const { answers } = await store.txn({ when: [], then: [{ get: headKey }] }, { signal });
      const record = recordIn(answers[0]);
      return record && parseCommit(record);
    },
    tree: (root) => new StoredTree(objects, root),
    pin: async (root, signal): Promise<PinnedTree | undefined> => {
      if (root === emptyFolder) return new KeptTree(objects, root, undefined);
      const pin = await pinned(root, signal);
      return pin && new KeptTree(objects, root, pin);
    },
    proof,
    draft: async (signal) => {
      const { pin, read } = await pins.make({ draft: name }, { read: [headKey], signal });
      const [record] = read;
      const base = record && parseCommit(record);
      const { onDraftOver } = parts;
      const draft = new PinnedDraft({ name, by, limits, store, objects, pin: pin!, base, id: newId(), onOver: onDraftOver });
      parts.onDraft(draft);
      return draft;
    },
    log: async ({ limit, signal } = {}) => {
      const { records } = await store.scan(fs.commits(name), { descending: true, limit, signal });
      return records.map(parseCommit);
    },
    diff: async (before, after, { path = "", signal } = {}) => {
      const read = (node: Address): Promise<Entries> => objects.folder(node, signal);
      const trees = [before, after].map((root) => new StoredTree(objects, root));
      const [old, present] = await Promise.all(trees.map((tree) => tree.entry(path, signal)));
      const found: Difference[] = [];
      for await (const one of differences(path, old, present, read)) found.push(one);
      return found;
    },
    heads: commitsIn(store.watch(headKey)),
  };
}

/** Every deploy's record of a root. */
export async function deployRecords(
  { deploys }: Store["keys"],
  moment: Moment,
  signal: AbortSignal | undefined,
): Promise<KeyRecord[]> {
  const { records } = await moment.scan(deploys, { keysOnly: true, signal });
  const named = records.filter(({ key }) => deploys.parse(key)?.part === "root");
  const found: KeyRecord[] = [];
  for (const { key } of named) {
    const one = await moment.scan({ start: key, end: `${key}\0` }, { signal });
    found.push(...one.records);
  }
  return found;
}

function commitsIn(source: Source<KeyRecord>): Source<Commit> {
  return (handler) => {
    const watch: { failed: boolean; end?: () => void } = { failed: false };
    const told = (news: News<KeyRecord>): News<Commit> | undefined => {
      try {
        return newsOf(news);
      } catch (error) {
        watch.failed = true;
        watch.end?.();
        handler.onFailure(error);
        return undefined;
      }
    };
    watch.end = source({
      onNews: (news) => {
        const commits = watch.failed ? undefined : told(news);
        return commits === undefined ? undefined : handler.onNews(commits);
      },
      onFailure: handler.onFailure,
    });
    // News may have come at once.
    if (watch.failed) watch.end();
    return watch.end;
  };
}

function newsOf(news: News<KeyRecord>): News<Commit> {
  if (news.kind === "state") return news;
  if (news.kind === "snapshot") {
    return { ...news, items: new Map([...news.items].map(([key, record]) => [key, parseCommit(record)])) };
  }
  const changes = [...news.changes].map(([key, { before, after }]): [string, NewsDifference<Commit>] => [
    key,
    { before: before && parseCommit(before), after: after && parseCommit(after) },
  ]);
  return { ...news, changes: new Map(changes) };
}
