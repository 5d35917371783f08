import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import type { Draft, Engine, PinnedTree, Reading, Repository, Store } from "../../../src/world/fs/engine/index.ts";
import { WorldError } from "../../../src/world/error.ts";
import { FsConflict } from "../../../src/world/fs/error.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { never } from "../../support/etcd-server.ts";
import { full } from "../../support/full.ts";
import { Random } from "../../support/random.ts";
import { bytesFrom, commit, engineOver, neededBy, objectsIn, storesIn, storesInMemory, tapped } from "./engine-fixture.ts";
import type { Stores } from "./engine-fixture.ts";

const forMs = full ? 60_000 : 2_000;
/** By then all that is to happen has happened, however slow the machine is. */
const atMostMs = forMs + 30_000;

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(async () => {
  await etcd.stop();
});

const kinds: readonly { readonly where: string; readonly stores: () => Stores }[] = [
  { where: "in memory", stores: storesInMemory },
  { where: "in etcd", stores: () => storesIn(etcd) },
];

/** So few contents that they come and go again and again: what was garbage a moment ago is needed now. */
const contents = Array.from({ length: 24 }, (_, n) => bytesFrom(`content ${n}`, 100 + n));
/** More than one commit writes at once. */
const wide = Array.from({ length: 75 }, (_, n) => bytesFrom(`wide ${n}`, 64));

/** What is going on, and what came of it. */
class Run {
  readonly store: Store;
  readonly random: Random;
  readonly engines: readonly Engine[];
  readonly fromMs = clock.nowMs();
  readonly told = { commits: 0, wide: 0, conflicts: 0, reads: 0, old: 0, deploys: 0, collections: 0, deleted: 0 };

  constructor(store: Store, stores: Stores, seed: number) {
    this.store = store;
    this.random = new Random(seed);
    // Whoever is about to do something may be late, so that others are first in all ways there are.
    const late = async (): Promise<void> => {
      if (this.random.chance(0.2)) await clock.sleep(this.random.between(0, 4), never);
    };
    this.engines = ["h1", "h2", "h3"].map((by) => engineOver(tapped(stores.store(), late), by));
  }

  /** Not before everything that is asked for has happened. */
  get isOver(): boolean {
    const ms = clock.nowMs() - this.fromMs;
    return (
      ms >= forMs && (ms >= atMostMs || Object.entries(this.told).every(([what, count]) => what === "conflicts" || count > 0))
    );
  }

  repository(): Repository {
    return this.random.pick(this.engines).repository(this.random.pick(["a", "b"]));
  }

  async write(): Promise<void> {
    while (!this.isOver) {
      const isWide = this.random.chance(0.1);
      await using draft = await this.repository().draft();
      const some = isWide ? wide : [this.random.pick(contents)];
      for (const [n, bytes] of some.entries()) {
        const path = isWide ? `wide ${n}` : `f${this.random.between(1, 3)}`;
        await draft.put(path, { kind: "file", mode: 0o644, mtimeMs: 1, ...(await draft.write(bytes)) });
      }
      if (!isWide && this.random.chance(0.3)) for (const n of wide.keys()) await draft.remove(`wide ${n}`);
      if (this.random.chance(0.3)) await draft.copy(`f${this.random.between(1, 3)}`, "copied");
      await using _old = this.random.chance(0.2) ? await this.copyOld(draft) : undefined;
      try {
        if ((await draft.commit()).changed) this.told[isWide ? "wide" : "commits"]++;
      } catch (error) {
        if (!(error instanceof FsConflict)) throw error;
        this.told.conflicts++;
      }
    }
  }

  /** From where it may not be kept much longer. */
  async copyOld(draft: Draft): Promise<PinnedTree | undefined> {
    const repository = this.repository();
    const commit = (await repository.log()).at(-1);
    const pinned = commit && (await repository.pin(commit.root));
    if (pinned === undefined) return undefined;
    await draft.copy(`f${this.random.between(1, 3)}`, "old", pinned);
    await draft.copy("wide 1", "wide 1", pinned);
    return pinned;
  }

  async read(): Promise<void> {
    while (!this.isOver) {
      const repository = this.repository();
      const log = await repository.log();
      if (log.length === 0) continue;
      const { root } = this.random.chance(0.5) ? log.at(-1)! : this.random.pick(log);
      await using pinned = await repository.pin(root);
      if (pinned === undefined) continue;
      await checkAll(pinned);
      // Others go on meanwhile, until it is not in the history any more.
      let isOld = false;
      for (let looks = 0; looks < 100 && !isOld; looks++) {
        await checkAll(pinned);
        isOld = !(await repository.log()).some((one) => one.root === root);
      }
      await checkAll(engineOver(this.store).repository("a").tree(root));
      this.told.reads++;
      if (isOld) this.told.old++;
    }
  }

  /** A deploy names a root, and another one later. */
  async deploy(): Promise<void> {
    for (let id = 1; !this.isOver; id = 3 - id) {
      const repository = this.repository();
      const root = (await repository.head())?.root;
      const proof = root && (await repository.proof(root));
      if (proof === undefined || proof === "") continue;
      const value = Buffer.from(JSON.stringify({ root }));
      const key = this.store.keys.deploys.root(id);
      if (!(await this.store.txn({ when: [proof], then: [{ put: key, value }] })).succeeded) continue;
      await clock.sleep(this.random.between(0, 30), never);
      await checkAll(repository.tree(root!));
      this.told.deploys++;
    }
  }

  async collect(): Promise<void> {
    while (!this.isOver) {
      const { deletedObjects } = await this.random.pick(this.engines).collect({ history: { commits: 2 } });
      this.told.collections++;
      this.told.deleted += deletedObjects;
    }
  }
}

function told(error: unknown): string {
  return error instanceof WorldError ? `${error.code} ${String(error.stack)}` : String(error);
}

/** Reads every byte; each object is checked against its address. */
async function checkAll(tree: Reading, path = ""): Promise<void> {
  for (const [name, entry] of (await tree.list(path))!) {
    if (entry.kind === "file") await tree.read(entry, 0, entry.size);
    if (entry.kind === "folder") await checkAll(tree, path === "" ? name : `${path}/${name}`);
  }
}

test.each(kinds)(
  "collections beside commits, readers and deploys $where delete nothing that is needed, and all that is not",
  async ({ stores }) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const shared = stores();
    const run = new Run(shared.store(), shared, seed);
    for (const name of ["a", "b"]) await commit(engineOver(run.store).repository(name), { f1: contents[0]! });
    const tasks = ["write", "write", "write", "read", "read", "deploy", "collect", "collect"] as const;
    const settled = await Promise.allSettled(tasks.map((task) => run[task]()));
    const failures = settled.flatMap((one, i) => (one.status === "rejected" ? [`${tasks[i]!}: ${told(one.reason)}`] : []));
    expect(failures, `seed ${seed}`).toEqual([]);
    for (const [what, count] of Object.entries(run.told))
      if (what !== "conflicts") expect(count, `${what}, seed ${seed}`).toBeGreaterThan(0);
    for (const id of [1, 2]) await run.store.txn({ when: [], then: [{ del: run.store.keys.deploys.root(id) }] });
    const [engine] = run.engines;
    await engine!.collect({ history: { commits: 1 } });
    const needed = new Set<string>();
    for (const name of ["a", "b"]) {
      const repository = engineOver(run.store).repository(name);
      const head = (await repository.head())!;
      await checkAll(repository.tree(head.root));
      for (const address of await neededBy(repository, head.root)) needed.add(address);
    }
    expect((await objectsIn(run.store)).sort(), `seed ${seed}`).toEqual([...needed].sort());
  },
  atMostMs + 60_000,
);
