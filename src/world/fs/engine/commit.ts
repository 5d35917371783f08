import type { KeyRecord, RecordOp, RecordTxn } from "../../../etcd/index.ts";
import type { Fence } from "../../api/common.ts";
import type { FsVersion } from "../../api/fs.ts";
import { WorldError } from "../../error.ts";
import { FsConflict } from "../error.ts";
import { differences } from "./diff.ts";
import { MergeConflict, mergeRoots } from "./merge.ts";
import { chunkAddresses, emptyFolder, gone } from "./node.ts";
import type { Entries, StoredEntry, StoredFolder } from "./node.ts";
import type { Objects } from "./objects.ts";
import { recordIn } from "./pins.ts";
import type { HeldPin } from "./pins.ts";
import { encodeCommit, parseCommit, rootFolder } from "./records.ts";
import type { CommitRecord } from "./records.ts";
import type { Store } from "./store.ts";
import { mostAtOnce, putIfAbsent } from "./upload.ts";
import type { Upload } from "./upload.ts";
import type { Address, Commit, CommitOptions, Committed, Limits } from "./types.ts";
import { versionOf } from "./version.ts";

export interface CommitParts {
  readonly name: string;
  readonly by: string;
  readonly limits: Limits;
  readonly store: Store;
  readonly objects: Objects;
  readonly upload: Upload;
  readonly pin: HeldPin;
  /** What it began with. */
  readonly base: Commit | undefined;
  /** What it is to be. */
  readonly ours: StoredFolder;
  /** Objects of folders that were made for it, and are made by merging. */
  readonly made: Map<Address, Buffer>;
  /** For ids that nobody else has. */
  readonly id: string;
}

/**
 * Makes the draft the head of its tree, merged with what is there by then. The one transaction that moves the head holds only where the
 * head is what was merged with, where the pin that shelters the objects is there, and where every object exists that comes with it.
 *
 * @throws FsConflict; WorldError FENCED, TOO_LARGE, SESSION_LOST, STALE, OUTCOME_UNKNOWN; what the store fails with
 */
export async function commit(parts: CommitParts, options: CommitOptions): Promise<Committed> {
  let head = parts.base;
  for (;;) {
    const merged = await mergedWith(parts, head, options.signal);
    if (merged === "head is gone") {
      head = await readHead(parts, options.signal);
      continue;
    }
    const { root, needed } = merged;
    if (root.node === (head?.root ?? emptyFolder)) {
      return { changed: false, root: root.node, revision: head?.revision ?? parts.pin.revision };
    }
    checkQuota(parts, root, head);
    const outcome = await unlessGone(parts, head, options.signal, () => attempt(parts, { head, root, needed }, options));
    if (outcome === "head is gone") head = await readHead(parts, options.signal);
    else if ("committed" in outcome) return outcome.committed;
    else head = outcome.head;
  }
}

async function readHead({ store, name }: CommitParts, signal: AbortSignal | undefined): Promise<Commit | undefined> {
  const key = store.keys.fs.heads.key(name);
  const record = recordIn((await store.txn({ when: [], then: [{ get: key }] }, { signal })).answers[0]);
  return record === undefined ? undefined : parseCommit(record);
}

/** What the tree becomes on top of a head, and the objects that the head does not have. */
async function mergedWith(
  parts: CommitParts,
  head: Commit | undefined,
  signal: AbortSignal | undefined,
): Promise<{ readonly root: StoredFolder; readonly needed: ReadonlySet<Address> } | "head is gone"> {
  const { base, ours, made, objects, name } = parts;
  const read = (node: Address): Promise<Entries> => objects.folder(node, signal, (address) => made.get(address));
  const theirs = rootFolder(head);
  return await unlessGone(parts, head, signal, async () => {
    const how = { read, made: (node: Address, bytes: Buffer) => made.set(node, bytes) };
    const isOurs = head?.root === base?.root;
    const root = isOurs ? ours : await mergeRoots(rootFolder(base), ours, theirs, how).catch(asConflict(name));
    const needed = new Set<Address>();
    for await (const { before, after } of addedObjects(theirs, root, read)) {
      for (const address of after) if (address !== emptyFolder && !before.has(address)) needed.add(address);
    }
    return { root, needed };
  });
}

/** A head that nothing pins may be left behind while it is read: somebody has committed after it, and what it alone had was collected. */
async function unlessGone<T>(
  parts: CommitParts,
  head: Commit | undefined,
  signal: AbortSignal | undefined,
  act: () => Promise<T>,
): Promise<T | "head is gone"> {
  try {
    return await act();
  } catch (error) {
    const isGone = error instanceof WorldError && error.code === "STALE";
    if (isGone && (await readHead(parts, signal))?.revision !== head?.revision) return "head is gone";
    throw error;
  }
}

/** Objects that come with each path, and those that were at the same path before. */
async function* addedObjects(
  before: StoredFolder,
  after: StoredFolder,
  read: (node: Address) => Promise<Entries>,
): AsyncGenerator<{ readonly before: ReadonlySet<Address>; readonly after: readonly Address[] }> {
  for await (const one of differences("", before, after, read, "every folder")) {
    yield { before: new Set(one.before && objectsOf(one.before)), after: one.after === undefined ? [] : objectsOf(one.after) };
  }
}

/** Of its own, without those of what is in it. */
function objectsOf(entry: StoredEntry): readonly Address[] {
  return entry.kind === "folder" ? [entry.node] : entry.kind === "file" ? chunkAddresses(entry) : [];
}

/** @throws FsConflict for a MergeConflict */
function asConflict(name: string): (error: unknown) => never {
  const version = (entry: StoredEntry | undefined): FsVersion | undefined => entry && versionOf(entry);
  return (error) => {
    if (!(error instanceof MergeConflict)) throw error;
    const { base, ours, theirs } = error.versions;
    throw new FsConflict(`commit to ${name}`, {
      path: `/${error.path}`,
      base: version(base),
      ours: version(ours),
      theirs: version(theirs),
    });
  };
}

/** A tree that is too large already may become smaller. @throws WorldError TOO_LARGE */
function checkQuota({ name, limits }: CommitParts, root: StoredFolder, head: Commit | undefined): void {
  if (root.bytes <= limits.treeBytes || root.bytes <= (head?.bytes ?? 0)) return;
  throw new WorldError(
    "TOO_LARGE",
    `Cannot commit to ${name}: its files would have ${root.bytes} bytes, at most ${limits.treeBytes} are allowed`,
    { data: { limit: "tree", bytes: root.bytes, most: limits.treeBytes } },
  );
}

interface Attempt {
  readonly head: Commit | undefined;
  readonly root: StoredFolder;
  readonly needed: ReadonlySet<Address>;
}

type Outcome = { readonly committed: Committed } | { readonly head: Commit | undefined };

async function attempt(parts: CommitParts, { head, root, needed }: Attempt, options: CommitOptions): Promise<Outcome> {
  const { store, upload, made, pin } = parts;
  const { signal, fence } = options;
  for (const address of needed) {
    const bytes = made.get(address);
    if (bytes !== undefined) await upload.add(address, bytes, signal);
  }
  const others = await objectsOfOthers(parts, needed, head, signal);
  const waiting = upload.waitingOf(needed);
  const bytes = waiting.reduce((sum, [, one]) => sum + one.length, 0);
  const isLarge = waiting.length + others.length > mostAtOnce.objects || bytes > mostAtOnce.bytes;
  if (upload.isAhead || isLarge) {
    await upload.open(signal);
    await upload.finish(needed, signal);
    await upload.touch(others, signal);
    await upload.detach(needed, signal);
  }
  const isAhead = upload.isAhead;
  const { fs } = store.keys;
  const generation = (head?.generation ?? 0) + 1;
  const record: CommitRecord = {
    id: parts.id,
    root: root.node,
    parent: head?.root,
    generation,
    by: parts.by,
    at: store.clock.wallTime().toISOString(),
    entries: root.entries,
    bytes: root.bytes,
  };
  const value = encodeCommit(record);
  const [headKey, logKey] = [fs.heads.key(parts.name), fs.commit(parts.name, generation)];
  const touched = isAhead ? [] : others.map((address) => fs.objects.key(address));
  const objects: readonly RecordOp[] = isAhead ? [] : waiting.map(([address, own]) => putIfAbsent(fs.objects.key(address), own));
  const txn: RecordTxn = {
    when: [
      head === undefined ? { key: headKey, createRevision: 0 } : { key: headKey, modRevision: head.revision },
      pin.condition,
      ...touched.map((key) => ({ key, exists: true }) as const),
      ...(fence === undefined ? [] : [{ key: fence.key, createRevision: fence.revision }]),
    ],
    then: [...objects, ...touched.map((touch) => ({ touch })), { put: headKey, value }, { put: logKey, value }, { del: pin.key }],
    otherwise: [
      { get: headKey },
      { get: logKey },
      { get: pin.key, keysOnly: true },
      ...touched.map((get) => ({ get, keysOnly: true })),
    ],
  };
  const answer = await sent(parts, txn, options);
  if (answer.succeeded) {
    pin.spent();
    for (const address of needed) {
      const own = made.get(address);
      if (own !== undefined) parts.objects.learn(address, own);
    }
    return { committed: { changed: true, root: root.node, revision: answer.revision } };
  }
  const [nowHead, inLog, pinned, ...there] = answer.answers.map(recordIn);
  if (inLog?.value.equals(value) === true) {
    // The answer to an earlier try was lost.
    pin.spent();
    return { committed: { changed: true, root: root.node, revision: inLog.createRevision } };
  }
  return { head: refused({ parts, head, fence, generation, others }, { nowHead, inLog, pinned, there }) };
}

/** Objects that neither this draft has stored nor the head has: of another tree, or of a base that the head has left behind. */
async function objectsOfOthers(
  { upload, objects }: CommitParts,
  needed: ReadonlySet<Address>,
  head: Commit | undefined,
  signal: AbortSignal | undefined,
): Promise<Address[]> {
  const others = new Set([...needed].filter((address) => !upload.holds(address)));
  if (others.size > 0 && head !== undefined) {
    await objects.walk([head.root], new Set(), (address) => others.delete(address), signal);
  }
  return [...others];
}

/** Sends the transaction; what may have happened is told so. */
async function sent(
  { store, pin, name }: CommitParts,
  txn: RecordTxn,
  { fence, signal }: CommitOptions,
): ReturnType<Store["txn"]> {
  // An object, as the type checker does not see that a callback changes it.
  const request = { left: false };
  const check = (): void => {
    pin.check();
    fence?.check();
    request.left = true;
  };
  try {
    return await store.txn(txn, { signal, check });
  } catch (error) {
    if (!request.left || !mayHaveHappened(error, signal)) throw error;
    throw new WorldError(
      "OUTCOME_UNKNOWN",
      `Cannot commit to ${name} for certain: it was sent, and nothing tells what became of it`,
      {
        outcome: "unknown",
        cause: error,
      },
    );
  }
}

function mayHaveHappened(error: unknown, signal: AbortSignal | undefined): boolean {
  if (signal?.aborted === true && error === signal.reason) return true;
  const data: unknown = error instanceof Error && "data" in error ? error.data : undefined;
  const outcome = typeof data === "object" && data !== null && "outcome" in data ? data.outcome : undefined;
  return outcome === "unknown";
}

interface Tried {
  readonly parts: CommitParts;
  readonly head: Commit | undefined;
  readonly fence: Fence | undefined;
  readonly generation: number;
  readonly others: readonly Address[];
}

interface Seen {
  readonly nowHead: KeyRecord | undefined;
  readonly inLog: KeyRecord | undefined;
  readonly pinned: KeyRecord | undefined;
  readonly there: readonly (KeyRecord | undefined)[];
}

/** The head to merge with next; or why there is no use in that. */
function refused({ parts, head, fence, generation, others }: Tried, { nowHead, inLog, pinned, there }: Seen): Commit | undefined {
  const now = nowHead === undefined ? undefined : parseCommit(nowHead);
  // A commit takes the pin away: while it is there, none has happened.
  if (pinned === undefined) {
    if (now !== undefined && now.generation >= generation && inLog === undefined) {
      const state = "so many have come after it that the history is not kept that far";
      throw new WorldError("OUTCOME_UNKNOWN", `Cannot commit to ${parts.name} for certain: ${state}`, { outcome: "unknown" });
    }
    throw new WorldError("SESSION_LOST", `Cannot commit to ${parts.name}: the session was lost meanwhile`, { retryable: true });
  }
  if (now?.revision !== head?.revision) return now;
  const missing = there.findIndex((one) => one === undefined);
  if (missing >= 0) throw gone(others[missing]!);
  const holder = fence?.key ?? "";
  throw new WorldError("FENCED", `Cannot commit to ${parts.name}: whoever held ${holder} holds it no more`, {
    key: holder,
    data: { fence: holder },
  });
}
