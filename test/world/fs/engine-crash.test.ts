import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chunkBytes } from "../../../src/world/fs/engine/index.ts";
import type { Repository, Store } from "../../../src/world/fs/engine/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import {
  bytesFrom,
  engineOver,
  filesIn,
  commit,
  headFiles,
  neededBy,
  objectsIn,
  storesIn,
  storesInMemory,
  tapped,
  write,
} from "./engine-fixture.ts";
import type { Files, Stores } from "./engine-fixture.ts";
import { full } from "../../support/full.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(async () => {
  await etcd.stop();
});

/** A process that dies at one of the calls for which it waits: nothing of it comes to the store any more, also no end of a lease. */
class Mortal {
  readonly store: Store;
  calls = 0;
  readonly #leases: (() => Promise<void>)[] = [];
  #isDead = false;

  /** @param diesAt number of the call; `arrives`: it is carried out, and nobody hears of it */
  constructor(store: Store, diesAt: number, arrives: boolean) {
    const living = tapped(store, () => {
      if (this.#isDead) throw new Error("killed");
    });
    const step = async <T>(call: () => Promise<T>): Promise<T> => {
      const isLast = ++this.calls === diesAt;
      if (isLast && !arrives) this.#isDead = true;
      const result = await call();
      if (isLast) this.#isDead = true;
      if (this.#isDead) throw new Error("killed");
      return result;
    };
    this.store = {
      ...living,
      scan: (range, options) => step(() => living.scan(range, options)),
      txn: (txn, options) => step(() => living.txn(txn, options)),
      lease: (signal) =>
        step(async () => {
          const lease = await living.lease(signal);
          this.#leases.push(lease.close);
          return { ...lease, close: () => (this.#isDead ? Promise.resolve() : lease.close()) };
        }),
      close: () => Promise.resolve(),
    };
  }

  /** What the store does by itself, a while after a process has died. */
  async expire(): Promise<void> {
    this.#isDead = true;
    await Promise.all(this.#leases.map((close) => close()));
  }
}

const few = { "conf/motd": "2", "conf/new": "1" };
const many: Files = {
  ...Object.fromEntries(Array.from({ length: 70 }, (_, n) => [`many/${n}`, bytesFrom(`many ${n}`, 50)] as const)),
  large: bytesFrom("large", 4 * chunkBytes + 1),
  // Of another tree, where nothing of this one keeps it.
  shared: bytesFrom("shared", chunkBytes),
};

const cases = [
  { what: "a small commit", files: few, moves: false },
  { what: "a large commit", files: many, moves: false },
  { what: "a commit that has to be merged first", files: few, moves: true },
  { what: "a large commit that has to be merged first", files: many, moves: true },
] as const;

const kinds: readonly {
  readonly where: string;
  readonly stores: () => Stores;
  readonly all: readonly (typeof cases)[number][];
}[] = [
  { where: "in memory", stores: storesInMemory, all: cases },
  // Each step is an etcd's worth of time.
  { where: "in etcd", stores: () => storesIn(etcd), all: full ? cases : cases.slice(0, 2) },
];

describe.each(kinds)("$where", ({ stores, all }) => {
  test.each(all)(
    "$what killed at any step leaves a readable tree, and no orphan after its lease and one collection",
    async ({ files, moves }) => {
      let survived = false;
      for (let diesAt = 1; !survived; diesAt++) {
        for (const arrives of [false, true]) {
          const shared = stores();
          const store = shared.store();
          const others = engineOver(store, "others");
          const repository = others.repository("site");
          await commit(others.repository("other"), { shared: bytesFrom("shared", chunkBytes) });
          await commit(repository, { "conf/motd": "1", keep: "1" });
          const mortal = new Mortal(store, diesAt, arrives);
          const before = await headFiles(repository);
          const meanwhile = moves ? { meanwhile: "1" } : {};
          survived = await attempt(mortal, files, async () => {
            await commit(repository, meanwhile);
          });
          await mortal.expire();
          const now = await headFiles(repository);
          const after = { ...before, ...meanwhile, ...texts(files) };
          const isCommitted = "conf/new" in now || "many/1" in now;
          expect(now, `killed at call ${diesAt}`).toEqual(isCommitted ? after : now);
          if (!isCommitted) expect([before, { ...before, ...meanwhile }]).toContainEqual(now);
          if (survived) expect(isCommitted).toBe(true);
          await others.collect();
          await expectNoOrphans(store, [repository, others.repository("other")]);
        }
      }
    },
  );
});

/** Returns whether it lived to hear that it is committed. */
async function attempt(
  mortal: Mortal,
  files: Readonly<Record<string, string | Buffer>>,
  meanwhile: () => Promise<void>,
): Promise<boolean> {
  const engine = engineOver(mortal.store, "mortal");
  try {
    const draft = await engine.repository("site").draft();
    await write(draft, files);
    await meanwhile();
    await draft.commit();
    await engine.close();
    return true;
  } catch (error) {
    if (!(error instanceof Error) || error.message !== "killed") throw error;
    return false;
  }
}

function texts(files: Readonly<Record<string, string | Buffer>>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([path, content]) => [path, content.toString("utf8")]));
}

async function expectNoOrphans(store: Store, repositories: readonly Repository[]): Promise<void> {
  const needed = new Set<string>();
  for (const repository of repositories) {
    for (const { root } of await repository.log()) {
      for (const address of await neededBy(repository, root)) needed.add(address);
      // Every object of it is there.
      await filesIn(repository.tree(root));
    }
  }
  expect((await objectsIn(store)).sort()).toEqual([...needed].sort());
  expect((await store.scan(store.keys.fs.pins)).records).toEqual([]);
}
