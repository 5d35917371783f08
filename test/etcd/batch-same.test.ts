import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { Batch } from "../../src/etcd/index.ts";
import type { EtcdClient } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { clientOf, proxyTo } from "./follower.ts";

let etcd: TestCluster;
let url: string;
beforeAll(async () => {
  etcd = await startEtcd(1);
  url = etcd.urls[0]!;
});
afterAll(() => etcd.stop());

function batchOf(client: EtcdClient): Batch {
  const batch = new Batch(client);
  onTestFinished(() => batch.close());
  return batch;
}

const revisionOf = async (client: EtcdClient): Promise<number> => (await client.get("/nothing")).revision;
const unlessSame = true;

describe("what is so already", () => {
  test("is not written and makes no revision: the same value, a delete of nothing, alone and many at once", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    await batch.put("/same/a", "1", { unlessSame });
    const before = await revisionOf(client);
    const told = await Promise.all([
      batch.put("/same/a", "1", { unlessSame }),
      batch.del("/same/none", { unlessSame }),
      batch.put("/same/a", "1", { unlessSame, when: { createRevision: before } }),
    ]);
    for (const one of told) expect(one).toMatchObject({ succeeded: true, revision: before, unchanged: new Set([0]) });
    expect(await batch.put("/same/a", "1", { unlessSame, when: { modRevision: 1 } })).toMatchObject({ succeeded: false });
    expect(await client.get("/same/a")).toMatchObject({ entry: { version: 1 } });
  });

  test("is told from what changes beside it in the same transaction", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    await Promise.all(Array.from({ length: 300 }, (_, i) => batch.put(`/beside/${i}`, "1")));
    const told = await Promise.all(
      Array.from({ length: 300 }, (_, i) => batch.put(`/beside/${i}`, i % 7 === 0 ? "2" : "1", { unlessSame })),
    );
    expect(told.map(({ unchanged }) => unchanged === undefined)).toEqual(told.map((_, i) => i % 7 === 0));
    const { entries } = await client.range({ start: "/beside/", end: "/beside0" });
    for (const { version, value } of entries) expect(version).toBe(value === "2" ? 2 : 1);
  });

  test("counts the lease: another one, and none, is a change", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    const lease = "4611686018427387999";
    const kind = { what: "grant", repeatable: true, writes: true };
    await client.caller.run(kind, {}, ({ lease: leases }) => leases.leaseGrant({ ID: lease, TTL: 60 }));
    await batch.put("/leased", "1", { lease, unlessSame });
    expect((await batch.put("/leased", "1", { lease, unlessSame })).unchanged).toBeDefined();
    expect((await batch.put("/leased", "1", { unlessSame })).unchanged).toBeUndefined();
    expect(await client.get("/leased")).toMatchObject({ entry: { lease: "0", version: 2 } });
  });

  test("of an atomic write says which, and 100 operations of one fit a server that takes 128 at once", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    await batch.put("/atomic/1", "1");
    const then = Array.from({ length: 100 }, (_, i) => ({ put: `/atomic/${i}`, value: "1", unlessSame }));
    const first = await batch.atomic({ then });
    expect(first.unchanged).toEqual(new Set([1]));
    expect((await batch.atomic({ then })).unchanged?.size).toBe(100);
  });

  test("several that wait for one key are told by what each of them wrote", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    await batch.put("/wait", "2");
    const told = await Promise.all(["1", "2", "2"].map((value) => batch.put("/wait", value, { unlessSame })));
    expect(told.map(({ unchanged, superseded }) => [unchanged !== undefined, superseded === true])).toEqual([
      [false, true],
      [true, true],
      [true, false],
    ]);
  });

  test("is found out when the answer is lost", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const batch = batchOf(clientOf([proxy.url]));
    await batch.put("/lost/a", "0");
    for (let round = 1; round <= 5; round++) {
      await batch.put("/lost/same", "1");
      const before = (await direct.get("/lost/same")).entry!;
      proxy.stall("down");
      const writing = Promise.all([
        batch.put("/lost/a", `${round}`, { unlessSame }),
        batch.put("/lost/same", "1", { unlessSame }),
        batch.atomic({
          compare: [{ key: "/lost/none", createRevision: 0 }],
          then: [
            { put: "/lost/b", value: `${round}`, unlessSame },
            { del: "/lost/c", unlessSame },
          ],
        }),
        batch.put("/lost/same/2", "2", { unlessSame, when: { modRevision: 1 } }),
      ]);
      await eventually("it was applied", async () => (await direct.get("/lost/a")).entry?.value === `${round}`);
      const applied = (await direct.get("/lost/a")).entry!.modRevision;
      // Others write before the batch learns what became of its own.
      await direct.put("/lost/a", "others");
      await direct.put("/lost/same", "others");
      proxy.cut();
      proxy.heal();
      const [a, same, atomic, refused] = await writing;
      expect(a).toEqual({ succeeded: true, revision: applied });
      expect(same).toEqual({ succeeded: true, revision: applied, unchanged: new Set([0]) });
      expect(atomic).toEqual({ succeeded: true, revision: applied, unchanged: new Set([1]) });
      expect(refused.succeeded).toBe(false);
      expect((await direct.get("/lost/a")).entry).toMatchObject({ value: "others" });
      expect((await direct.get("/lost/same")).entry!.version).toBe(before.version + 1);
    }
  });

  test("is sent again when its answer is lost, as it has changed nothing", async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const batch = batchOf(clientOf([proxy.url]));
    await batch.put("/again/a", "1");
    proxy.stall("down");
    const writing = batch.put("/again/a", "1", { unlessSame });
    await direct.put("/again/b", "1");
    proxy.cut();
    proxy.heal();
    expect((await writing).unchanged).toBeDefined();
    expect((await direct.get("/again/a")).entry!.version).toBe(1);
    expect(await batch.put("/again/a", "2", { unlessSame })).toMatchObject({ succeeded: true });
  });
});

describe("conditions", () => {
  test("a fence holds for many writes in one transaction, and fails them all once it is gone", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    const { revision } = await client.put("/fence", "me");
    const fence = { key: "/fence", createRevision: revision };
    const before = await revisionOf(client);
    const all = await Promise.all(Array.from({ length: 50 }, (_, i) => batch.put(`/fenced/${i}`, "1", { fence, unlessSame })));
    expect(all.every(({ succeeded }) => succeeded)).toBe(true);
    expect((await revisionOf(client)) - before).toBeLessThanOrEqual(3);
    await client.del("/fence");
    expect(await batch.put("/fenced/1", "2", { fence })).toMatchObject({ succeeded: false, entry: { value: "1" } });
  });

  test("an empty range, and a key that exists, are conditions; what is looked at where they fail is of that moment", async () => {
    const client = clientOf([url]);
    const batch = batchOf(client);
    const empty = { key: "/range/", end: "/range0", createRevision: 0 } as const;
    expect(await batch.atomic({ compare: [empty], then: [{ put: "/range/1", value: "a" }] })).toMatchObject({ succeeded: true });
    const refused = await batch.atomic({
      compare: [empty],
      then: [{ put: "/range/1", value: "b" }],
      look: [{ range: "/range/1" }, { range: "/range/2", keysOnly: true }],
    });
    expect(refused).toMatchObject({ succeeded: false, seen: [{ value: "a" }, undefined] });
    const exists = { key: "/range/1", exists: true } as const;
    expect(await batch.atomic({ compare: [exists], then: [{ put: "/range/2", value: "c" }] })).toMatchObject({ succeeded: true });
    const missing = { key: "/range/3", exists: true } as const;
    expect(await batch.atomic({ compare: [missing], then: [{ put: "/range/2", value: "d" }] })).toMatchObject({
      succeeded: false,
    });
  });
});
