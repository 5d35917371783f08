import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultPolicy } from "../../../src/chooser/index.ts";
import { Keeper, chooserPolicy } from "../../../src/agent/lead/keep.ts";
import { look } from "../../../src/agent/lead/look.ts";
import { defaultClusterPolicy } from "../../../src/agent/policy.ts";
import { resolveOptions } from "../../../src/agent/resolve.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { leading, never, type Leading } from "./leader.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

class Scene {
  readonly leader: Leading;
  readonly keeper: Keeper;

  private constructor(leader: Leading, keeper: Keeper) {
    this.leader = leader;
    this.keeper = keeper;
  }

  static async open(flags = {}): Promise<Scene> {
    const leader = await leading(etcd.urls);
    return new Scene(leader, new Keeper({ ...leader, options: resolveOptions({ hostname: "h1", ...flags }) }));
  }

  /** What a round of the leader does with its keys; the policy it decides by. */
  async round(keeper: Keeper = this.keeper): Promise<object> {
    const seen = await look(this.leader.client, this.leader.keys, never);
    const policy = keeper.policy(seen);
    await keeper.keep(seen, never);
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
    const other = new Keeper({ ...scene.leader, options: resolveOptions({ hostname: "h2", maxSeats: 15 }) });
    expect(await scene.round(other)).toMatchObject({ maxSeats: 5 });
    expect(await scene.value(keys.policy)).toBe("banana");
    expect(await scene.json(keys.lastPolicy)).toMatchObject({ maxSeats: 5 });
  });

  test("that somebody deletes is written again as it was, also by a new leader with other flags", async () => {
    const scene = await Scene.open({ maxSeats: 5 });
    const { keys, client } = scene.leader;
    await scene.round();
    await client.del(keys.policy);
    const other = new Keeper({ ...scene.leader, options: resolveOptions({ hostname: "h2", maxSeats: 15 }) });
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
