import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient, Session, watchRange } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { FaultyProxy } from "../support/proxy.ts";

const never = new AbortController().signal;

function clientOf(endpoints: readonly string[]): EtcdClient {
  const client = EtcdClient.create({ endpoints, clock });
  onTestFinished(() => client.close());
  return client;
}

async function proxyTo(url: string): Promise<FaultyProxy> {
  const proxy = await FaultyProxy.start(url);
  onTestFinished(() => proxy[Symbol.asyncDispose]());
  return proxy;
}

/** When the session was over, and when another client saw that its key is gone. */
function timesOf(session: Session, observer: EtcdClient, key: string): { signalMs?: number; goneMs?: number } {
  const times: { signalMs?: number; goneMs?: number } = {};
  session.signal.addEventListener("abort", () => (times.signalMs ??= performance.now()));
  const stop = new AbortController();
  const watching = watchRange(
    observer,
    { start: key, end: `${key}\0` },
    (news) => {
      if (news.kind === "changes" && news.changes.some((change) => change.type === "del")) times.goneMs ??= performance.now();
    },
    { clock },
    stop.signal,
  ).catch(() => undefined);
  onTestFinished(async () => {
    stop.abort(new Error("the test is over"));
    await watching;
  });
  return times;
}

function leasesOf(client: EtcdClient): Promise<readonly string[]> {
  const kind = { what: "list leases", repeatable: true, writes: false };
  return client.caller.run(kind, {}, async ({ lease }) => (await lease.leaseLeases()).leases.map(({ ID }) => ID));
}

describe("one server", () => {
  let etcd: TestCluster;
  let url: string;
  beforeAll(async () => {
    etcd = await startEtcd(1);
    url = etcd.urls[0]!;
  });
  afterAll(() => etcd.stop());

  test("a session lives as long as keepalives pass, and its keys with it", async () => {
    const client = clientOf([url]);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    expect(session.ttlMs).toBe(2_000);
    expect(session.leaseHex).toBe(BigInt(session.lease).toString(16));
    await client.put("/lives", "1", { lease: session.lease });
    await clock.sleep(5_000, never);
    session.check();
    expect(session.signal.aborted).toBe(false);
    expect((await client.get("/lives")).entry?.lease).toBe(session.lease);
  });

  test.each(["stalled", "dropping", "half-open"])("on a %s link the signal fires before the key vanishes", async (kind) => {
    const proxy = await proxyTo(url);
    const observer = clientOf([url]);
    const client = clientOf([proxy.url]);
    const session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    const key = `/link/${kind}`;
    await client.put(key, "1", { lease: session.lease });
    const times = timesOf(session, observer, key);
    await clock.sleep(1_500, never);
    if (kind === "stalled") proxy.stall();
    if (kind === "dropping") proxy.drop();
    if (kind === "half-open") proxy.halfOpen();
    await eventually("the key is gone", () => times.goneMs !== undefined);
    expect(times.signalMs).toBeLessThan(times.goneMs!);
    expect(session.signal.reason).toMatchObject({ code: "SESSION_LOST", retryable: true });
    expect(() => session.check()).toThrow("Cannot hold the session");
    await session.close();
  });

  test("a link that is cut again and again does not end the session", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url]);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    for (let cut = 0; cut < 20; cut++) {
      await clock.sleep(200, never);
      proxy.cut();
    }
    expect(session.signal.aborted).toBe(false);
    expect(await leasesOf(client)).toContain(session.lease);
  });

  test("a stall shorter than the lease does not end the session", async () => {
    const proxy = await proxyTo(url);
    const client = clientOf([proxy.url]);
    await using session = await Session.open(client, { ttlMs: 3_000, clock }, never);
    for (let stall = 0; stall < 3; stall++) {
      proxy.stall();
      await clock.sleep(1_200, never);
      proxy.heal();
      await clock.sleep(800, never);
    }
    expect(session.signal.aborted).toBe(false);
  });

  test("when one endpoint is stuck, the keepalive moves to another in time", async () => {
    const stuck = await proxyTo(url);
    const client = clientOf([stuck.url, url]);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    await clock.sleep(1_000, never);
    stuck.stall();
    await clock.sleep(5_000, never);
    expect(session.signal.aborted).toBe(false);
    expect(await leasesOf(clientOf([url]))).toContain(session.lease);
  });

  test("a grant whose answer was lost is sent again, and is one lease", async () => {
    const deaf = await proxyTo(url);
    const client = clientOf([deaf.url, url]);
    const before = new Set(await leasesOf(clientOf([url])));
    await client.get("/a", { endpoint: deaf.url });
    const opening = Session.open(client, { ttlMs: 4_000, clock }, never);
    deaf.stall("down");
    await using session = await opening;
    expect(session.ttlMs).toBe(4_000);
    const after = await leasesOf(clientOf([url]));
    expect(after.filter((lease) => !before.has(lease))).toEqual([session.lease]);
  });

  test("closing fires the signal first, then revokes the lease", async () => {
    const client = clientOf([url]);
    const session = await Session.open(client, { ttlMs: 10_000, clock }, never);
    await client.put("/closes", "1", { lease: session.lease });
    const times = timesOf(session, clientOf([url]), "/closes");
    await clock.sleep(100, never);
    await Promise.all([session.close(), session.close()]);
    await eventually("the key is gone", () => times.goneMs !== undefined);
    expect(times.signalMs).toBeLessThan(times.goneMs!);
    expect(session.signal.reason).toMatchObject({ code: "CLOSED" });
    expect(await leasesOf(client)).not.toContain(session.lease);
  });

  test("closing without a way to etcd takes 1.5 s at most", async () => {
    const proxy = await proxyTo(url);
    const session = await Session.open(clientOf([proxy.url]), { ttlMs: 10_000, clock }, never);
    proxy.stall();
    const startMs = performance.now();
    await session.close();
    expect(performance.now() - startMs).toBeLessThan(1_500);
  });

  test("a lease that someone revoked ends the session with the next keepalive", async () => {
    const client = clientOf([url]);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    await client.caller.run({ what: "revoke", repeatable: false, writes: true }, {}, ({ lease }) =>
      lease.leaseRevoke({ ID: session.lease }),
    );
    await eventually("the session is over", () => session.signal.aborted, 1_500);
    expect(session.signal.reason).toMatchObject({ code: "SESSION_LOST" });
  });

  test("after the process stood still for the whole TTL, check() knows before any timer does", async () => {
    const session = await Session.open(clientOf([url]), { ttlMs: 2_000, clock }, never);
    await clock.sleep(100, never);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_100);
    expect(session.signal.aborted).toBe(false);
    expect(() => session.check()).toThrow("Cannot hold the session");
    expect(session.signal.aborted).toBe(true);
    await session.close();
  });

  test("the signal given to open ends the session with its reason, and ends an opening at once", async () => {
    const client = clientOf([url]);
    const outer = new AbortController();
    const session = await Session.open(client, { ttlMs: 2_000, clock }, outer.signal);
    const reason = new Error("enough");
    outer.abort(reason);
    expect(session.signal.reason).toBe(reason);
    await expect(Session.open(client, { ttlMs: 2_000, clock }, outer.signal)).rejects.toBe(reason);
    await session.close();
    expect(await leasesOf(client)).not.toContain(session.lease);
  });

  test("closing the client ends its sessions", async () => {
    const client = clientOf([url]);
    const session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    await eventually("a keepalive stream is open", async () => (await clock.sleep(800, never), true));
    await client.close();
    await eventually("the session is over", () => session.signal.aborted, 1_000);
    expect(session.signal.reason).toMatchObject({ code: "CLOSED" });
    await session.close();
  });
});

describe("three servers", () => {
  test("a session outlives the death of the raft leader", async () => {
    await using etcd = await startEtcd(3);
    const client = clientOf(etcd.urls);
    await using session = await Session.open(client, { ttlMs: 5_000, clock }, never);
    const { raftLeader } = await client.status(etcd.urls[0]!);
    const { members } = await client.readMembership();
    const leader = etcd.nodes.find((node) => members.some((m) => m.id === raftLeader && m.clientUrls.includes(node.clientUrl)))!;
    await leader.kill();
    await clock.sleep(6_000, never);
    expect(session.signal.aborted).toBe(false);
    expect(await leasesOf(client)).toContain(session.lease);
  });
});
