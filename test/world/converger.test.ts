import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { World } from "../../src/world/index.ts";
import { PartsHere } from "../../src/world/converged/here.ts";
import {
  badKey,
  clock,
  deleteRaw,
  etcdOfWorlds,
  eventually,
  freshNamespace,
  keysOf,
  never,
  notText,
  putRaw,
  revisionOf,
  watchedValue,
  worldOf,
} from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { FaultyProxy } from "../support/proxy.ts";
import { HandClock } from "../support/hand-clock.ts";
import { Random } from "../support/random.ts";
import { testUsualFailures } from "./usual.ts";

let etcd: WorldEtcd;
/** One that keeps its own way to etcd when the first one's breaks. */
let other: FaultyProxy;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
  other = await FaultyProxy.start(etcd.url);
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
});

/** Three times the goal. */
const agreedWithinMs = 3_000;

/** Worlds in one namespace; the first one's connection is the one that tests break. */
async function hosts(n: number, replica = false): Promise<World[]> {
  const namespace = freshNamespace();
  return await Promise.all(
    Array.from({ length: n }, (_, i) =>
      worldOf({ proxy: i === 0 ? etcd.proxy : other }, { replica, namespace, hostname: `h${i + 1}`, sessionTtl: 2 }),
    ),
  );
}

/** The keys in which that World's host says something. */
async function saidBy(world: World): Promise<readonly string[]> {
  const { entries } = await etcd.client.range(keysOf(world).converged);
  return entries.map(({ key }) => key).filter((key) => keysOf(world).converged.parse(key)?.host === world.hostname);
}

testUsualFailures(
  () => etcd,
  [{ name: "converger.get", call: (world, options) => world.converger.get({ ...options, read: "linearizable" }) }],
);

describe("a part", () => {
  test("counts once it has been converged for its timeout, and each time something happens that begins anew", async () => {
    const time = new HandClock();
    const here = new PartsHere(time, 1_000);
    const told: (boolean | undefined)[] = [];
    here.onChange(() => told.push(here.converged));
    expect(here.status).toEqual({ converged: undefined, parts: [] });
    const [slow, quick] = [here.register("slow"), here.register("quick", { timeoutMs: 0, converged: true })];
    slow.set(true);
    await time.pass(999);
    expect(here.status).toEqual({
      converged: false,
      parts: [
        { name: "quick", converged: true, counts: true },
        { name: "slow", converged: true, counts: false },
      ],
    });
    slow.set(false);
    slow.set(true);
    await time.pass(999);
    slow.set(true);
    expect(here.converged).toBe(false);
    await time.pass(1);
    expect(here.converged).toBe(true);
    quick.set(false);
    quick.set(true);
    expect(told).toEqual([false, true, false, true]);
    slow.set(false);
    slow.unregister();
    slow.set(true);
    expect(here.converged).toBe(true);
    quick.unregister();
    expect(here.converged).toBeUndefined();
    expect(told).toEqual([false, true, false, true, false, true, undefined]);
    expect(time.sleepers.size).toBe(0);
  });

  test("has a name of its own until it is unregistered, and a timeout that is one", async () => {
    const [world] = await hosts(1);
    const { converger } = world!;
    const part = converger.register("packages");
    expect(() => converger.register("packages")).toThrow("there is one of that name");
    part.unregister();
    part.unregister();
    converger.register("packages").unregister();
    for (const wrong of ["", "\ud800"]) expect(() => converger.register(wrong)).toThrow(/^Cannot use /);
    for (const timeoutMs of [-1, Number.NaN, 2 ** 31])
      expect(() => converger.register("x", { timeoutMs })).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    await world!.close();
    expect(() => converger.register("late")).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });
});

describe.each([{ replica: true }, { replica: false }])("with replica: $replica", ({ replica }) => {
  test("parts of three programs that flip at random: all agree with the truth after the last flip, and no watch tells a thing twice", async () => {
    const seed = 60_601;
    const random = new Random(seed);
    const worlds = await hosts(3, replica);
    const parts = worlds.flatMap(({ converger }) => ["a", "b"].map((name) => converger.register(name)));
    const watched = worlds.map(({ converger }) => watchedValue(converger.watch()));
    const hooked = worlds.map((): boolean[] => []);
    for (const [i, { converger }] of worlds.entries()) converger.onChange(({ converged }) => void hooked[i]!.push(converged));
    await eventually("every hook is called with what is so", () => hooked.every((told) => told.length > 0), 30_000);
    for (let round = 0; round < 6; round++) {
      for (let flip = random.between(5, 40); flip > 0; flip--) {
        random.pick(parts).set(random.chance(0.5));
        if (random.chance(0.3)) await clock.sleep(random.between(0, 10), never);
      }
      if (round % 2 === 1) for (const part of parts) part.set(true);
      const truth = parts.every(({ converged }) => converged);
      const agree = async (): Promise<boolean> => {
        const got = await Promise.all(worlds.map(({ converger }) => converger.get()));
        const now = watched.map((one) => (one.now.get("") as { converged: boolean } | undefined)?.converged);
        return (
          got.every(({ hosts: all, converged }) => all.length === 3 && converged === truth) &&
          now.every((converged) => converged === truth) &&
          hooked.every((told) => told.at(-1) === truth)
        );
      };
      await eventually(`all say ${truth} (seed ${seed}, round ${round})`, agree, agreedWithinMs);
    }
    for (const { wrong } of watched) expect(wrong, `seed ${seed}`).toEqual([]);
    // A hook hears of changes alone.
    for (const told of hooked) expect(told.every((converged, i) => i === 0 || converged !== told[i - 1])).toBe(true);
  });
});

test("who is cut off counts no more once its session is over, and says again what is so when it is back", async () => {
  const [cut, stays] = (await hosts(2)) as [World, World];
  const part = cut.converger.register("job");
  stays.converger.register("job", { converged: true });
  const all = async (): Promise<object> => (await stays.converger.get({ read: "linearizable" })).hosts;
  const expected = { host: "h2", converged: true, malformed: false };
  await eventually("both say something", async () => JSON.stringify(await all()).includes('"h1","converged":false'));
  expect((await stays.converger.get()).converged).toBe(false);
  etcd.gone();
  await eventually("h1 is missed", async () => JSON.stringify(await all()) === JSON.stringify([expected]), 15_000);
  expect((await stays.converger.get()).converged).toBe(true);
  part.set(true);
  etcd.back();
  await eventually("h1 says that it is", async () => JSON.stringify(await all()).includes('"h1","converged":true'), 15_000);
  expect(await saidBy(cut)).toHaveLength(1);
});

test("a program says nothing before its first part and after its last one, and with its World its word is gone at once", async () => {
  const [first, second] = (await hosts(2)) as [World, World];
  const nobody = await first.converger.get();
  expect(nobody).toMatchObject({ converged: false, hosts: [] });
  expect(first.converger.here).toEqual({ converged: undefined, parts: [] });
  {
    using part = first.converger.register("job", { converged: true });
    expect(part.converged).toBe(true);
    await eventually("it says so", async () => (await second.converger.get()).converged);
  }
  await eventually("it says nothing", async () => (await saidBy(first)).length === 0);
  first.converger.register("job");
  await eventually("it says that it is not", async () => (await second.converger.get()).hosts[0]?.converged === false);
  await first.close();
  expect(await saidBy(first)).toEqual([]);
});

test("two programs of one host: it is converged where both are, and neither writes over the other's word", async () => {
  const [one] = (await hosts(1)) as [World];
  const two = await worldOf({ proxy: other }, { replica: false, namespace: one.namespace, hostname: "h1" });
  const part = one.converger.register("job", { converged: true });
  two.converger.register("job", { converged: true });
  const both = async (): Promise<unknown> => [(await two.converger.get()).converged, (await saidBy(one)).length];
  await eventually("both say so", async () => String(await both()) === "true,2");
  part.set(false);
  await eventually("one does not", async () => String(await both()) === "false,2");
  expect((await two.converger.get()).hosts).toEqual([{ host: "h1", converged: false, malformed: false }]);
});

test("a word that somebody deletes or overwrites is said again", async () => {
  const [world] = (await hosts(1)) as [World];
  world.converger.register("job", { converged: true });
  const [key] = await eventually("it is said", async () => {
    const said = await saidBy(world);
    return said.length > 0 && said;
  });
  await deleteRaw(etcd, key!);
  await eventually("it is there again", async () => (await etcd.client.get(key!)).entry?.value === "true");
  await putRaw(etcd, key!, "false");
  await eventually("it is true again", async () => {
    const { entry } = await etcd.client.get(key!);
    return entry?.value === "true" && entry.lease !== "0";
  });
  const now = await revisionOf(etcd);
  expect((await world.converger.get({ read: { atLeast: now } })).converged).toBe(true);
});

test("a host whose word cannot be read is malformed and not converged; a key of no host is passed over; both are told", async () => {
  const [world] = (await hosts(1)) as [World];
  const { converged } = keysOf(world);
  const watched = watchedValue(world.converger.watch());
  world.converger.register("job", { converged: true });
  await eventually("it is converged", async () => (await world.converger.get()).converged);
  for (const key of [`${converged.start}h7/x/y`, `${converged.start}h 8`, `${converged.start}h8/NOT-HEX`])
    await putRaw(etcd, key, "false");
  await putRaw(etcd, badKey(converged.start), "false");
  const { converged: still, hosts: all } = await world.converger.get();
  expect([still, all.map(({ host }) => host)]).toEqual([true, ["h1"]]);
  await putRaw(etcd, converged.key("h8"), "TRUE");
  await putRaw(etcd, converged.key("h9"), notText);
  expect(await world.converger.get()).toMatchObject({
    converged: false,
    hosts: [
      { host: "h1", converged: true, malformed: false },
      { host: "h8", converged: false, malformed: true },
      { host: "h9", converged: false, malformed: true },
    ],
  });
  expect(world.status.malformed.count).toBe(6);
  await eventually("the watch tells it too", () => (watched.now.get("") as { hosts: unknown[] }).hosts.length === 3);
  await putRaw(etcd, converged.key("h8"), "true");
  await deleteRaw(etcd, converged.key("h9"));
  await eventually("all are", () => (watched.now.get("") as { converged: boolean }).converged);
  expect(watched.wrong).toEqual([]);
});

test("a hook that throws is called again, a slow one hears what is so when it is done, and one that was taken back hears nothing", async () => {
  const [world] = (await hosts(1)) as [World];
  const part = world.converger.register("job");
  const key = keysOf(world).converged.start;
  await eventually("it says that it is not", async () => (await etcd.client.range(rangeAt(key))).entries.length > 0);
  const told: string[] = [];
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  world.converger.onChange(({ converged }) => {
    told.push(`throws ${converged}`);
    throw new Error("not today");
  });
  world.converger.onChange(async ({ converged }) => {
    told.push(`slow ${converged}`);
    await gate;
  });
  const stop = world.converger.onChange(({ converged }) => void told.push(`stopped ${converged}`));
  await eventually("all three are called", () => told.length === 3);
  stop();
  for (const converged of [true, false, true]) {
    part.set(converged);
    await eventually("it is told", () => told.at(-1) === `throws ${converged}`);
  }
  open();
  await eventually("the slow one hears the last", () => told.at(-1) === "slow true");
  expect(told.filter((line) => line.startsWith("slow"))).toEqual(["slow false", "slow true"]);
  expect(told.filter((line) => line.startsWith("stopped"))).toEqual(["stopped false"]);
  expect(told.filter((line) => line.startsWith("throws"))).toEqual([false, true, false, true].map((one) => `throws ${one}`));
});

function rangeAt(start: string): { start: string; end: string } {
  return { start, end: `${start.slice(0, -1)}0` };
}
