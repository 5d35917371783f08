import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Deploy, ListEvent, World } from "../../src/world/index.ts";
import {
  badKey,
  deleteRaw,
  etcdOfWorlds,
  eventually,
  freshNamespace,
  keysOf,
  notText,
  putRaw,
  revisionOf,
  revisionsOf,
  watchedList,
  ways,
  worldOf,
} from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { testUsualFailures, testUsualWatch } from "./usual.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const idOf = (deploy: Deploy): string => String(deploy.id);

/** Deploys 1 to `n`, each with its hash and its parent's. */
async function chain(world: World, n: number): Promise<void> {
  for (let id = 1; id <= n; id++) {
    await world.deploy.add({ payload: `p${id}`, hash: `h${id}`, ...(id === 1 ? {} : { parent: `h${id - 1}` }) });
  }
}

testUsualFailures(
  () => etcd,
  [
    { name: "deploy.add", writes: true, call: (world, options) => world.deploy.add({ payload: "p" }, options) },
    { name: "deploy.get", call: (world, options) => world.deploy.get(1, { ...options, read: "linearizable" }) },
    { name: "deploy.list", call: (world, options) => world.deploy.list({ ...options, read: "linearizable" }) },
    { name: "deploy.maxId", call: (world, options) => world.deploy.maxId({ ...options, read: "linearizable" }) },
    { name: "deploy.prune", writes: true, call: (world, options) => world.deploy.prune({ ...options, keep: 1 }) },
  ],
);

testUsualWatch<ListEvent<Deploy>>(() => etcd, "a watch of the deploys", {
  watch: (world, signal) => world.deploy.watch(signal === undefined ? {} : { signal }),
  collect: (watch) => watchedList(watch, idOf),
  change: (world, n) => putRaw(etcd, keysOf(world).deploys.payload(n), `p${n}`),
  spoil: async (world) => {
    await putRaw(etcd, `${world.namespace}/deploy/0/payload`, "p");
    await putRaw(etcd, badKey(`${world.namespace}/deploy/`), "p");
  },
});

describe.each(ways)("$way, deploys", ({ replica }) => {
  const open = (): Promise<World> => worldOf(etcd, { replica });

  test("are none where there are none, with the revision at which that is so", async () => {
    const world = await open();
    const now = await revisionOf(etcd);
    for (const read of ["session", "linearizable", "direct"] as const) {
      expect(await world.deploy.list({ read })).toMatchObject({ deploys: [] });
      expect(await world.deploy.maxId({ read })).toMatchObject({ id: 0 });
      const got = await world.deploy.get(1, { read });
      expect(got.deploy).toBeUndefined();
      if (read !== "session") expect(got.revision).toBeGreaterThanOrEqual(now);
    }
    expect(await revisionsOf(etcd, () => world.deploy.prune({ keep: 1 }))).toBe(0);
    expect(await world.deploy.prune({ keep: 1 })).toMatchObject({ changed: false, deleted: [] });
  });

  test("are read as they were added, at once: with and without a hash, empty ones, those of 1 MiB", async () => {
    const world = await open();
    const large = "ä".repeat(512 * 1024);
    expect(await world.deploy.add({ payload: "" })).toMatchObject({ id: 1, changed: true });
    expect((await world.deploy.get(1)).deploy).toEqual({ id: 1, hash: undefined, payload: "" });
    expect(await world.deploy.add({ payload: large, hash: "a/b c ü" })).toMatchObject({ id: 2, changed: true });
    expect((await world.deploy.get(2)).deploy).toEqual({ id: 2, hash: "a/b c ü", payload: large });
    expect(await world.deploy.maxId()).toMatchObject({ id: 2 });
    expect((await world.deploy.list()).deploys).toEqual([
      { id: 1, hash: undefined },
      { id: 2, hash: "a/b c ü" },
    ]);
    await expect(world.deploy.add({ payload: `${large}x` })).rejects.toMatchObject({ code: "TOO_LARGE", outcome: "none" });
  });

  test("are pruned but the newest, one event for each revision, and the next id follows the newest", async () => {
    const world = await open();
    await chain(world, 6);
    await world.deploy.list({ read: "linearizable" });
    const watched = watchedList(world.deploy.watch(), idOf);
    await watched.begun();
    await eventually("all are told", () => watched.now.size === 6);
    const begun = watched.data.length;
    expect(await world.deploy.prune({ keep: 2 })).toMatchObject({ changed: true, deleted: [1, 2, 3, 4] });
    expect(await revisionsOf(etcd, () => world.deploy.prune({ keep: 2 }))).toBe(0);
    expect((await world.deploy.list()).deploys.map(({ id }) => id)).toEqual([5, 6]);
    expect((await world.deploy.get(4)).deploy).toBeUndefined();
    expect(await world.deploy.add({ payload: "p7", parent: "h6" })).toMatchObject({ id: 7 });
    await expect(world.deploy.add({ id: 1, payload: "again" })).rejects.toMatchObject({
      code: "CONFLICT",
      data: { reason: "gap" },
    });
    await eventually("it is told", () => watched.now.has("7"));
    expect(watched.data.slice(begun).map(({ kind }) => kind)).toEqual(["changes", "changes"]);
    expect(watched.data[begun]).toMatchObject({
      changes: [1, 2, 3, 4].map((id) => ({ type: "deleted", previous: { id, hash: `h${id}` } })),
    });
    expect(watched.wrong).toEqual([]);
    // Nothing is left behind of what was pruned.
    const left = await etcd.client.range({ start: `${world.namespace}/deploy/`, end: `${world.namespace}/deploy0` });
    expect(left.entries).toHaveLength(5);
  });

  test("of others are read: mgmt's have no hash, and what nobody can read is passed over and counted", async () => {
    const world = await open();
    const keys = keysOf(world).deploys;
    await putRaw(etcd, keys.payload(1), "of mgmt");
    await putRaw(etcd, `${keys.start}x/payload`, "p");
    await putRaw(etcd, `${keys.start}01/payload`, "p");
    await putRaw(etcd, `${keys.start}2/other`, "p");
    await putRaw(etcd, `${keys.start}9999999999999999/payload`, "p");
    await putRaw(etcd, keys.payload(3), notText);
    await putRaw(etcd, keys.hash(3), notText);
    await putRaw(etcd, keys.hash(5), "of a deploy that is not there");
    const read = { read: "linearizable" } as const;
    expect((await world.deploy.list(read)).deploys).toEqual([
      { id: 1, hash: undefined },
      { id: 3, hash: undefined },
    ]);
    expect((await world.deploy.maxId(read)).id).toBe(3);
    expect((await world.deploy.get(1, read)).deploy).toEqual({ id: 1, hash: undefined, payload: "of mgmt" });
    await expect(world.deploy.get(3, read)).rejects.toMatchObject({ code: "INVALID_VALUE", key: keys.payload(3) });
    expect(world.status.malformed.count).toBeGreaterThanOrEqual(5);
    expect(await world.deploy.add({ payload: "next" })).toMatchObject({ id: 4 });
  });
});

describe("deploy.add", () => {
  test("refuses a given id that is taken, that leaves a gap, or whose parent is another, and says exactly why", async () => {
    const world = await worldOf(etcd, { replica: false });
    await chain(world, 2);
    await world.deploy.add({ payload: "without a hash" });
    const refused = async (deploy: Parameters<World["deploy"]["add"]>[0], data: object, message: string): Promise<void> => {
      const before = await world.deploy.list();
      await expect(world.deploy.add(deploy)).rejects.toMatchObject({
        ...{ code: "CONFLICT", outcome: "none", retryable: false, message, data },
      });
      expect((await world.deploy.list()).deploys).toEqual(before.deploys);
    };
    await refused({ id: 2, payload: "p" }, { reason: "exists", id: 2 }, "Cannot add deploy 2: there is one of that id");
    await refused({ id: 5, payload: "p" }, { reason: "gap", id: 5 }, "Cannot add deploy 5: there is no deploy 4");
    await refused(
      { id: 4, payload: "p", parent: "h2" },
      { reason: "parent", hash: undefined },
      'Cannot add deploy 4: its parent is to be "h2", and deploy 3 has no hash',
    );
    await world.deploy.add({ id: 4, payload: "p", hash: "h4" });
    await refused(
      { payload: "p", parent: "h3" },
      { reason: "parent", hash: "h4", id: 5 },
      'Cannot add deploy 5: its parent is to be "h3", and deploy 4 has the hash "h4"',
    );
    await refused({ id: 1, payload: "p" }, { reason: "exists", id: 1 }, "Cannot add deploy 1: there is one of that id");
  });

  test("refuses what is no deploy before anything is sent", async () => {
    const world = await worldOf(etcd, { replica: false });
    etcd.proxy.stall();
    for (const [deploy, code] of [
      [{ id: 0, payload: "p" }, "INVALID_OPTION"],
      [{ id: 1.5, payload: "p" }, "INVALID_OPTION"],
      [{ id: 1, parent: "h", payload: "p" }, "INVALID_OPTION"],
      [{ hash: "", payload: "p" }, "INVALID_NAME"],
      [{ parent: "\ud800", payload: "p" }, "INVALID_NAME"],
      [{ payload: "\ud800" }, "INVALID_VALUE"],
    ] as const) {
      await expect(world.deploy.add(deploy)).rejects.toMatchObject({ code, outcome: "none" });
    }
    await expect(world.deploy.get(0)).rejects.toMatchObject({ code: "INVALID_OPTION" });
    for (const keep of [0, -1, 1.5, Number.NaN]) {
      await expect(world.deploy.prune({ keep })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    }
  });

  test("gives 20 adders of three Worlds each an id of its own, without a gap", async () => {
    const namespace = freshNamespace();
    const worlds = await Promise.all(
      ["h1", "h2", "h3"].map((hostname) => worldOf(etcd, { replica: false, namespace, hostname })),
    );
    const adding = Array.from({ length: 20 }, (_, i) => worlds[i % 3]!.deploy.add({ payload: `p${i}` }, { timeoutMs: 20_000 }));
    const ids = (await Promise.all(adding)).map(({ id }) => id);
    expect(ids.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    for (const [i, id] of ids.entries()) expect((await worlds[0]!.deploy.get(id)).deploy?.payload).toBe(`p${i}`);
  });

  test("keeps the chain unbroken among 20 adders that each name the parent they saw: who comes late is told, and tries again", async () => {
    const namespace = freshNamespace();
    const worlds = await Promise.all(
      ["h1", "h2", "h3"].map((hostname) => worldOf(etcd, { replica: false, namespace, hostname })),
    );
    let refusals = 0;
    const addOne = async (world: World, hash: string): Promise<void> => {
      for (;;) {
        const before = (await world.deploy.list()).deploys.at(-1);
        const parent = before?.hash;
        try {
          await world.deploy.add({ hash, payload: `after ${parent}`, ...(parent === undefined ? { id: 1 } : { parent }) });
          return;
        } catch (error) {
          expect(error).toMatchObject({ code: "CONFLICT", outcome: "none" });
          expect(["parent", "exists"]).toContain((error as { data: { reason: string } }).data.reason);
          refusals++;
        }
      }
    };
    await Promise.all(Array.from({ length: 20 }, (_, i) => addOne(worlds[i % 3]!, `h${i}`)));
    const { deploys } = await worlds[0]!.deploy.list();
    expect(deploys.map(({ id }) => id)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(refusals).toBeGreaterThan(0);
    for (const { id } of deploys) {
      const parent = id === 1 ? undefined : deploys[id - 2]!.hash;
      expect((await worlds[0]!.deploy.get(id)).deploy?.payload).toBe(`after ${parent}`);
    }
  });

  test("whose answer is lost adds once, and tells the truth or that it does not know", async () => {
    const world = await worldOf(etcd, { replica: false });
    for (let n = 1; n <= 4; n++) {
      // So that the next one leaves on a connection that is known to work.
      await world.str.set("warm", String(n), { timeoutMs: 10_000 });
      etcd.proxy.stall("down");
      const adding = world.deploy.add({ id: n, payload: `p${n}` }, { timeoutMs: 8_000 }).then(
        ({ id }) => id,
        (error: unknown) => error,
      );
      await eventually("etcd has it", async () => (await etcd.client.get(keysOf(world).deploys.payload(n))).entry);
      etcd.proxy.cut();
      etcd.proxy.heal();
      const told = await adding;
      if (told !== n) expect(told).toMatchObject({ code: "OUTCOME_UNKNOWN", outcome: "unknown" });
      expect((await world.deploy.list({ timeoutMs: 10_000 })).deploys.map(({ id }) => id)).toEqual(
        Array.from({ length: n }, (_, i) => i + 1),
      );
    }
  });

  test("and prune fail with FENCED once the lock has passed on", async () => {
    const world = await worldOf(etcd, { replica: false });
    await world.deploy.add({ payload: "p1" });
    await world.deploy.add({ payload: "p2" });
    const lock = await world.lock("deployer");
    await world.deploy.add({ payload: "p3" }, { fence: lock });
    await deleteRaw(etcd, lock.key);
    await expect(world.deploy.add({ payload: "p4" }, { fence: lock })).rejects.toSatisfy((error: { code: string }) =>
      ["FENCED", "LOCK_LOST"].includes(error.code),
    );
    const fence = { key: lock.key, revision: lock.revision, check: () => undefined };
    await expect(world.deploy.add({ payload: "p4" }, { fence })).rejects.toMatchObject({ code: "FENCED", outcome: "none" });
    await expect(world.deploy.prune({ keep: 1, fence })).rejects.toMatchObject({ code: "FENCED", outcome: "none" });
    expect((await world.deploy.list()).deploys.map(({ id }) => id)).toEqual([1, 2, 3]);
  });
});

describe("payloads", () => {
  test("are not read by list, maxId and prune: none of 20 that are 500 kB each passes", async () => {
    const world = await worldOf(etcd, { replica: false });
    const payload = "x".repeat(500_000);
    for (let i = 1; i <= 20; i++) await world.deploy.add({ payload, hash: `h${i}` });
    // Half a payload more, and the connection would be cut.
    etcd.proxy.cutAfter(250_000);
    const accepted = etcd.proxy.accepted;
    expect((await world.deploy.maxId()).id).toBe(20);
    expect((await world.deploy.list()).deploys).toHaveLength(20);
    expect((await world.deploy.prune({ keep: 10 })).deleted).toHaveLength(10);
    expect(etcd.proxy.accepted).toBe(accepted);
    expect((await world.deploy.list({ timeoutMs: 1_000 })).deploys).toHaveLength(10);
    expect(etcd.proxy.accepted).toBe(accepted);
    await expect(world.deploy.get(20, { timeoutMs: 10_000 })).resolves.toMatchObject({ deploy: { payload } });
    expect(etcd.proxy.accepted, "a payload passes, and the connection is cut").toBeGreaterThan(accepted);
  });

  test("may be the same again: a deploy is an event, not a value", async () => {
    const world = await worldOf(etcd, { replica: false });
    await world.deploy.add({ payload: "p" });
    expect(await revisionsOf(etcd, () => world.deploy.add({ payload: "p" }))).toBe(1);
  });
});
