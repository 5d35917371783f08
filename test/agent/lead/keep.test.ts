import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultPolicy, type Facts } from "../../../src/chooser/index.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { EventLog } from "../../../src/agent/lead/events.ts";
import { Keeper, chooserPolicy } from "../../../src/agent/lead/keep.ts";
import { look } from "../../../src/agent/lead/look.ts";
import type { AgentOptions } from "../../../src/agent/options.ts";
import { defaultClusterPolicy } from "../../../src/agent/control/policy.ts";
import { resolveOptions } from "../../../src/agent/resolve.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { leading, never, silent, type Leading } from "./leader.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

const facts: Facts = { ideal: 3, members: [], spares: [], toleranceBefore: 0, toleranceAfter: 0 };

function keeperOf(leader: Leading, flags: AgentOptions): Keeper {
  const events = new EventLog({ ...leader, clock, log: silent, leader: flags.hostname ?? "" });
  return new Keeper({ ...leader, events, options: resolveOptions(flags) });
}

class Scene {
  readonly leader: Leading;
  readonly keeper: Keeper;

  private constructor(leader: Leading, keeper: Keeper) {
    this.leader = leader;
    this.keeper = keeper;
  }

  static async open(flags = {}): Promise<Scene> {
    const leader = await leading(etcd.urls);
    return new Scene(leader, keeperOf(leader, { hostname: "h1", ...flags }));
  }

  /** What a round of the leader does with its keys; the policy it decides by. */
  async round(keeper: Keeper = this.keeper): Promise<object> {
    const seen = await look(this.leader.client, this.leader.keys, never);
    const policy = keeper.policy(seen);
    await keeper.keep({ look: seen, facts }, never);
    return policy;
  }

  async value(key: string): Promise<string | undefined> {
    return (await this.leader.client.get(key)).entry?.value;
  }

  async json(key: string): Promise<unknown> {
    return JSON.parse((await this.value(key)) ?? "null");
  }

  put(key: string, value: string): Promise<unknown> {
    return this.leader.client.put(key, value);
  }
}

const written = { schema: 1, ...defaultClusterPolicy };

describe("the policy", () => {
  test("of a cluster that has none is written from the leader's flags", async () => {
    const scene = await Scene.open({ maxSeats: 5, restartGraceMs: 9_000 });
    const { keys } = scene.leader;
    expect(await scene.round()).toMatchObject({ maxSeats: 5, restartGraceMs: 9_000 });
    expect(await scene.json(keys.policy)).toEqual({ ...written, maxSeats: 5, restartGraceMs: 9_000 });
    expect(await scene.json(keys.lastPolicy)).toEqual({ ...written, maxSeats: 5, restartGraceMs: 9_000 });
  });

  test("that is there rules, whatever the leader's flags say", async () => {
    const scene = await Scene.open({ maxSeats: 5 });
    const { keys } = scene.leader;
    await scene.put(keys.policy, JSON.stringify({ ...written, maxSeats: 3 }));
    expect(await scene.round()).toMatchObject({ maxSeats: 3 });
    expect(await scene.json(keys.policy)).toMatchObject({ maxSeats: 3 });
    expect(await scene.json(keys.lastPolicy)).toMatchObject({ maxSeats: 3 });
  });

  test("that somebody overwrites with garbage stays in force under a new leader, too, and the garbage is left to people", async () => {
    const scene = await Scene.open({ maxSeats: 5 });
    const { keys } = scene.leader;
    await scene.round();
    await scene.put(keys.policy, "banana");
    const other = keeperOf(scene.leader, { hostname: "h2", maxSeats: 15 });
    expect(await scene.round(other)).toMatchObject({ maxSeats: 5 });
    expect(await scene.value(keys.policy)).toBe("banana");
    expect(await scene.json(keys.lastPolicy)).toMatchObject({ maxSeats: 5 });
  });

  test("that somebody deletes is written again as it was, also by a new leader with other flags", async () => {
    const scene = await Scene.open({ maxSeats: 5 });
    const { keys, client } = scene.leader;
    await scene.round();
    await client.del(keys.policy);
    const other = keeperOf(scene.leader, { hostname: "h2", maxSeats: 15 });
    expect(await scene.round(other)).toMatchObject({ maxSeats: 5 });
    expect(await scene.json(keys.policy)).toMatchObject({ maxSeats: 5 });
  });

  test("outlives the deletion of the whole namespace while its leader lives", async () => {
    const scene = await Scene.open({ maxSeats: 5 });
    const { keys } = scene.leader;
    await scene.put(keys.policy, JSON.stringify({ ...written, maxSeats: 3 }));
    await scene.round();
    for (const key of [keys.policy, keys.lastPolicy]) await scene.leader.client.del(key);
    expect(await scene.round()).toMatchObject({ maxSeats: 3 });
    expect(await scene.json(keys.policy)).toMatchObject({ maxSeats: 3 });
  });

  test("is written once: a round in which nothing has changed writes nothing", async () => {
    const scene = await Scene.open();
    const { client, keys } = scene.leader;
    await scene.round();
    await scene.round();
    const { revision } = await client.get(keys.policy);
    await scene.round();
    expect((await client.get(keys.policy)).revision).toBe(revision);
  });
});

describe("what the leader tells", () => {
  const whats = async ({ leader: { client, keys } }: Scene): Promise<string[]> =>
    (await client.range(keys.events)).entries.map(({ value }) => (JSON.parse(value) as { what: string }).what);

  test("is that it leads, the first size, and every change of size and policy, once each and in order", async () => {
    const scene = await Scene.open({ idealClusterSize: 3 });
    const { keys, client } = scene.leader;
    await scene.put(keys.idealClusterSize, "3");
    await scene.round();
    await scene.round();
    await scene.put(keys.idealClusterSize, "5");
    await scene.round();
    await scene.put(keys.policy, JSON.stringify({ ...written, maxSeats: 3, standbys: 1 }));
    await scene.round();
    await scene.put(keys.idealClusterSize, "banana");
    await scene.put(keys.policy, "banana");
    await scene.round();
    await client.txn({ then: [{ del: keys.idealClusterSize }, { del: keys.policy }] });
    await scene.round();
    await scene.round();
    expect(await whats(scene)).toEqual([
      "h1 leads now",
      "the size is 3",
      "wrote the first policy",
      "the size is 5 now, it was 3",
      "the policy changed: max-seats 7 -> 3, standbys 0 -> 1",
      "wrote the size 5 again",
      "wrote the policy again",
    ]);
  });

  test("size 0 is told of once, by whom it was asked for, and so is its being taken back; what was written for it goes", async () => {
    const scene = await Scene.open({ idealClusterSize: 3 });
    const { keys, client } = scene.leader;
    const before = (what: string): boolean => !/leads|policy/.test(what);
    await scene.put(keys.idealClusterSize, "3");
    await scene.round();
    const yes = '{"schema":1,"by":"box"}';
    await client.txn({
      then: [
        { put: keys.idealClusterSize, value: "0" },
        { put: keys.closing, value: yes },
      ],
    });
    await scene.round();
    await scene.round();
    expect(await scene.value(keys.lastSize)).toBe("3");
    await scene.put(keys.closed, '{"schema":1,"host":"h1","formerSize":3}');
    await scene.put(keys.idealClusterSize, "3");
    await scene.round();
    await scene.round();
    await scene.put(keys.idealClusterSize, "0");
    await scene.round();
    await scene.round(keeperOf(scene.leader, { hostname: "h2" }));
    expect((await whats(scene)).filter(before)).toEqual([
      "the size is 3",
      "the size is 0: the cluster is to be shut down; it was 3",
      "the size is 3 again: the shutdown is taken back",
      "the size is 0: the cluster is to be shut down; it was 3",
    ]);
    const events = (await client.range(keys.events)).entries.map(({ value }) => JSON.parse(value) as { because: string });
    expect(events.map(({ because }) => because)).toContain("`quorate size 0` on box says so");
    expect(await scene.value(keys.closed)).toBeUndefined();
    expect(await scene.value(keys.closing)).toBeUndefined();
  });

  test("an agent that asks to leave is told of once, also by the next leader", async () => {
    const scene = await Scene.open();
    const { keys } = scene.leader;
    await scene.round();
    await scene.put(keys.leaving.key("h3"), '{"reason":"asked to leave"}');
    await scene.round();
    await scene.round();
    await scene.round(keeperOf(scene.leader, { hostname: "h2" }));
    const told = (await whats(scene)).filter((what) => what.includes("leave"));
    expect(told).toEqual(["h3 asked to leave"]);
  });
});

test("the chooser gets the policy's fields and nothing else of it", () => {
  const policy = { ...defaultClusterPolicy, maxSeats: 5, stallTimeoutMs: 1_000, stabilizationMs: 7 };
  expect(chooserPolicy(policy, 2_000)).toEqual({
    ...defaultPolicy,
    settleMs: 2_000,
    maxSeats: 5,
    stallTimeoutMs: 1_000,
    stabilizationMs: 7,
  });
});
