import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BatchBuilder, Fence, Lease, World, Written } from "../../src/world/index.ts";
import { etcdOfWorlds, eventually, freshNamespace, keysOf, revisionOf, revisionsOf, watchedValue, worldOf } from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { failure, name } from "./suites.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

interface Options {
  readonly ifRevision?: number;
  readonly ifAbsent?: boolean;
  readonly fence?: Fence;
  readonly lease?: Lease;
}

/** One way to write one key; `value` undefined deletes. */
interface Writer {
  readonly what: string;
  readonly keyOf: (world: World) => string;
  readonly write: (world: World, value: string | undefined, options?: Options) => Promise<Written>;
}

const strKey = (world: World): string => keysOf(world).strings.str(name);
const mapKey = (world: World): string => keysOf(world).strings.entry(name, world.hostname);

function batched(of: "str" | "strmap", atomic: boolean): Writer["write"] {
  const fill = (value: string | undefined, options: Options) => (b: BatchBuilder) => {
    if (value === undefined) b[of].del(name, options);
    else b[of].set(name, value, options);
  };
  return (world, value, options = {}) => world.batch(fill(value, options), { atomic });
}

const writers: readonly Writer[] = [
  {
    what: "str",
    keyOf: strKey,
    write: (world, value, options) => (value === undefined ? world.str.del(name, options) : world.str.set(name, value, options)),
  },
  {
    what: "strmap",
    keyOf: mapKey,
    write: (world, value, options) =>
      value === undefined ? world.strmap.del(name, options) : world.strmap.set(name, value, options),
  },
  { what: "a plain batch of a string", keyOf: strKey, write: batched("str", false) },
  { what: "a plain batch of a map's entry", keyOf: mapKey, write: batched("strmap", false) },
  { what: "an atomic batch of a string", keyOf: strKey, write: batched("str", true) },
  { what: "an atomic batch of a map's entry", keyOf: mapKey, write: batched("strmap", true) },
];

describe.each(writers)("$what", ({ keyOf, write }) => {
  const stored = async (world: World) => (await etcd.client.get(keyOf(world))).entry;

  test("ifRevision: it is written where it is as of that revision, and else refused with the revision it is of", async () => {
    const world = await worldOf(etcd, { replica: false });
    const { revision: first } = await write(world, "1", { ifRevision: 0 });
    const { revision: second } = await write(world, "2", { ifRevision: first });
    for (const value of ["3", "2", undefined]) {
      const error = await failure(write(world, value, { ifRevision: first }));
      expect(error).toMatchObject({ code: "CONFLICT", outcome: "none", key: keyOf(world), retryable: false });
      expect(error.data).toMatchObject({ modRevision: second });
      expect(await stored(world)).toMatchObject({ value: "2", modRevision: second });
    }
    // The condition is looked at also where there is nothing to change.
    expect(await write(world, "2", { ifRevision: second })).toMatchObject({ changed: false });
    expect(await write(world, undefined, { ifRevision: second })).toMatchObject({ changed: true });
    expect((await failure(write(world, "4", { ifRevision: second }))).data).toMatchObject({ modRevision: 0 });
    expect(await stored(world)).toBeUndefined();
  });

  test("ifAbsent: one of many at once comes to write it", async () => {
    const worlds = [await worldOf(etcd, { replica: false })];
    const [{ namespace }] = worlds as [World];
    worlds.push(await worldOf(etcd, { replica: false, namespace }));
    const all = await Promise.allSettled(
      worlds.flatMap((world) => Array.from({ length: 10 }, (_, i) => write(world, `${i}`, { ifAbsent: true }))),
    );
    const won = all.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(won).toMatchObject([{ changed: true }]);
    for (const one of all) {
      if (one.status === "fulfilled") continue;
      expect(one.reason).toMatchObject({ code: "CONFLICT", outcome: "none", data: { modRevision: won[0]?.revision } });
    }
  });

  test("fence: it is written while the lock is held, and refused once it is not, by the clock and by etcd", async () => {
    const world = await worldOf(etcd, { replica: false });
    const lock = await world.lock("l");
    await write(world, "1", { fence: lock });
    // As one that does not know yet that it holds it no more.
    const late: Fence = { key: lock.key, revision: lock.revision, check: () => undefined };
    await write(world, "2", { fence: late });
    await lock.release();
    expect(await failure(write(world, "3", { fence: lock }))).toMatchObject({ code: "CLOSED", outcome: "none" });
    for (const value of ["3", "2", undefined]) {
      const error = await failure(write(world, value, { fence: late }));
      expect(error).toMatchObject({ code: "FENCED", outcome: "none", key: keyOf(world), data: { fence: lock.key } });
    }
    // Its successor's is another.
    const successor = await world.lock("l");
    expect(await failure(write(world, "3", { fence: late }))).toMatchObject({ code: "FENCED" });
    expect((await stored(world))?.value).toBe("2");
    await write(world, "3", { fence: successor });
    expect((await stored(world))?.value).toBe("3");
  });

  test("fence and ifRevision together: what failed is told", async () => {
    const world = await worldOf(etcd, { replica: false });
    const lock = await world.lock("l");
    const { revision } = await write(world, "1", { fence: lock, ifAbsent: true });
    expect(await failure(write(world, "2", { fence: lock, ifRevision: 1 }))).toMatchObject({
      code: "CONFLICT",
      data: { modRevision: revision },
    });
    const late: Fence = { key: lock.key, revision: lock.revision, check: () => undefined };
    await lock.release();
    expect(await failure(write(world, "2", { fence: late, ifRevision: revision }))).toMatchObject({ code: "FENCED" });
    expect((await stored(world))?.value).toBe("1");
  });

  test("lease: of the World's session, of an own session, for so many seconds; and without one it is for ever", async () => {
    const world = await worldOf(etcd, { replica: false });
    const hex = async (): Promise<string> => BigInt((await stored(world))?.lease ?? 0).toString(16);
    const shared = await world.session();
    expect(await write(world, "1", { lease: "session" })).toMatchObject({ changed: true });
    expect(await hex()).toBe(shared.leaseId);
    expect(await revisionsOf(etcd, () => write(world, "1", { lease: "session" }))).toBe(0);
    const own = await world.session({ ttl: 5 });
    expect(own.leaseId).not.toBe(shared.leaseId);
    // The same value under another lease is a change.
    expect(await write(world, "1", { lease: own })).toMatchObject({ changed: true });
    expect(await hex()).toBe(own.leaseId);
    expect(await write(world, "1")).toMatchObject({ changed: true });
    expect(await hex()).toBe("0");
    expect(await write(world, "1", { lease: { ttl: 60 } })).toMatchObject({ changed: true });
    expect(["0", own.leaseId, shared.leaseId]).not.toContain(await hex());
    await write(world, "1", { lease: own });
    await own.close();
    expect(await stored(world)).toBeUndefined();
    expect(await failure(write(world, "2", { lease: own }))).toMatchObject({ outcome: "none", cause: { name: "WorldError" } });
    await write(world, "3", { lease: "session" });
    await world.close();
    expect(await stored(world)).toBeUndefined();
  });

  test("what is no condition and no lease is refused before anything is sent", async () => {
    const world = await worldOf(etcd, { replica: false });
    const wrong: readonly unknown[] = [
      { ifRevision: -1 },
      { ifRevision: 1.5 },
      { ifRevision: "1" },
      { ifRevision: 1, ifAbsent: true },
      { fence: {} },
      { lease: "mine" },
      { lease: {} },
      { lease: { ttl: 0 } },
      { lease: { ttl: "soon" } },
      { lease: null },
    ];
    const before = await revisionOf(etcd);
    for (const options of wrong as readonly Options[])
      expect(await failure(write(world, "1", options))).toMatchObject({ code: "INVALID_OPTION", outcome: "none" });
    expect(await revisionOf(etcd)).toBe(before);
  });
});

test("what is leased for so many seconds is gone after them, and whoever watches is told", async () => {
  const world = await worldOf(etcd);
  const told = watchedValue(world.str.watch(name));
  await told.begun();
  await world.str.set(name, "1", { lease: { ttl: 2 } });
  await eventually("it is told", () => told.now.get("") === "1");
  await eventually("it is gone", () => told.data.length === 3 && !told.now.has(""), 15_000);
  expect((await world.str.get(name)).value).toBeUndefined();
  expect(told.wrong).toEqual([]);
});

test.each([
  { timeoutMs: 0 },
  { timeoutMs: -1 },
  { timeoutMs: NaN },
  { timeoutMs: Infinity },
  { timeoutMs: 2 ** 31 },
  { signal: {} as AbortSignal },
])("every function refuses %j", async (options) => {
  const world = await worldOf(etcd, { replica: false });
  for (const call of [
    () => world.str.get(name, options),
    () => world.str.set(name, "1", options),
    () => world.str.del(name, options),
    () => world.str.list(options),
    () => world.strmap.get(name, options),
    () => world.strmap.set(name, "1", options),
    () => world.strmap.del(name, options),
    () => world.strmap.list(options),
    () => world.batch((b) => b.str.set(name, "1"), options),
  ])
    expect(await failure(call())).toMatchObject({ code: "INVALID_OPTION", outcome: "none" });
});

test("a map is each host's own: two hosts write one name, and each has its entry", async () => {
  const namespace = freshNamespace();
  const one = await worldOf(etcd, { namespace, hostname: "h1" });
  const two = await worldOf(etcd, { namespace, hostname: "h2", replica: false });
  await one.strmap.set(name, "1");
  const { revision } = await two.strmap.set(name, "2");
  const seen = await one.strmap.get(name, { read: "linearizable" });
  expect([...seen.value]).toEqual([
    ["h1", "1"],
    ["h2", "2"],
  ]);
  expect((await two.strmap.get(name)).modRevision).toBe(revision);
  await two.strmap.del(name);
  expect([...(await one.strmap.get(name, { read: "linearizable" })).value.keys()]).toEqual(["h1"]);
});
