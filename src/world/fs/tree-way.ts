import { WorldError } from "../error.ts";
import { emptyContent, emptyRoot } from "./engine/index.ts";
import type { Draft, Repository, Tree } from "./engine/types.ts";
import { FsConflict, FsError } from "./error.ts";
import type { Access } from "./flags.ts";
import { draftFile, draftVolume, storedFile, treeVolume } from "./tree-volume.ts";
import type { RawFile, Volume } from "./volume.ts";
import type { Call, Opening, Run, Way } from "./way.ts";

/** How often a call is made anew where others are always first. */
const mostTries = 30;

/** One call after the other. */
export type Turn = <T>(act: () => Promise<T>) => Promise<T>;

export function inTurn(): Turn {
  let last: Promise<unknown> = Promise.resolve();
  return async (act) => {
    const before = last;
    const own = (async () => {
      await before.catch(() => undefined);
      return await act();
    })();
    last = own;
    return await own;
  };
}

/** A tree that nothing changes. */
export function snapshotWay(tree: Tree, run: Run): Way {
  const read: Way["read"] = (call, act) => run(call, () => act(treeVolume(tree, call.signal)));
  return {
    read,
    change: (call) => run(call, () => Promise.reject(new FsError("EROFS", call.place))),
    open: (call, { write, create }, plan) =>
      read(call, async (volume) => {
        if (write || create) throw new FsError("EROFS", call.place);
        return await volume.open((await plan(volume)).path, readOnly, 0);
      }),
  };
}

const readOnly: Access = { read: true, write: false, append: false, create: false, exclusive: false, truncate: false };

export interface DraftWay extends Way {
  /** Closes what is open, and ends it: no call comes to the draft any more. */
  end(): Promise<void>;
}

/** Calls within a transaction: one after the other, as drafts want it. */
export function draftWay(draft: Draft, now: () => number, run: Run): DraftWay {
  const turn = inTurn();
  const open = new Set<RawFile>();
  let isOver = false;
  const enter = <T>(call: Call, act: (volume: Volume) => Promise<T>): Promise<T> =>
    turn(async () => {
      if (isOver) throw overBy(call.place.syscall);
      return await run(call, () => act(draftVolume(draft, now, call.signal)));
    });
  return {
    read: enter,
    change: (call, _again, act) => enter(call, act),
    open: (call, access, plan) =>
      enter(call, async (volume) => {
        const { path, mode } = await plan(volume);
        const raw = await volume.open(path, access, mode);
        const end = async (): Promise<void> => {
          if (!open.delete(held)) return;
          await turn(raw.close);
        };
        const held: RawFile = {
          ...raw,
          sync: () => turn(raw.sync),
          close: end,
          abandon: () => {
            open.delete(held);
            return raw.abandon();
          },
        };
        open.add(held);
        return held;
      }),
    end: async () => {
      for (const raw of [...open]) await raw.close();
      await turn(() => {
        isOver = true;
        return Promise.resolve();
      });
    },
  };
}

function overBy(what: string): WorldError {
  return new WorldError("CLOSED", `Cannot ${what}: the transaction is over`, {
    hint: "Await everything that a transaction does within it",
  });
}

/** Calls each by itself: what reads has the tree as it is then, what changes is a commit. */
export function treeWay(repository: Repository, now: () => number, run: Run): Way {
  const turn = inTurn();
  const read: Way["read"] = (call, act) =>
    run(call, async () => {
      for (let tries = 1; ; tries++) {
        const head = await repository.head(call.signal);
        try {
          return await act(treeVolume(repository.tree(head?.root ?? emptyRoot), call.signal));
        } catch (error) {
          // Others have gone on so far since that it is not kept.
          if (!isStale(error) || tries === mostTries) throw error;
        }
      }
    });
  const change = async <T>(call: Call, again: boolean, act: (volume: Volume) => Promise<T>): Promise<T> =>
    await turn(() =>
      run(call, async () => {
        for (let tries = 1; ; tries++) {
          await using draft = await repository.draft(call.signal);
          try {
            const result = await act(draftVolume(draft, now, call.signal));
            await draft.commit({ signal: call.signal });
            return result;
          } catch (error) {
            if (!again || !(error instanceof FsConflict) || tries === mostTries) throw error;
          }
        }
      }),
    );
  const opening = async (call: Call, access: Access, plan: (volume: Volume) => Promise<Opening>): Promise<RawFile> => {
    if (!access.write) {
      // What only reads may make a file all the same, with numbers as flags.
      if (access.create) await change(call, true, async (volume) => touched(volume, await plan(volume)));
      return await run(call, () => openPinned(repository, now, run, call, plan));
    }
    let path = "";
    await change(call, true, async (volume) => {
      const found = await plan(volume);
      await touched(volume, found);
      ({ path } = found);
    });
    return await openEditing(repository, path, access, now, (act) => turn(() => run(call, act)));
  };
  return { read, change, open: opening };
}

/** It is there. */
async function touched(volume: Volume, { path, access, mode, found }: Opening): Promise<void> {
  if (found === undefined) await (await volume.open(path, { ...access, truncate: false }, mode)).close();
}

async function openPinned(
  repository: Repository,
  now: () => number,
  run: Run,
  call: Call,
  plan: (volume: Volume) => Promise<Opening>,
): Promise<RawFile> {
  const { signal } = call;
  for (;;) {
    const head = await repository.head(signal);
    const pinned = head === undefined ? undefined : await repository.pin(head.root, signal);
    if (head !== undefined && pinned === undefined) continue;
    const tree = pinned ?? repository.tree(emptyRoot);
    try {
      const { path } = await plan(treeVolume(tree, signal));
      const raw = storedFile(tree, (await tree.entry(path, signal))!, undefined);
      const close = async (): Promise<void> => pinned?.close();
      const chmod = (mode: number): Promise<void> =>
        run(call, async () => {
          await using draft = await repository.draft();
          await draft.set(path, { mode, mtimeMs: now() });
          await draft.commit();
        });
      return { ...raw, chmod, close, abandon: close };
    } catch (error) {
      await pinned?.close();
      throw error;
    }
  }
}

/** A file that is there, open to be changed: each sync is a commit, and goes on with the file as it is then. */
async function openEditing(
  repository: Repository,
  path: string,
  access: Access,
  now: () => number,
  commit: Turn,
): Promise<RawFile> {
  let draft = await repository.draft();
  /** Undefined once it is not there any more: whoever has it open goes on with it alone. */
  const load = async (truncate: boolean): Promise<RawFile> => {
    const entry = await draft.entry(path);
    if (entry?.kind === "file") return draftFile(draft, path, entry, { ...access, truncate }, now);
    return raw ?? draftFile(draft, path, { kind: "file", mode: 0o644, mtimeMs: now(), ...emptyContent }, access, now);
  };
  let raw: RawFile | undefined;
  raw = await load(access.truncate);
  /** What was written where nothing else than appending was done: it may be done anew. */
  let appended: Uint8Array[] = [];
  let onlyAppends = access.append && !access.truncate;
  let isChanged = access.truncate;
  let isOver = false;

  const committed = async (): Promise<void> => {
    await raw!.sync();
    for (let tries = 1; ; tries++) {
      try {
        await draft.commit();
        return;
      } catch (error) {
        if (!onlyAppends || !(error instanceof FsConflict) || tries === mostTries) throw error;
        await draft.close();
        draft = await repository.draft();
        raw = await load(false);
        for (const bytes of appended) await raw.write(bytes, undefined);
        await raw.sync();
      }
    }
  };
  const store = async (): Promise<void> => {
    if (!isChanged) return;
    isChanged = false;
    await commit(committed);
    appended = [];
  };
  const sync = async (): Promise<void> => {
    await store();
    await draft.close();
    draft = await repository.draft();
    raw = await load(false);
  };
  return {
    stat: () => raw!.stat(),
    read: (into, at) => raw!.read(into, at),
    write: async (bytes, at) => {
      isChanged = true;
      if (access.append) appended.push(bytes);
      return await raw!.write(bytes, at);
    },
    truncate: async (size) => {
      isChanged = true;
      onlyAppends = false;
      await raw!.truncate(size);
    },
    chmod: async (mode) => {
      isChanged = true;
      await raw!.chmod(mode);
    },
    sync,
    close: async () => {
      if (isOver) return;
      isOver = true;
      try {
        await store();
      } finally {
        await draft.close();
      }
    },
    abandon: async () => {
      if (isOver) return;
      isOver = true;
      await draft.close();
    },
  };
}

function isStale(error: unknown): boolean {
  return error instanceof WorldError && error.code === "STALE";
}
