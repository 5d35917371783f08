import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient, Session, untilLapsed } from "../../src/etcd/index.ts";
import { testEtcd } from "../support/etcd.ts";
import { startEtcd, type EtcdNode, type TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { FaultyProxy } from "../support/proxy.ts";

const never = new AbortController().signal;
const silent = pino({ level: "silent" });

async function clusterOf(n: number): Promise<TestCluster> {
  const etcd = await startEtcd(n);
  onTestFinished(() => etcd.stop());
  return etcd;
}

function clientOf(...endpoints: readonly string[]): EtcdClient {
  const client = EtcdClient.create({ endpoints, clock });
  onTestFinished(() => client.close());
  return client;
}

interface Holder {
  readonly session: Session;
  /** When its session was over, by its own rule. */
  readonly overMs: Promise<number>;
  /** Nothing of it reaches etcd any more. */
  silence(): void;
}

/** A session with a key of its own. */
async function holder(endpoints: readonly string[], key: string, ttlMs = 4_000): Promise<Holder> {
  const proxies = await Promise.all(endpoints.map((url) => FaultyProxy.start(url)));
  onTestFinished(async () => {
    await Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]()));
  });
  const client = clientOf(...proxies.map(({ url }) => url));
  const session = await Session.open(client, { ttlMs, clock }, never);
  await client.put(key, "here", { lease: session.lease });
  const overMs = new Promise<number>((resolve) => {
    session.signal.addEventListener("abort", () => resolve(clock.nowMs()));
  });
  return {
    session,
    overMs,
    silence: () => {
      for (const proxy of proxies) proxy.stall();
    },
  };
}

/** Looks after the lease of that session until the test is over; resolves when it is gone. */
function lookAfter(client: EtcdClient, { lease }: Session, key: string): { readonly lapsed: Promise<number>; isOver(): boolean } {
  const stop = new AbortController();
  let over = false;
  const lapsed = untilLapsed(client, { lease, key }, { log: silent }, stop.signal).then(() => {
    over = true;
    return clock.nowMs();
  });
  lapsed.catch(() => undefined);
  onTestFinished(() => {
    stop.abort(new Error("the test is over"));
  });
  return { lapsed, isOver: () => over };
}

async function isThere(client: EtcdClient, key: string): Promise<boolean> {
  return (await client.get(key)).entry !== undefined;
}

async function raftLeaderOf(client: EtcdClient, etcd: TestCluster): Promise<EtcdNode> {
  for (const node of etcd.nodes) {
    const { memberId, raftLeader } = await client.status(node.clientUrl);
    if (memberId === raftLeader) return node;
  }
  throw new Error("no raft leader");
}

describe(`etcd ${testEtcd().version.text}`, { timeout: 60_000 }, () => {
  test("a silent session's lease goes before etcd would expire it, and not before the session is over; one that is renewed stays", async () => {
    const etcd = await clusterOf(1);
    const observer = clientOf(...etcd.urls);
    const live = await holder(etcd.urls, "/live");
    const cared = await holder(etcd.urls, "/cared");
    const left = await holder(etcd.urls, "/left");
    const caring = lookAfter(observer, cared.session, "/cared");
    const kept = lookAfter(observer, live.session, "/live");
    left.silence();
    cared.silence();
    expect(await caring.lapsed).toBeGreaterThan(await cared.overMs);
    expect(await isThere(observer, "/cared")).toBe(false);
    expect(await isThere(observer, "/left")).toBe(true);
    await eventually("etcd expires the other one", async () => !(await isThere(observer, "/left")));
    live.session.check();
    expect(await isThere(observer, "/live")).toBe(true);
    expect(kept.isOver()).toBe(false);
  });

  test("after the death of the raft leader too, whose successor adds an election timeout to every lease", async () => {
    const etcd = await clusterOf(3);
    const observer = clientOf(...etcd.urls);
    const live = await holder(etcd.urls, "/live");
    const cared = await holder(etcd.urls, "/cared");
    const left = await holder(etcd.urls, "/left");
    const raft = await raftLeaderOf(observer, etcd);
    left.silence();
    cared.silence();
    await raft.kill();
    const caring = lookAfter(observer, cared.session, "/cared");
    const kept = lookAfter(observer, live.session, "/live");
    expect(await caring.lapsed).toBeGreaterThan(await cared.overMs);
    expect(await isThere(observer, "/left")).toBe(true);
    await eventually("etcd expires the other one", async () => !(await isThere(observer, "/left")));
    // It may have lost its session while there was no raft leader; nobody took it away while it lived.
    expect(kept.isOver() && !live.session.signal.aborted).toBe(false);
  });

  test("what a raft leader says that was paused while another was elected takes nobody's lease away", async () => {
    const etcd = await clusterOf(3);
    const all = clientOf(...etcd.urls);
    const raft = await raftLeaderOf(all, etcd);
    const others = etcd.urls.filter((url) => url !== raft.clientUrl);
    const live = await holder(others, "/live", 2_000);
    const kept = lookAfter(clientOf(raft.clientUrl), live.session, "/live");
    for (let i = 0; i < 3; i++) {
      // For longer than the lease has, by the clock of the one that is paused.
      raft.pause();
      await clock.sleep(3_500, never);
      raft.resume();
      await eventually("it follows", async () => (await all.status(raft.clientUrl)).raftLeader !== "0");
    }
    await clock.sleep(1_000, never);
    // Where the session outlived the elections, so did its lease.
    expect(kept.isOver() && !live.session.signal.aborted).toBe(false);
  });
});
