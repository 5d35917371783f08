import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { hear, takingPart } from "../../../src/agent/lead/gate.ts";
import { look, statuses } from "../../../src/agent/lead/look.ts";
import { raftLeaderOf } from "../../../src/agent/lead/memory.ts";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient, type MemberRow } from "../../../src/etcd/index.ts";
import { startEtcd, type EtcdNode, type TestCluster } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import { serverOptions, startServer } from "../../support/etcd-server.ts";
import { FaultyProxy } from "../../support/proxy.ts";
import { keys } from "./rows.ts";

const never = new AbortController().signal;

interface Cluster {
  readonly client: EtcdClient;
  readonly rows: readonly MemberRow[];
  readonly raftLeader: string;
}

async function known(urls: readonly string[], members = urls.length): Promise<Cluster> {
  const client = EtcdClient.create({ endpoints: urls, clock });
  onTestFinished(() => client.close());
  return eventually("every member names one raft leader", async () => {
    const seen = await look(client, keys, never).catch(() => undefined);
    if (!seen) return undefined;
    const rows = seen.membership.members;
    const answers = await statuses(client, rows, 1_000, never);
    const raftLeader = raftLeaderOf(rows, answers);
    return raftLeader !== undefined && rows.length === members && answers.size === members
      ? { client, rows, raftLeader }
      : undefined;
  });
}

/** Who passes, by name, and how long it took. `before` runs between the first reading of the counters and the write. */
async function passing(
  { client, rows, raftLeader }: Cluster,
  before = async (): Promise<void> => undefined,
): Promise<{ names: string[]; tookMs: number }> {
  const startMs = clock.nowMs();
  const write = async (): Promise<number> => {
    await before();
    const { revision } = await client.txn({ then: [{ put: "/gate", value: String(startMs) }] }, { repeatable: true });
    return revision;
  };
  const passed = await takingPart({ client, clock }, { rows, raftLeader }, write, never);
  return {
    names: rows
      .filter((row) => passed.has(row.id))
      .map((row) => row.name)
      .sort(),
    tookMs: clock.nowMs() - startMs,
  };
}

describe("three voters", () => {
  let etcd: TestCluster;
  beforeAll(async () => {
    etcd = await startEtcd(3);
  });
  afterAll(() => etcd.stop());

  const names = ["n1", "n2", "n3"];
  const followers = ({ rows, raftLeader }: Cluster): EtcdNode[] => {
    const leader = rows.find((row) => row.id === raftLeader)?.name;
    return etcd.nodes.filter((node) => node.name !== leader);
  };

  test("all that are well pass, in a few heartbeats, every time", async () => {
    const cluster = await known(etcd.urls);
    for (let i = 0; i < 5; i++) expect((await passing(cluster)).names).toEqual(names);
  });

  test("the counters of etcd name every follower, under the ids of the member list", async () => {
    const { client, rows, raftLeader } = await known(etcd.urls);
    const heard = await hear(client, rows, raftLeader, never);
    for (const row of rows) expect(heard?.has(row.id)).toBe(row.id !== raftLeader);
    expect(await hear(client, rows, undefined, never)).toBeUndefined();
  });

  test("a follower that is paused does not pass, though its last Status was well; the others do, within the deadline", async () => {
    const cluster = await known(etcd.urls);
    const [paused] = followers(cluster) as [EtcdNode];
    onTestFinished(() => paused.resume());
    // A disk that stands still for longer than a voter is waited for holds back one that is well: it passes the next time.
    await eventually("the others pass", async () => {
      const { names: passed, tookMs } = await passing(cluster, async () => paused.pause());
      expect(passed).not.toContain(paused.name);
      expect(tookMs).toBeLessThan(3_000);
      return passed.length === 2;
    });
    paused.resume();
    await eventually("it passes again", async () => (await passing(cluster)).names.length === 3);
  });

  test("a follower that is killed does not pass, and does again once it is back", async () => {
    const cluster = await known(etcd.urls);
    const [killed] = followers(cluster) as [EtcdNode];
    await killed.kill();
    expect((await passing(cluster)).names).toEqual(names.filter((name) => name !== killed.name));
    await killed.restart();
    await eventually("it passes again", async () => (await passing(cluster)).names.length === 3);
  });

  test("who is dead holds nobody up once enough others take part", async () => {
    const cluster = await known(etcd.urls);
    const [killed] = followers(cluster) as [EtcdNode];
    await killed.kill();
    const { client, rows, raftLeader } = cluster;
    const took = async (enough: (passed: ReadonlySet<string>) => boolean): Promise<number> => {
      const write = async (): Promise<number> => (await client.put("/gate", "enough")).revision;
      const startMs = clock.nowMs();
      const passed = await takingPart({ client, clock }, { rows, raftLeader }, write, never, enough);
      expect(passed.size).toBe(2);
      return clock.nowMs() - startMs;
    };
    const [patient, hasty] = [await took(() => false), await took((passed) => passed.size >= 2)];
    // The whole deadline for those that may yet apply is 500 ms.
    expect(patient).toBeGreaterThanOrEqual(500);
    expect(hasty).toBeLessThan(patient);
    await killed.restart();
    await eventually("it passes again", async () => (await passing(cluster)).names.length === 3);
  });

  test("nobody passes by the word of a server that is not the raft leader it is taken for", async () => {
    const cluster = await known(etcd.urls);
    const other = cluster.rows.find((row) => row.id !== cluster.raftLeader)?.id ?? "";
    expect((await passing({ ...cluster, raftLeader: other })).names).toEqual([]);
  });

  test("where the raft leader's counters cannot be read nobody passes, though all apply", async () => {
    const { client, rows, raftLeader } = await known(etcd.urls);
    const uncounted = new Proxy(client, {
      get: (target, name) => {
        if (name === "metrics") return () => Promise.reject(new Error("no counters"));
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
    expect((await passing({ client: uncounted, rows, raftLeader })).names).toEqual([]);
  });

  test("a write that fails is the caller's to see", async () => {
    const { client, rows, raftLeader } = await known(etcd.urls);
    const failed = takingPart({ client, clock }, { rows, raftLeader }, () => Promise.reject(new Error("fenced off")), never);
    await expect(failed).rejects.toThrow("fenced off");
  });

  test("a call that is given up ends at once", async () => {
    const { client, rows, raftLeader } = await known(etcd.urls);
    const own = new AbortController();
    const given = takingPart({ client, clock }, { rows, raftLeader }, async () => Number.MAX_SAFE_INTEGER, own.signal);
    own.abort(new Error("no more"));
    await expect(given).rejects.toThrow("no more");
  });

  test("a revision that is never reached is nobody's, after half a second and not later", async () => {
    const { client, rows, raftLeader } = await known(etcd.urls);
    const startMs = clock.nowMs();
    const passed = await takingPart({ client, clock }, { rows, raftLeader }, async () => Number.MAX_SAFE_INTEGER, never);
    expect([...passed]).toEqual([]);
    expect(clock.nowMs() - startMs).toBeLessThan(3_000);
  });
});

test("one voter passes alone: nobody else could be heard", async () => {
  await using etcd = await startEtcd(1);
  expect((await passing(await known(etcd.urls))).names).toEqual(["n1"]);
});

test("a learner that is not heard does not pass, though it applies every entry and its own Status says that all is well", async () => {
  await using etcd = await startEtcd(1);
  const [first] = etcd.nodes as [EtcdNode];
  const own = await serverOptions("n2", { heartbeatMs: 100, electionMs: 1_000 });
  // etcd fetches what a peer sends from that peer's URL: this link carries only what the raft leader hears of the learner.
  await using link = await FaultyProxy.start(own.listenPeerUrls[0] ?? "");
  const admin = EtcdClient.create({ endpoints: etcd.urls, clock });
  onTestFinished(() => admin.close());
  const { id } = await admin.addLearner([link.url]);
  const members = [
    { name: "n1", peerUrls: [first.peerUrl] },
    { name: "n2", peerUrls: [link.url] },
  ];
  const boot = { state: "existing", token: "joins", initialCluster: async () => members } as const;
  await startServer({ ...own, advertisePeerUrls: [link.url], boot });
  const cluster = await known(etcd.urls, 2);
  expect(cluster.rows.find((row) => row.learner)?.id).toBe(id);
  // Before its streams are there a peer sends by single requests, which take another way.
  const streams = (): number =>
    first.lines.filter((line) => line.includes("established TCP streaming connection") && line.includes("stream-reader-type"))
      .length;
  await eventually("the raft leader reads both streams of the learner", () => streams() >= 2);
  await eventually("both pass", async () => (await passing(cluster)).names.length === 2);

  link.stall();
  await eventually("what was under way has arrived", async () => (await passing(cluster)).names.length === 1);
  for (let i = 0; i < 3; i++) expect((await passing(cluster)).names).toEqual(["n1"]);
  const [leader, learner] = await Promise.all([admin.status(first.clientUrl), admin.status(own.listenClientUrls[0] ?? "")]);
  expect(learner).toMatchObject({ memberId: id, raftLeader: cluster.raftLeader, raftTerm: leader.raftTerm, errors: [] });
  link.heal();
  await eventually("both pass again", async () => (await passing(cluster)).names.length === 2, 20_000);
});
