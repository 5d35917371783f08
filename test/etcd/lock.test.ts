import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { lock } from "../../src/etcd/index.ts";
import type { EtcdClient, HeldLock } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { etcdctlBinary } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";
import { clientOf, proxyTo } from "./follower.ts";

const never = new AbortController().signal;
let etcd: TestCluster;
let url: string;
beforeAll(async () => {
  etcd = await startEtcd(1);
  url = etcd.urls[0]!;
});
afterAll(() => etcd.stop());

async function take(client: EtcdClient, name: string, signal = never): Promise<HeldLock> {
  const held = await lock({ client, name, clock, ttlMs: 2_000 }, signal);
  onTestFinished(() => held.release());
  return held;
}

async function waiting(client: EtcdClient, name: string): Promise<number> {
  return (await client.range({ start: `${name}/`, end: `${name}0` }, { countOnly: true })).count;
}

test("one holds it at a time, in order of arrival, each with a higher revision, and nothing is left", async () => {
  const client = clientOf([url]);
  let inside = 0;
  const revisions: number[] = [];
  await Promise.all(
    Array.from({ length: 12 }, async () => {
      await using held = await lock({ client, name: "/lock/queue", clock, ttlMs: 5_000 }, never);
      expect(++inside).toBe(1);
      revisions.push(held.revision);
      const written = await client.txn(
        { compare: [held.fence()], then: [{ put: "/queue", value: held.key }] },
        { session: held },
      );
      expect(written.succeeded).toBe(true);
      inside--;
    }),
  );
  expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
  expect(new Set(revisions).size).toBe(12);
  expect(await waiting(client, "/lock/queue")).toBe(0);
});

test("etcdctl's lock and ours exclude each other", async () => {
  const client = clientOf([url]);
  const held = await take(client, "/lock/tool");
  const program = ["--endpoints", url, "lock", "/lock/tool", "echo", "mine"];
  const ran = promisify(execFile)(etcdctlBinary(), program, { env: { ...process.env, ETCDCTL_API: "3" } });
  await eventually("etcdctl waits", async () => (await waiting(client, "/lock/tool")) === 2);
  await held.release();
  expect((await ran).stdout).toContain("mine");
});

test("who is released, or whose key is deleted, is told by the signal, and the fence refuses", async () => {
  const client = clientOf([url]);
  const first = await take(client, "/lock/told");
  const fence = first.fence();
  const next = take(client, "/lock/told");
  await Promise.all([first.release(), first.release()]);
  expect(first.signal.reason).toMatchObject({ code: "CLOSED" });
  expect(() => first.fence()).toThrow("it was released");
  const second = await next;
  expect(second.revision).toBeGreaterThan(first.revision);
  expect((await client.txn({ compare: [fence], then: [{ put: "/told", value: "1" }] })).succeeded).toBe(false);
  await client.del(second.key);
  await eventually("it is told", () => second.signal.aborted);
  expect(second.signal.reason).toMatchObject({ code: "LOCK_LOST" });
  expect(() => second.check()).toThrow("Cannot hold the lock /lock/told");
});

test("who gives up waiting leaves nothing behind", async () => {
  const client = clientOf([url]);
  const held = await take(client, "/lock/patience");
  const enough = new AbortController();
  const second = take(client, "/lock/patience", enough.signal);
  const third = take(client, "/lock/patience");
  await eventually("all wait", async () => (await waiting(client, "/lock/patience")) === 3);
  const reason = new Error("enough");
  enough.abort(reason);
  await expect(second).rejects.toBe(reason);
  expect(await waiting(client, "/lock/patience")).toBe(2);
  await held.release();
  await third;
});

test("an acquisition whose answers are lost is one acquisition, and the lock is held", async () => {
  const proxy = await proxyTo(url);
  const direct = clientOf([url]);
  const client = clientOf([proxy.url]);
  await client.get("/warm");
  for (let round = 0; round < 10; round++) {
    const name = `/lock/lost/${round}`;
    const taking = take(client, name);
    // Lost is the answer to the grant or to the key, depending on the round.
    if (round % 2 === 0) proxy.stall("down");
    else {
      await eventually("its key is there", async () => (await waiting(direct, name)) > 0);
      proxy.stall("down");
    }
    await clock.sleep(50, never);
    proxy.cut();
    proxy.heal();
    const held = await taking;
    const { entries } = await direct.range({ start: `${name}/`, end: `${name}0` });
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({ key: held.key, createRevision: held.revision });
    await held.release();
    expect(await waiting(direct, name)).toBe(0);
  }
});

test("a release that does not reach etcd leaves no lock: it expires, whatever else the client keeps alive", async () => {
  const proxy = await proxyTo(url);
  const client = clientOf([proxy.url]);
  const held = await take(client, "/lock/zombie");
  const other = await take(client, "/lock/beside");
  proxy.refuse();
  proxy.cut();
  const releasing = held.release();
  expect(held.signal.aborted).toBe(true);
  await releasing;
  proxy.heal();
  await take(clientOf([url]), "/lock/zombie");
  await other.release();
});
