import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestContext } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient, Session, watchRange } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { FaultyProxy } from "../support/proxy.ts";

const never = new AbortController().signal;

/** Of the test that runs: these wait for time to pass, so they run side by side. */
type Context = Pick<TestContext, "onTestFinished">;

function clientOf(t: Context, ...endpoints: readonly string[]): EtcdClient {
  const client = EtcdClient.create({ endpoints, clock });
  t.onTestFinished(() => client.close());
  return client;
}

async function proxyTo(t: Context, url: string): Promise<FaultyProxy> {
  const proxy = await FaultyProxy.start(url);
  t.onTestFinished(() => proxy[Symbol.asyncDispose]());
  return proxy;
}

/** When the session was over, and when another client saw that its key is gone. */
function timesOf(t: Context, session: Session, observer: EtcdClient, key: string): { signalMs?: number; goneMs?: number } {
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
  t.onTestFinished(async () => {
    stop.abort(new Error("the test is over"));
    await watching;
  });
  return times;
}

function leasesOf(client: EtcdClient): Promise<readonly string[]> {
  const kind = { what: "list leases", repeatable: true, writes: false };
  return client.caller.run(kind, {}, async ({ lease }) => (await lease.leaseLeases()).leases.map(({ ID }) => ID));
}

describe("a session", () => {
  let etcd: TestCluster;
  let url: string;
  beforeAll(async () => {
    etcd = await startEtcd(1);
    url = etcd.urls[0]!;
  });
  afterAll(() => etcd.stop());

  test.concurrent("a session lives as long as keepalives pass, and its keys with it", async (t) => {
    const client = clientOf(t, url);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    expect(session.ttlMs).toBe(2_000);
    expect(session.leaseHex).toBe(BigInt(session.lease).toString(16));
    await client.put("/lives", "1", { lease: session.lease });
    await clock.sleep(5_000, never);
    session.check();
    expect(session.signal.aborted).toBe(false);
    expect((await client.get("/lives")).entry?.lease).toBe(session.lease);
  });

  test.concurrent.for(["stalled", "dropping", "half-open"])(
    "on a %s link the signal fires before the key vanishes",
    async (kind, t) => {
      const proxy = await proxyTo(t, url);
      const observer = clientOf(t, url);
      const client = clientOf(t, proxy.url);
      const session = await Session.open(client, { ttlMs: 2_000, clock }, never);
      const key = `/link/${kind}`;
      await client.put(key, "1", { lease: session.lease });
      const times = timesOf(t, session, observer, key);
      await clock.sleep(1_500, never);
      if (kind === "stalled") proxy.stall();
      if (kind === "dropping") proxy.drop();
      if (kind === "half-open") proxy.halfOpen();
      await eventually("the key is gone", () => times.goneMs !== undefined);
      expect(times.signalMs).toBeLessThan(times.goneMs!);
      expect(session.signal.reason).toMatchObject({ code: "SESSION_LOST", retryable: true });
      expect(() => session.check()).toThrow("Cannot hold the session");
      await session.close();
    },
  );

  test.concurrent("a link that is cut again and again does not end the session", async (t) => {
    const proxy = await proxyTo(t, url);
    const client = clientOf(t, proxy.url);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    for (let cut = 0; cut < 20; cut++) {
      await clock.sleep(200, never);
      proxy.cut();
    }
    expect(session.signal.aborted).toBe(false);
    expect(await leasesOf(client)).toContain(session.lease);
  });

  test.concurrent("a stall shorter than the lease does not end the session", async (t) => {
    const proxy = await proxyTo(t, url);
    const client = clientOf(t, proxy.url);
    await using session = await Session.open(client, { ttlMs: 3_000, clock }, never);
    for (let stall = 0; stall < 3; stall++) {
      proxy.stall();
      await clock.sleep(1_200, never);
      proxy.heal();
      await clock.sleep(800, never);
    }
    expect(session.signal.aborted).toBe(false);
  });

  test.concurrent("when one endpoint is stuck, the keepalive moves to another in time", async (t) => {
    const stuck = await proxyTo(t, url);
    const client = clientOf(t, stuck.url, url);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    await clock.sleep(1_000, never);
    stuck.stall();
    await clock.sleep(5_000, never);
    expect(session.signal.aborted).toBe(false);
    expect(await leasesOf(clientOf(t, url))).toContain(session.lease);
  });

  test.concurrent("a grant whose answer was lost is sent again, and is one lease", async (t) => {
    // A server of its own: the others' leases would be counted.
    await using alone = await startEtcd(1);
    const deaf = await proxyTo(t, alone.urls[0]!);
    const client = clientOf(t, deaf.url, alone.urls[0]!);
    await client.get("/a", { endpoint: deaf.url });
    const opening = Session.open(client, { ttlMs: 4_000, clock }, never);
    deaf.stall("down");
    await using session = await opening;
    expect(session.ttlMs).toBe(4_000);
    expect(await leasesOf(clientOf(t, alone.urls[0]!))).toEqual([session.lease]);
  });

  test.concurrent("closing fires the signal first, then revokes the lease", async (t) => {
    const client = clientOf(t, url);
    const session = await Session.open(client, { ttlMs: 10_000, clock }, never);
    await client.put("/closes", "1", { lease: session.lease });
    const times = timesOf(t, session, clientOf(t, url), "/closes");
    await clock.sleep(100, never);
    await Promise.all([session.close(), session.close()]);
    await eventually("the key is gone", () => times.goneMs !== undefined);
    expect(times.signalMs).toBeLessThan(times.goneMs!);
    expect(session.signal.reason).toMatchObject({ code: "CLOSED" });
    expect(await leasesOf(client)).not.toContain(session.lease);
  });

  test.concurrent("closing without a way to etcd waits 1 s for it, and not for the lease", async (t) => {
    const proxy = await proxyTo(t, url);
    const session = await Session.open(clientOf(t, proxy.url), { ttlMs: 10_000, clock }, never);
    proxy.stall();
    const startMs = performance.now();
    await session.close();
    expect(performance.now() - startMs).toBeLessThan(4_500);
  });

  test.concurrent("a lease that someone revoked ends the session with the next keepalive", async (t) => {
    const client = clientOf(t, url);
    await using session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    await client.caller.run({ what: "revoke", repeatable: false, writes: true }, {}, ({ lease }) =>
      lease.leaseRevoke({ ID: session.lease }),
    );
    await eventually("the session is over", () => session.signal.aborted, 1_500);
    expect(session.signal.reason).toMatchObject({ code: "SESSION_LOST" });
  });

  test.concurrent("the signal given to open ends the session with its reason, and ends an opening at once", async (t) => {
    const client = clientOf(t, url);
    const outer = new AbortController();
    const session = await Session.open(client, { ttlMs: 2_000, clock }, outer.signal);
    const reason = new Error("enough");
    outer.abort(reason);
    expect(session.signal.reason).toBe(reason);
    await expect(Session.open(client, { ttlMs: 2_000, clock }, outer.signal)).rejects.toBe(reason);
    await session.close();
    expect(await leasesOf(client)).not.toContain(session.lease);
  });

  test.concurrent("after the machine was suspended no write is sent any more, and the signal fires by itself", async (t) => {
    const client = clientOf(t, url);
    let suspendedMs = 0;
    const options = { ttlMs: 3_000, clock, uptimeMs: () => clock.nowMs() + suspendedMs };
    const sessions = await Promise.all([1, 2].map(() => Session.open(client, options, never)));
    const [first, second] = sessions as [Session, Session];
    await client.put("/suspended/a", "1", { session: first });
    suspendedMs = 60_000;
    await expect(client.put("/suspended/a", "2", { session: first })).rejects.toMatchObject({ code: "SESSION_LOST" });
    expect(first.signal.aborted).toBe(true);
    await eventually("the other one notices by itself", () => second.signal.aborted, 1_500);
    expect((await client.get("/suspended/a")).entry?.value).toBe("1");
    await Promise.all(sessions.map((session) => session.close()));
  });

  test.concurrent("closing the client ends its sessions", async (t) => {
    const client = clientOf(t, url);
    const session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    await eventually("a keepalive stream is open", async () => (await clock.sleep(800, never), true));
    await client.close();
    await eventually("the session is over", () => session.signal.aborted, 1_000);
    expect(session.signal.reason).toMatchObject({ code: "CLOSED" });
    await session.close();
  });

  test.concurrent("a session outlives the death of the raft leader", async (t) => {
    await using etcd = await startEtcd(3);
    const client = clientOf(t, ...etcd.urls);
    await using session = await Session.open(client, { ttlMs: 5_000, clock }, never);
    const { raftLeader } = await client.status(etcd.urls[0]!);
    const { members } = await client.readMembership();
    const leader = etcd.nodes.find((node) => members.some((m) => m.id === raftLeader && m.clientUrls.includes(node.clientUrl)))!;
    await leader.kill();
    await clock.sleep(6_000, never);
    expect(session.signal.aborted).toBe(false);
    expect(await leasesOf(client)).toContain(session.lease);
  });

  // Alone, at the end: it stops everything in this process.
  test("after the process stood still for the whole TTL, check() knows before any timer does", async (t) => {
    const session = await Session.open(clientOf(t, url), { ttlMs: 2_000, clock }, never);
    await clock.sleep(100, never);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_100);
    expect(session.signal.aborted).toBe(false);
    expect(() => session.check()).toThrow("Cannot hold the session");
    expect(session.signal.aborted).toBe(true);
    await session.close();
  });

  test("a write that is given the session is not sent after the process stood still", async (t) => {
    const client = clientOf(t, url);
    const session = await Session.open(client, { ttlMs: 2_000, clock }, never);
    await client.put("/stood/a", "1", { session });
    // It has been called, and has not left yet.
    const write = client.put("/stood/a", "2", { session });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_100);
    await expect(write).rejects.toMatchObject({ code: "SESSION_LOST" });
    expect((await client.get("/stood/a")).entry?.value).toBe("1");
    await session.close();
  });
});

describe("the sessions of one client", () => {
  let etcd: TestCluster;
  beforeAll(async () => {
    etcd = await startEtcd(1);
  });
  afterAll(() => etcd.stop());

  /** What the server counts: streams that were opened, and streams that are over. */
  async function keepAliveStreams(client: EtcdClient): Promise<{ readonly opened: number; readonly over: number }> {
    const text = await client.metrics(etcd.urls[0]!);
    const sum = (name: string): number =>
      [...text.matchAll(new RegExp(`^${name}\\{[^}]*grpc_method="LeaseKeepAlive"[^}]*\\} (\\S+)$`, "gm"))].reduce(
        (total, [, value]) => total + Number(value),
        0,
      );
    return { opened: sum("grpc_server_started_total"), over: sum("grpc_server_handled_total") };
  }

  test("share one keepalive stream, which outlives each of them and goes with the last", async (t) => {
    const client = clientOf(t, etcd.urls[0]!);
    const before = await keepAliveStreams(client);
    const options = { ttlMs: 2_000, clock };
    const sessions = await Promise.all(Array.from({ length: 50 }, () => Session.open(client, options, never)));
    const [lost, closed, ...others] = sessions as [Session, Session, ...Session[]];
    await eventually("all were renewed", async () => (await keepAliveStreams(client)).opened > before.opened);
    await closed.close();
    const kind = { what: "revoke", repeatable: true, writes: true };
    await client.caller.run(kind, {}, ({ lease }) => lease.leaseRevoke({ ID: lost.lease }));
    await eventually("the revoked one knows", () => lost.signal.aborted);
    expect(lost.signal.reason).toMatchObject({ code: "SESSION_LOST" });
    const grantedMs = clock.nowMs();
    await eventually("the others have outlived their first TTL", () => clock.nowMs() - grantedMs > 3_000);
    for (const session of others) session.check();
    expect(await keepAliveStreams(client)).toEqual({ opened: before.opened + 1, over: before.over });
    await Promise.all(others.map((session) => session.close()));
    await eventually("the stream is over", async () => (await keepAliveStreams(client)).over === before.over + 1);
  });
});
