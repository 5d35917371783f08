import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isSchedule } from "./told.ts";
import { grantedMs } from "../../../src/etcd/index.ts";
import type { Place, Schedule, SchedulerOptions, Schedules, Scheduling, World } from "../../../src/world/index.ts";
import { FaultyProxy } from "../../support/proxy.ts";
import {
  deleteRaw,
  etcdOfWorlds,
  eventually,
  freshNamespace,
  keysOf,
  notText,
  putRaw,
  revisionsOf,
  ways,
  worldOf,
} from "../fixture.ts";
import type { WorldEtcd } from "../fixture.ts";
import { testUsualFailures } from "../usual.ts";

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

/** Worlds in one namespace; the first one's connection is the one that tests break. */
async function hosts(n: number, sessionTtl = 10): Promise<World[]> {
  const namespace = freshNamespace();
  return await Promise.all(
    Array.from({ length: n }, (_, i) =>
      worldOf({ proxy: i === 0 ? etcd.proxy : other }, { replica: false, namespace, hostname: `h${i + 1}`, sessionTtl }),
    ),
  );
}

/** In turn, so that the first is scheduled first. */
async function takePart(worlds: readonly World[], name: string, options: SchedulerOptions = {}): Promise<Scheduling[]> {
  const all: Scheduling[] = [];
  for (const world of worlds) all.push(await world.scheduler(name, options));
  return all;
}

async function until(schedules: Pick<Schedules, "get">, wanted: readonly string[]): Promise<Schedule> {
  return await eventually(
    `${wanted.join(" ")} are scheduled`,
    async () => {
      const schedule = await schedules.get({ read: "direct" });
      return schedule.state !== "unknown" && JSON.stringify(schedule.hosts) === JSON.stringify(wanted) && schedule;
    },
    20_000,
  );
}

const placeOf = (scheduling: Scheduling): Promise<Place> => scheduling.whenScheduled({ timeoutMs: 20_000 });

const firesOf = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
  });

testUsualFailures(
  () => etcd,
  [
    {
      name: "scheduler",
      writes: true,
      call: async (world, options) => {
        const scheduling = await world.scheduler("usual", options);
        await scheduling.shutdown();
      },
    },
    { name: "scheduled.get", call: (world, options) => world.scheduled("usual").get({ ...options, read: "direct" }) },
    { name: "schedules", call: (world, options) => world.schedules({ ...options, read: "direct" }) },
  ],
);

describe.each(ways)("$way", ({ replica }) => {
  test("of three that take part the first is scheduled and knows it, and the next one when it ends", async () => {
    const namespace = freshNamespace();
    const names = ["h1", "h2", "h3"];
    const worlds = await Promise.all(names.map((hostname) => worldOf({ proxy: other }, { replica, namespace, hostname })));
    const [one, two, three] = (await takePart(worlds, "backup")) as [Scheduling, Scheduling, Scheduling];
    const place = await placeOf(one);
    place.check();
    expect(one.amIScheduled()).toBe(place);
    for (const scheduling of [one, two, three]) {
      expect(await until(scheduling, ["h1"])).toMatchObject({ state: "scheduled", because: undefined });
    }
    expect([two.amIScheduled(), three.amIScheduled()]).toEqual([undefined, undefined]);
    await worlds[0]!.str.set("done", "1", { fence: place });
    await one.shutdown();
    expect(place.signal.reason).toMatchObject({ code: "CLOSED" });
    expect(() => place.check()).toThrow(expect.objectContaining({ code: "CLOSED" }) as Error);
    expect(one.amIScheduled()).toBeUndefined();
    expect(one.signal.aborted).toBe(true);
    await placeOf(two);
    await until(three, ["h2"]);
    await expect(worlds[0]!.str.set("done", "2", { fence: place })).rejects.toMatchObject({ outcome: "none" });
  });

  test("a watch and next() tell each schedule once, by iterating and by subscribing, and nothing of what does not change it", async () => {
    const namespace = freshNamespace();
    const [world, looker] = (await Promise.all(
      ["h1", "h9"].map((hostname) => worldOf({ proxy: other }, { replica, namespace, hostname })),
    )) as [World, World];
    const scheduled = looker.scheduled("web");
    expect(await scheduled.next()).toEqual({ state: "unknown", hosts: [], generation: 0, because: "nothing was published yet" });
    const told: Schedule[] = [];
    const subscription = scheduled.watch().subscribe((event) => isSchedule(event) && told.push(event.value));
    const iterated: Schedule[] = [];
    const iterating = (async () => {
      for await (const event of scheduled.watch()) if (isSchedule(event)) iterated.push(event.value);
    })();
    const waiting = scheduled.next();
    const scheduling = await world.scheduler("web");
    expect((await waiting).state).toMatch(/scheduled|nobody/);
    await until(scheduling, ["h1"]);
    await world.scheduler("another");
    await scheduling.update({ load: 3 });
    await scheduling.shutdown();
    await eventually("the end is told", () => [told, iterated].every((all) => all.at(-1)?.state === "nobody" && all.length > 2));
    expect(iterated).toEqual(told);
    expect(told[0]).toMatchObject({ state: "unknown" });
    for (const [i, one] of told.entries()) expect(one).not.toEqual(told[i + 1]);
    await eventually("next() has come to the end", async () => (await scheduled.next({ timeoutMs: 20_000 })).state === "nobody");
    await expect(scheduled.next({ timeoutMs: 50 })).rejects.toMatchObject({ code: "DEADLINE" });
    const late = scheduled.next();
    await scheduled.shutdown();
    await expect(late).rejects.toMatchObject({ code: "CLOSED" });
    await iterating;
    expect(subscription.closed).toBe(true);
    await expect(scheduled.get()).rejects.toMatchObject({ code: "CLOSED" });
  });
});

test("nobody is not the same as not known", async () => {
  const [world, looker] = (await hosts(2)) as [World, World];
  const scheduled = looker.scheduled("n");
  expect(await scheduled.get()).toMatchObject({ state: "unknown", because: "nothing was published yet", generation: 0 });
  const scheduling = await world.scheduler("n", { drain: true });
  expect(await until(scheduled, [])).toMatchObject({ state: "nobody", because: undefined });
  await scheduling.update({ drain: false });
  await until(scheduled, ["h1"]);
  const key = keysOf(world).scheduler.result("n");
  await world.close();
  expect(await scheduled.get({ read: "direct" }), "who ends in good order says so").toMatchObject({ state: "nobody" });
  await putRaw(etcd, key, notText);
  expect(await scheduled.get({ read: "direct" })).toMatchObject({
    state: "unknown",
    because: "what is published cannot be read",
  });
  await putRaw(etcd, key, JSON.stringify({ hosts: ["h1"], generation: 7, scheduler: 1 }));
  expect(await scheduled.get({ read: "direct" }), "what a scheduler that has died has left is not known").toMatchObject({
    state: "unknown",
    hosts: [],
    generation: 7,
  });
});

test("a host that dies is replaced, whether it schedules or not, and the others keep their places and their ranks", async () => {
  const worlds = await hosts(4, 2);
  const [first, second, third] = (await takePart(worlds, "n", { maxCount: 3 })) as [Scheduling, Scheduling, Scheduling];
  await until(third, ["h1", "h2", "h3"]);
  const places = await Promise.all([second, third].map(placeOf));
  const lost = await placeOf(first);
  // It schedules too: it came first.
  etcd.proxy.drop();
  const before = performance.now();
  expect(await firesOf(lost.signal)).toMatchObject({ code: "SESSION_LOST" });
  expect(performance.now() - before).toBeLessThan(2_500);
  const now = await third.get();
  expect(now.hosts, "its signal fires before another one has its place").toEqual(["h1", "h2", "h3"]);
  await until(third, ["h2", "h3", "h4"]);
  for (const place of places) place.check();
  // It comes back as one who waits.
  etcd.proxy.cut();
  etcd.proxy.heal();
  await eventually(
    "it takes part again",
    async () => (await worlds[1]!.schedules()).schedules[0]?.candidates.includes("h1"),
    20_000,
  );
  await until(third, ["h2", "h3", "h4"]);
  expect(first.amIScheduled()).toBeUndefined();
});

test("a host that is drained is relieved before another one takes its place, and is scheduled again when it is not", async () => {
  const worlds = await hosts(2);
  const [one, two] = (await takePart(worlds, "n")) as [Scheduling, Scheduling];
  const place = await placeOf(one);
  let fired = false;
  place.signal.addEventListener("abort", () => {
    expect(two.amIScheduled()).toBeUndefined();
    fired = true;
  });
  expect(await one.update({ drain: true })).toMatchObject({ changed: true });
  await placeOf(two);
  expect(fired).toBe(true);
  await one.update({ drain: false });
  expect(await one.update({ drain: false })).toMatchObject({ changed: false });
  await two.update({ drain: true });
  await placeOf(one);
});

describe("options", () => {
  test("are stored by whoever comes first, and kept to by those that name none", async () => {
    const worlds = await hosts(3);
    const [first, second] = worlds as [World, World];
    const rules = { strategy: "alpha", maxCount: 2 } as const;
    const all = [await first.scheduler("n", rules), ...(await takePart(worlds.slice(1), "n"))];
    await until(all[0]!, ["h1", "h2"]);
    const key = keysOf(first).scheduler.options("n");
    expect(JSON.parse((await etcd.client.get(key)).entry!.value)).toEqual({ strategy: { name: "alpha" }, maxCount: 2 });
    await all[1]!.shutdown();
    expect(await revisionsOf(etcd, () => second.scheduler("n", rules))).toBeGreaterThan(0);
    expect((await etcd.client.get(key)).entry!.version, "the same again writes nothing").toBe(1);
  });

  test("that contradict what is stored are refused with what is stored, and nothing is changed", async () => {
    const [one, two] = (await hosts(2)) as [World, World];
    await one.scheduler("n", { strategy: "alpha", maxCount: 2 });
    const refused = two.scheduler("n", { strategy: "hrw", maxCount: 2 });
    await expect(refused).rejects.toMatchObject({
      code: "CONFLICT",
      outcome: "none",
      data: { reason: "options", differs: ["strategy"], stored: { strategy: { name: "alpha" }, maxCount: 2 } },
    });
    const { schedules } = await one.schedules({ read: "direct" });
    expect(schedules).toMatchObject([{ namespace: "n", strategy: "alpha", candidates: ["h1"] }]);
    // Many at once that contradict each other: one of them is in force, and the others hear of it.
    const named = await hosts(5);
    const settled = await Promise.allSettled(named.map((world, i) => world.scheduler("m", { maxCount: i + 1 })));
    const failures = settled.flatMap((one_) => (one_.status === "rejected" ? [one_.reason as unknown] : []));
    expect(failures).toHaveLength(4);
    for (const failure of failures) expect(failure).toMatchObject({ code: "CONFLICT", data: { differs: ["maxCount"] } });
  });

  test("that are changed are in force at once, and whoever asked for others can tell", async () => {
    const worlds = await hosts(3);
    const [first, second] = (await takePart(worlds, "n", { strategy: { name: "pin", hosts: ["h1", "h2"] } })) as [
      Scheduling,
      Scheduling,
    ];
    await until(first, ["h1", "h2"]);
    expect(first.contradiction).toBeUndefined();
    await second.shutdown();
    const changed = await worlds[1]!.scheduler("n", { strategy: { name: "pin", hosts: ["h3", "h2"] }, change: true });
    await until(first, ["h3", "h2"]);
    await eventually("it is told", () => first.contradiction !== undefined);
    expect(first.contradiction).toMatchObject({ differs: ["strategy"], stored: { strategy: { hosts: ["h3", "h2"] } } });
    expect(changed.contradiction).toBeUndefined();
    expect(first.amIScheduled()).toBeUndefined();
  });

  test("that nobody can read leave all as it is and are told, and one who changes them puts it right", async () => {
    const [one, two] = (await hosts(2)) as [World, World];
    const scheduling = await one.scheduler("n");
    const untouched = await one.scheduler("m");
    await until(scheduling, ["h1"]);
    const place = await placeOf(scheduling);
    await putRaw(etcd, keysOf(one).scheduler.options("n"), '{"strategy":{"name":"new"}}');
    const told = await eventually("the problem is told", async () => {
      const schedule = await scheduling.get({ read: "direct" });
      return schedule.because !== undefined && schedule;
    });
    expect(told).toMatchObject({ state: "scheduled", hosts: ["h1"] });
    expect(told.because).toMatch(/^its options cannot be read: strategy has to be/);
    await expect(two.scheduler("n")).rejects.toMatchObject({ code: "INVALID_VALUE" });
    await eventually("it is counted", () => two.status.malformed.count > 0);
    place.check();
    // Another namespace does not suffer.
    await two.scheduler("m");
    await untouched.shutdown();
    await until(two.scheduled("m"), ["h2"]);
    await two.scheduler("n", { strategy: "rr", change: true });
    await eventually("it is put right", async () => (await scheduling.get({ read: "direct" })).because === undefined);
    place.check();
  });

  test("say how long a host that has died keeps its place, whatever the TTL of its World", async () => {
    const [world] = (await hosts(1)) as [World];
    await placeOf(await world.scheduler("n", { sessionTtl: 7 }));
    const keys = keysOf(world).scheduler;
    for (const key of [keys.candidate("n", "h1"), keys.place("n", "h1")]) {
      const { entry } = await etcd.client.get(key);
      expect(await grantedMs(etcd.client, entry!.lease, {}), key).toBe(7_000);
    }
  });

  test("move so many living hosts at a time as they say, until all are where they are to be", async () => {
    const worlds = await hosts(4);
    const pin = (...of: string[]) => ({ strategy: { name: "pin", hosts: of } as const, maxCount: 2 });
    const all = await takePart(worlds, "n", { ...pin("h1", "h2"), maxMoves: 1 });
    await Promise.all(all.slice(0, 2).map(placeOf));
    const told: string[] = [];
    all[3]!.watch().subscribe({
      next: (event) => isSchedule(event) && told.push(event.value.hosts.join(" ")),
      error: () => undefined,
    });
    await eventually("the first is told", () => told.at(-1) === "h1 h2");
    const options = JSON.stringify({ ...pin("h3", "h4"), maxMoves: 1 });
    await putRaw(etcd, keysOf(worlds[0]!).scheduler.options("n"), options);
    await until(all[3]!, ["h3", "h4"]);
    await eventually("it is told", () => told.at(-1) === "h3 h4");
    expect(told).toEqual(["h1 h2", "h1", "h3 h1", "h3", "h3 h4"]);
  });

  test("and what a host says of itself that are none are refused, and nothing is written", async () => {
    const [world] = (await hosts(1)) as [World];
    const wrong: [string, unknown][] = [
      ["strategy", "fifo"],
      ["maxCount", 0],
      ["weight", -1],
      ["load", Number.NaN],
      ["labels", { zone: 7 }],
      ["drain", "yes"],
    ];
    const revisions = await revisionsOf(etcd, async () => {
      for (const [option, value] of wrong)
        await expect(world.scheduler("n", { [option]: value })).rejects.toMatchObject({
          code: "INVALID_OPTION",
          data: { option },
        });
      await expect(world.scheduler("")).rejects.toMatchObject({ code: "INVALID_NAME" });
      expect(() => world.scheduled("")).toThrow(expect.objectContaining({ code: "INVALID_NAME" }) as Error);
    });
    expect(revisions).toBeLessThanOrEqual(1);
  });
});

test("weights, labels and loads decide where the strategy heeds them, and the zones get their shares", async () => {
  const worlds = await hosts(4);
  const zones = ["a", "a", "b", "b"];
  const all = await Promise.all(
    worlds.map((world, i) => world.scheduler("n", { strategy: "spread", maxCount: 2, labels: { zone: zones[i]! } })),
  );
  const scheduled = (without?: string): Promise<readonly string[]> =>
    eventually("two are scheduled", async () => {
      const { hosts } = await worlds[0]!.scheduled("n").get({ read: "direct" });
      return hosts.length === 2 && !hosts.some((host) => host === without) && hosts;
    });
  // Whoever came first may have a place already, and keeps it: the zones count for the one that becomes free now that all are there.
  const [, gone = ""] = await scheduled();
  await all[Number(gone.slice(1)) - 1]!.shutdown();
  const now = await scheduled(gone);
  expect(new Set(now.map((host) => zones[Number(host.slice(1)) - 1]))).toEqual(new Set(["a", "b"]));
});

test("a World takes part once, and another program of the same host takes over from it", async () => {
  const namespace = freshNamespace();
  const [one, same] = await Promise.all([1, 2].map(() => worldOf({ proxy: other }, { replica: false, namespace })));
  const scheduling = await one!.scheduler("n");
  await expect(one!.scheduler("n")).rejects.toMatchObject({ code: "CONFLICT", data: { reason: "taking-part" } });
  const place = await placeOf(scheduling);
  let before = true;
  const taken = same!.scheduler("n").then(async (later) => {
    await placeOf(later);
    expect(before).toBe(false);
  });
  expect(await firesOf(place.signal)).toMatchObject({ code: expect.stringMatching(/CONFLICT|CLOSED/) as string });
  before = false;
  await taken;
  expect(scheduling.signal.reason).toMatchObject({ code: "CONFLICT", data: { reason: "taken-over" } });
  expect((await same!.scheduled("n").get({ read: "direct" })).hosts).toEqual(["h1"]);
  // Who was taken over from may begin again.
  await eventually("it may take part again", async () =>
    one!.scheduler("n").then(
      () => true,
      () => false,
    ),
  );
});

describe("a program that ends", () => {
  test("keeps its place with reuseLease for one that comes within its TTL, and loses it to the next one otherwise", async () => {
    const [first, second] = (await hosts(2, 2)) as [World, World];
    await (await first.scheduler("n", { reuseLease: true })).whenScheduled();
    const two = await second.scheduler("n");
    await until(two, ["h1"]);
    await first.close();
    await until(two, ["h1"]);
    const again = await worldOf({ proxy: other }, { replica: false, namespace: first.namespace, hostname: "h1", sessionTtl: 2 });
    const place = await placeOf(await again.scheduler("n"));
    expect(two.amIScheduled()).toBeUndefined();
    place.check();
    await again.close();
    await placeOf(two);
    await until(two, ["h2"]);
  });

  test("keeps its place with persist for its grace, or for ever, and gives it up where it withdraws", async () => {
    const [first, second] = (await hosts(2, 2)) as [World, World];
    const one = await first.scheduler("n", { persist: { grace: 1 } });
    await placeOf(one);
    const two = await second.scheduler("n");
    await one.shutdown();
    const key = keysOf(first).scheduler.candidate("n", "h1");
    const { entry } = await etcd.client.get(key);
    expect(entry?.lease).not.toBe("0");
    await until(two, ["h1"]);
    await placeOf(two);
    const forever = await first.scheduler("m", { persist: true });
    await placeOf(forever);
    await forever.shutdown();
    expect((await etcd.client.get(keysOf(first).scheduler.candidate("m", "h1"))).entry?.lease).toBe("0");
    const again = await first.scheduler("m");
    await placeOf(again);
    await again.shutdown({ withdraw: true });
    await until(second.scheduled("m"), []);
  });
});

test("a place whose key somebody deletes is given up, and a candidacy, options or result that are deleted are there again", async () => {
  const [world] = (await hosts(1)) as [World];
  const keys = keysOf(world).scheduler;
  const scheduling = await world.scheduler("n", { maxCount: 3 });
  const place = await placeOf(scheduling);
  await deleteRaw(etcd, keys.place("n", "h1"));
  expect(await firesOf(place.signal)).toMatchObject({ code: "SESSION_LOST" });
  const second = await placeOf(scheduling);
  expect(second.revision).toBeGreaterThan(place.revision);
  for (const key of [keys.candidate("n", "h1"), keys.options("n"), keys.result("n")]) {
    await deleteRaw(etcd, key);
    await eventually(`${key} is there again`, async () => (await etcd.client.get(key)).entry !== undefined);
  }
  expect(JSON.parse((await etcd.client.get(keys.options("n"))).entry!.value)).toEqual({ maxCount: 3 });
  await placeOf(scheduling);
});

test("all schedules are listed, with who takes part and who is active", async () => {
  const worlds = await hosts(2);
  await takePart(worlds, "b", { strategy: "all" });
  await placeOf((await takePart(worlds.slice(1), "a/x"))[0]!);
  const found = await eventually("both are active", async () => {
    const { schedules } = await worlds[0]!.schedules({ read: "direct" });
    return schedules[1]?.active.length === 2 && schedules;
  });
  expect(found).toMatchObject([
    { namespace: "a/x", state: "scheduled", hosts: ["h2"], strategy: "rr", active: ["h2"], candidates: ["h2"] },
    { namespace: "b", state: "scheduled", hosts: ["h1", "h2"], strategy: "all", active: ["h1", "h2"], candidates: ["h1", "h2"] },
  ]);
});

test("a World that is closed ends its places before anything, and leaves no lease", async () => {
  const worlds = await hosts(2);
  const [one, two] = (await takePart(worlds, "n")) as [Scheduling, Scheduling];
  const place = await placeOf(one);
  const ended = firesOf(place.signal);
  const before = performance.now();
  await worlds[0]!.close();
  expect(performance.now() - before).toBeLessThan(4_000);
  expect(await ended).toMatchObject({ code: "CLOSED" });
  await placeOf(two);
  const { start, end } = keysOf(worlds[0]!).scheduler;
  const { entries } = await etcd.client.range({ start, end });
  expect(entries.filter(({ key }) => key.includes("h1"))).toEqual([]);
});
