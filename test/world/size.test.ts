import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ValueEvent } from "../../src/world/index.ts";
import {
  etcdOfWorlds,
  eventually,
  keysOf,
  notText,
  putRaw,
  revisionOf,
  revisionsOf,
  watchedValue,
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

testUsualFailures(
  () => etcd,
  [
    { name: "idealClusterSize.get", call: (world, options) => world.idealClusterSize.get(options) },
    { name: "idealClusterSize.set", writes: true, call: (world, options) => world.idealClusterSize.set(5, options) },
  ],
);

testUsualWatch<ValueEvent<number>>(() => etcd, "a watch of the size", {
  watch: (world, signal) => world.idealClusterSize.watch(signal === undefined ? {} : { signal }),
  collect: (watch) => watchedValue(watch),
  change: (world, n) => putRaw(etcd, keysOf(world).idealClusterSize, String(n)),
  spoil: (world) => putRaw(etcd, keysOf(world).idealClusterSize, "banana"),
});

describe.each(ways)("$way, the size", ({ replica }) => {
  test("is undefined where there is none, is set and read, and set again to the same makes no revision and no event", async () => {
    const world = await worldOf(etcd, { replica });
    const now = await revisionOf(etcd);
    const none = await world.idealClusterSize.get();
    expect(none).toMatchObject({ value: undefined, modRevision: 0 });
    expect(none.revision).toBeGreaterThanOrEqual(now);
    const watched = watchedValue(world.idealClusterSize.watch());
    await watched.begun();
    for (const size of [1, 1_000, 3]) {
      expect(await world.idealClusterSize.set(size)).toMatchObject({ changed: true });
      expect(await world.idealClusterSize.get()).toMatchObject({ value: size });
    }
    expect(await revisionsOf(etcd, () => world.idealClusterSize.set(3))).toBe(0);
    expect(await world.idealClusterSize.set(3)).toMatchObject({ changed: false });
    const { modRevision } = await world.idealClusterSize.get();
    await expect(world.idealClusterSize.set(4, { ifRevision: modRevision - 1 })).rejects.toMatchObject({ code: "CONFLICT" });
    await world.idealClusterSize.set(4, { ifRevision: modRevision });
    await eventually("it is told", () => watched.now.get("") === 4);
    expect(watched.data.map((event) => event.value)).toEqual([undefined, 1, 1_000, 3, 4]);
    expect(watched.wrong).toEqual([]);
  });

  test.each<[string, string | Uint8Array, RegExp]>([
    ["a word", "banana", /^"banana" is not a whole number$/],
    ["nothing", "", /^"" is not a whole number$/],
    ["a negative number", "-1", /^"-1" is not a whole number$/],
    ["a number with something around it", " 3\n", /is not a whole number$/],
    ["a number that is too large", "99999999999", /^"99999999999" is more than 1000$/],
    ["1 MB of text", "x".repeat(1_000_000), /^"x{60}…" is not a whole number$/],
    ["what is not UTF-8", notText, /^it is not UTF-8$/],
  ])("that somebody has set to %s is told to be refused, is counted, and its watch goes on", async (_, text, why) => {
    const world = await worldOf(etcd, { replica });
    await world.idealClusterSize.set(3);
    const watched = watchedValue(world.idealClusterSize.watch());
    await watched.begun();
    expect(watched.now.get("")).toBe(3);
    const key = keysOf(world).idealClusterSize;
    const modRevision = await putRaw(etcd, key, text);
    const got = await world.idealClusterSize.get();
    expect(got).toMatchObject({ value: undefined, modRevision });
    expect(got.refused).toMatch(why);
    await eventually("it is told", () => !watched.now.has(""));
    expect(world.status.malformed).toMatchObject({ count: 1, examples: [{ key }] });
    await world.idealClusterSize.set(5);
    await eventually("it is told", () => watched.now.get("") === 5);
    expect(watched.wrong).toEqual([]);
    expect(watched.isOver).toBe(false);
  });
});

describe("setting the size", () => {
  test.each([-1, 1.5, 1_001, Number.NaN, Infinity, "3x" as unknown as number, null as unknown as number])(
    "to %s is refused before anything is sent",
    async (size) => {
      const world = await worldOf(etcd, { replica: false });
      etcd.proxy.stall();
      await expect(world.idealClusterSize.set(size)).rejects.toMatchObject({ code: "INVALID_VALUE", outcome: "none" });
    },
  );

  test("to 0 has to be meant", async () => {
    const world = await worldOf(etcd, { replica: false });
    await expect(world.idealClusterSize.set(0)).rejects.toMatchObject({
      code: "INVALID_VALUE",
      hint: expect.stringContaining("shutdown: true") as unknown,
    });
    expect((await world.idealClusterSize.get()).value).toBeUndefined();
    await world.idealClusterSize.set(0, { shutdown: true });
    expect((await world.idealClusterSize.get()).value).toBe(0);
  });

  test("by 20 at once leaves one of theirs; with ifRevision one of them has won", async () => {
    const world = await worldOf(etcd, { replica: false });
    await Promise.all(Array.from({ length: 20 }, (_, i) => world.idealClusterSize.set(i + 1)));
    const { value, modRevision } = await world.idealClusterSize.get();
    expect(value).toBeGreaterThanOrEqual(1);
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => world.idealClusterSize.set(100 + i, { ifRevision: modRevision })),
    );
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const one of results) if (one.status === "rejected") expect(one.reason).toMatchObject({ code: "CONFLICT" });
  });

  test("with a fence fails with FENCED once the lock has passed on", async () => {
    const world = await worldOf(etcd, { replica: false });
    const lock = await world.lock("size");
    await world.idealClusterSize.set(3, { fence: lock });
    const fence = { key: lock.key, revision: lock.revision, check: () => undefined };
    await lock.release();
    await expect(world.idealClusterSize.set(5, { fence })).rejects.toMatchObject({ code: "FENCED", outcome: "none" });
    await expect(world.idealClusterSize.set(5, { fence: lock })).rejects.toMatchObject({ code: "CLOSED", outcome: "none" });
    expect((await world.idealClusterSize.get()).value).toBe(3);
  });
});
