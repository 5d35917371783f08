import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WorldError } from "../../src/world/index.ts";
import type { CallOptions, World } from "../../src/world/index.ts";
import { forEach } from "../../src/world/write.ts";
import { etcdOfWorlds, eventually, keysOf, revisionOf, worldOf } from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { failure, name, testsOfWriting } from "./suites.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const of = (): WorldEtcd => etcd;

for (const atomic of [false, true]) {
  const what = atomic ? "batch, atomic" : "batch, plain";
  const keyOf = (world: World): string => keysOf(world).strings.str(name);
  testsOfWriting(`${what}: str.set`, of, {
    keyOf,
    write: (world, value, options: CallOptions = {}) => world.batch((b) => b.str.set(name, value ?? ""), { atomic, ...options }),
    valueOf: (n) => `${n}`,
  });
  testsOfWriting(`${what}: str.del`, of, {
    keyOf,
    write: (world, _, options: CallOptions = {}) => world.batch((b) => b.str.del(name), { atomic, ...options }),
    valueOf: () => undefined,
  });
  testsOfWriting(`${what}: strmap.set`, of, {
    keyOf: (world) => keysOf(world).strings.entry(name, world.hostname),
    write: (world, value, options: CallOptions = {}) =>
      world.batch((b) => b.strmap.set(name, value ?? ""), { atomic, ...options }),
    valueOf: (n) => `${n}`,
  });
  testsOfWriting(`${what}: strmap.del`, of, {
    keyOf: (world) => keysOf(world).strings.entry(name, world.hostname),
    write: (world, _, options: CallOptions = {}) => world.batch((b) => b.strmap.del(name), { atomic, ...options }),
    valueOf: () => undefined,
  });
}

describe("several writes", () => {
  test.each([false, true])("each has its result, in the order of the calls, atomic: %s", async (atomic) => {
    const world = await worldOf(etcd, { replica: false });
    await world.str.set("there", "1");
    const { results, changed, revision } = await world.batch(
      (b) => {
        b.str.set("there", "1");
        b.str.set("new", "2");
        b.str.del("none");
        b.strmap.set("m", "3");
      },
      { atomic },
    );
    expect(results.map((one) => one.changed)).toEqual([false, true, false, true]);
    expect(changed).toBe(true);
    expect(revision).toBe(Math.max(...results.map((one) => one.revision)));
    expect(await world.str.get("new")).toMatchObject({ value: "2", modRevision: results[1]?.revision });
  });

  test("atomic: one condition that does not hold, and nothing of it is written", async () => {
    const world = await worldOf(etcd, { replica: false });
    const { revision } = await world.str.set("b", "old");
    const call = world.batch(
      (b) => {
        b.str.set("a", "1");
        b.str.set("b", "2", { ifRevision: revision - 1 });
        b.strmap.set("c", "3");
      },
      { atomic: true },
    );
    const error = await failure(call);
    expect(error).toMatchObject({ code: "CONFLICT", outcome: "none", key: keysOf(world).strings.str("b") });
    expect(error.data).toMatchObject({ modRevision: revision });
    expect((await world.str.list()).names).toEqual(["b"]);
    expect((await world.strmap.list()).names).toEqual([]);
  });

  test("plain: each has its own fate, and a failure says how many were written", async () => {
    const world = await worldOf(etcd, { replica: false });
    await world.str.set("b", "old");
    const error = await failure(
      world.batch((b) => {
        b.str.set("a", "1");
        b.str.set("b", "2", { ifAbsent: true });
        b.str.set("c", "3");
      }),
    );
    expect(error).toMatchObject({ code: "CONFLICT", outcome: "unknown", data: { written: 2, all: 3 } });
    expect(error.key).toBe(keysOf(world).strings.str("b"));
    expect((await world.str.get("b")).value).toBe("old");
    expect((await world.str.list()).names).toEqual(["a", "b", "c"]);
  });

  test("a fence of the batch is one of each write", async () => {
    const world = await worldOf(etcd, { replica: false });
    const lock = await world.lock("l");
    const late = { key: lock.key, revision: lock.revision, check: () => undefined };
    await world.batch((b) => b.str.set("a", "1"), { fence: late });
    await lock.release();
    for (const atomic of [false, true])
      expect(await failure(world.batch((b) => b.str.set("a", "2"), { fence: late, atomic }))).toMatchObject({ code: "FENCED" });
    expect((await world.str.get("a")).value).toBe("1");
  });

  test("without a write it says at which revision it is so, and makes none", async () => {
    const world = await worldOf(etcd, { replica: false });
    const before = await revisionOf(etcd);
    for (const atomic of [false, true]) {
      const done = await world.batch(() => undefined, { atomic });
      expect(done).toMatchObject({ changed: false, results: [] });
      expect(done.revision).toBeGreaterThanOrEqual(before);
    }
    expect(await revisionOf(etcd)).toBe(before);
  });

  test("atomic: a key twice is refused, and so is more than etcd takes at once; nothing is written then", async () => {
    const world = await worldOf(etcd, { replica: false });
    const twice = world.batch(
      (b) => {
        b.str.set("a", "1");
        b.str.del("a");
      },
      { atomic: true },
    );
    expect(await failure(twice)).toMatchObject({ code: "INVALID_OPTION", key: keysOf(world).strings.str("a"), outcome: "none" });
    const mib = "x".repeat(1024 * 1024);
    const large = world.batch(
      (b) => {
        for (let i = 0; i < 3; i++) b.str.set(`large ${i}`, mib);
      },
      { atomic: true },
    );
    expect(await failure(large)).toMatchObject({ code: "TOO_LARGE", outcome: "none" });
    const many = world.batch(
      (b) => {
        for (let i = 0; i < 2_000; i++) b.str.set(`many ${i}`, "1");
      },
      { atomic: true },
    );
    expect(await failure(many)).toMatchObject({ code: "TOO_LARGE", outcome: "none" });
    expect((await world.str.list()).names).toEqual([]);
    const done = await world.batch((b) => {
      for (let i = 0; i < 2_000; i++) b.str.set(`many ${i}`, "1");
      for (let i = 0; i < 3; i++) b.str.set(`large ${i}`, mib);
    });
    expect(done.results.length).toBe(2_003);
  });

  test("what the function throws that fills it is thrown, and nothing is written", async () => {
    const world = await worldOf(etcd, { replica: false });
    const mistake = new TypeError("a mistake");
    const call = world.batch((b) => {
      b.str.set("a", "1");
      throw mistake;
    });
    await expect(call).rejects.toBe(mistake);
    expect((await world.str.list()).names).toEqual([]);
  });

  test("while etcd is gone, what is given up is taken back, and what goes with it is written once etcd is back", async () => {
    const world = await worldOf(etcd, { replica: false });
    await world.str.set("first", "1");
    etcd.gone();
    await failure(world.str.get("first", { read: "direct", timeoutMs: 100 }));
    const stop = new AbortController();
    const patient = world.str.set("patient", "1", { timeoutMs: 20_000 });
    const hasty = failure(world.str.set("hasty", "1", { timeoutMs: 20_000, signal: stop.signal }));
    await failure(world.str.get("first", { read: "direct", timeoutMs: 100 }));
    stop.abort(new Error("no more"));
    expect(await hasty).toMatchObject({ code: "ABORTED", outcome: "none" });
    etcd.back();
    await patient;
    await eventually("etcd is back", () => world.str.set("last", "1").catch(() => undefined));
    expect((await world.str.list()).names).toEqual(["first", "last", "patient"]);
  });
});

test("where all of a call's writes fail, one that may have happened is what is told", async () => {
  const conflict = new WorldError("CONFLICT", "Cannot write a: somebody was first");
  const unknown = new WorldError("OUTCOME_UNKNOWN", "Cannot write b for certain", { outcome: "unknown" });
  const failAll = (...errors: readonly WorldError[]): Promise<unknown> =>
    forEach(errors, new AbortController().signal, (error) => Promise.reject(error));
  await expect(failAll(conflict, unknown)).rejects.toMatchObject({ cause: unknown, written: 0, all: 2 });
  await expect(failAll(unknown)).rejects.toBe(unknown);
  await expect(failAll(conflict, conflict)).rejects.toBe(conflict);
});
