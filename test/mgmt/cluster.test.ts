import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdOfWorlds, eventually, putRaw } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";
import { ask } from "../support/etcd-server.ts";
import { mgmtOf, taken } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

describe("idealClusterSizeGet, idealClusterSizeSet", () => {
  test("read and set mgmt's key; set says whether that changed it", async () => {
    const mgmt = await mgmtOf(etcd);
    const missing: unknown = await mgmt.idealClusterSizeGet().catch((error: unknown) => error);
    expect(missing).toMatchObject({ code: "NOT_EXIST" });
    expect(mgmt.strIsNotExist(missing)).toBe(true);
    expect(await mgmt.idealClusterSizeSet(3)).toBe(true);
    expect(await mgmt.idealClusterSizeSet(3)).toBe(false);
    expect(await mgmt.idealClusterSizeGet()).toBe(3);
    const key = `${mgmt.namespace}/chooser/dynamicsize/idealclustersize`;
    expect(Buffer.from((await etcd.client.get(key)).entry!.value).toString()).toBe("3");
    await putRaw(etcd, key, "7");
    expect(await mgmt.idealClusterSizeGet()).toBe(7);
    await putRaw(etcd, key, "banana");
    await expect(mgmt.idealClusterSizeGet()).rejects.toMatchObject({ code: "INVALID_VALUE" });
  });

  test("0 has to be meant, and what is no size is refused", async () => {
    const mgmt = await mgmtOf(etcd);
    for (const size of [0, -1, 1.5, 65_535])
      await expect(mgmt.idealClusterSizeSet(size)).rejects.toMatchObject({ code: "INVALID_VALUE", outcome: "none" });
    expect(await mgmt.idealClusterSizeSet(0, { shutdown: true })).toBe(true);
    expect(await mgmt.idealClusterSizeGet()).toBe(0);
  });
});

describe("idealClusterSizeWatch", () => {
  test("wakes once at the start, and when it has changed", async () => {
    const mgmt = await mgmtOf(etcd);
    const watched = taken(mgmt.idealClusterSizeWatch());
    await watched.count(1);
    await mgmt.idealClusterSizeSet(3);
    await watched.count(2);
    await mgmt.idealClusterSizeSet(3);
    await mgmt.idealClusterSizeSet(5);
    await watched.count(3);
    expect(watched.all).toHaveLength(3);
  });
});

describe("watchMembers", () => {
  test("gives all members at once, again when one came or went, and nothing in between", async () => {
    const mgmt = await mgmtOf(etcd);
    const watched = taken(mgmt.watchMembers({ everyMs: 50 }));
    await watched.count(1);
    expect(watched.all[0]!.members).toMatchObject([
      { name: "n1", role: "voter", raftLeader: true, healthy: true, clientUrls: [etcd.proxy.url] },
    ]);
    const added = { peerURLs: ["http://127.0.0.1:1"], isLearner: true };
    const { member } = await ask<{ member: { ID: string } }>(etcd.url, "cluster/member/add", added);
    await watched.count(2);
    expect(watched.all[1]!.members).toMatchObject([{ name: "", role: "learner", healthy: false }, { name: "n1" }]);
    await ask(etcd.url, "cluster/member/remove", { ID: member.ID });
    await watched.count(3);
    expect(watched.all[2]!.members).toMatchObject([{ name: "n1" }]);
    expect(watched.all).toHaveLength(3);
  });

  test("goes on through the loss of etcd, where mgmt's ends with the first error", async () => {
    const mgmt = await mgmtOf(etcd);
    const watched = taken(mgmt.watchMembers({ everyMs: 50 }));
    await watched.count(1);
    etcd.gone();
    await eventually("a call fails", () =>
      mgmt.idealClusterSizeGet({ timeoutMs: 200 }).then(
        () => false,
        () => true,
      ),
    );
    // etcd makes ids of URLs and the second: of one URL, twice in a second, it would be the one that was removed.
    const added = { peerURLs: ["http://127.0.0.1:2"], isLearner: true };
    const { member } = await ask<{ member: { ID: string } }>(etcd.url, "cluster/member/add", added);
    etcd.back();
    await eventually("it is told", () => watched.all.at(-1)?.members.length === 2, 30_000);
    await ask(etcd.url, "cluster/member/remove", { ID: member.ID });
    await eventually("that, too", () => watched.all.at(-1)?.members.length === 1, 30_000);
    expect(watched.isOver).toBe(false);
  });
});
