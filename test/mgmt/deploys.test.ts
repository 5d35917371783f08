import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdOfWorlds, eventually, notText, putRaw } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";
import { mgmtOf, taken } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

describe("addDeploy", () => {
  test("adds one behind the other, and says which of the conditions did not hold, with nothing written", async () => {
    const mgmt = await mgmtOf(etcd);
    await mgmt.addDeploy(1, "a", "not checked: there is none before", "one");
    await mgmt.addDeploy(2, "b", "a", "two");
    const refusals: readonly [number, string, string, object][] = [
      [2, "b", "a", { reason: "exists" }],
      [4, "d", "", { reason: "gap" }],
      [3, "c", "a", { reason: "parent", hash: "b" }],
    ];
    for (const [id, hash, pHash, data] of refusals)
      await expect(mgmt.addDeploy(id, hash, pHash, "x")).rejects.toMatchObject({ code: "CONFLICT", outcome: "none", data });
    expect(await mgmt.getMaxDeployId()).toBe(2);
    expect((await etcd.client.get(`${mgmt.namespace}/deploy/2/payload`)).entry).toBeDefined();
    expect((await etcd.client.get(`${mgmt.namespace}/deploy/2/hash`)).entry).toBeDefined();
  });

  test("checks no parent where one of the two hashes is empty, as mgmt's", async () => {
    const mgmt = await mgmtOf(etcd);
    await mgmt.addDeploy(1, "", "", "one");
    await mgmt.addDeploy(2, "", "anything", "two");
    await mgmt.addDeploy(3, "c", "", "three");
    await mgmt.addDeploy(4, "d", "c", "four");
    expect((await mgmt.world.deploy.list()).deploys.map(({ hash }) => hash)).toEqual([undefined, undefined, "c", "d"]);
  });

  test("of two who add the same id one has won, and the loser asks again, as mgmt documents", async () => {
    const mgmt = await mgmtOf(etcd);
    const ids = await Promise.all(
      ["x", "y", "z"].map(async (data) => {
        for (;;) {
          const id = (await mgmt.getMaxDeployId()) + 1;
          try {
            await mgmt.addDeploy(id, "", "", data);
            return id;
          } catch (error) {
            expect(error).toMatchObject({ code: "CONFLICT", data: { reason: "exists" } });
          }
        }
      }),
    );
    expect(ids.sort()).toEqual([1, 2, 3]);
    expect([...(await mgmt.getDeploys()).values()].sort()).toEqual(["x", "y", "z"]);
  });
});

describe("getDeploy, getDeploys, getMaxDeployId", () => {
  test("are empty, and 0, where there is none; deploy 0 is empty once the cluster has been asked", async () => {
    const mgmt = await mgmtOf(etcd);
    expect(await mgmt.getMaxDeployId()).toBe(0);
    expect(await mgmt.getDeploy(0)).toBe("");
    expect(await mgmt.getDeploys()).toEqual(new Map());
    const missing: unknown = await mgmt.getDeploy(1).catch((error: unknown) => error);
    expect(missing).toMatchObject({ code: "NOT_EXIST" });
    expect(mgmt.strIsNotExist(missing)).toBe(true);
    etcd.proxy.stall();
    for (const id of [0, 1]) {
      const failure: unknown = await mgmt.getDeploy(id, { timeoutMs: 300 }).catch((error: unknown) => error);
      expect(failure).toMatchObject({ retryable: true });
    }
  });

  test("give the data by id, in order; what is not UTF-8 harms no other", async () => {
    const mgmt = await mgmtOf(etcd);
    for (let id = 1; id <= 130; id++) await putRaw(etcd, `${mgmt.namespace}/deploy/${id}/payload`, `data ${id}`);
    await putRaw(etcd, `${mgmt.namespace}/deploy/131/payload`, notText);
    await putRaw(etcd, `${mgmt.namespace}/deploy/banana/payload`, "x");
    expect(await mgmt.getDeploy(77)).toBe("data 77");
    const all = await mgmt.getDeploys();
    expect([...all.keys()]).toEqual(Array.from({ length: 130 }, (_, i) => i + 1));
    expect(all.get(130)).toBe("data 130");
    expect(await mgmt.getMaxDeployId()).toBe(131);
    expect(mgmt.world.status.malformed.count).toBe(2);
  });
});

describe("watchDeploy", () => {
  test("wakes once at the start, and when there is a new one, which is read then", async () => {
    const mgmt = await mgmtOf(etcd);
    const watched = taken(mgmt.watchDeploy());
    await watched.count(1);
    await mgmt.strSet("motd", "no deploy");
    for (const id of [1, 2]) {
      await mgmt.addDeploy(id, `h${id}`, "", `data ${id}`);
      await watched.count(id + 1);
      expect(await mgmt.getDeploy(await mgmt.getMaxDeployId())).toBe(`data ${id}`);
    }
    expect(watched.all).toHaveLength(3);
    await mgmt.world.deploy.prune({ keep: 1 });
    await eventually("the prune", () => watched.all.length === 4);
  });
});
