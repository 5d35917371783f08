import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { EtcdClient } from "../../src/etcd/index.ts";
import { openWorld } from "../../src/world/index.ts";
import type { ListEvent, Member, World } from "../../src/world/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { freePorts } from "../support/ports.ts";
import { clock, etcdOfWorlds, eventually, freshNamespace, never, revisionsOf, watchedList, ways, worldOf } from "./fixture.ts";
import type { Watched, WorldEtcd } from "./fixture.ts";
import { testUsualFailures } from "./usual.ts";

const idOf = ({ id }: Member): string => id;

async function worldOn(cluster: TestCluster): Promise<World> {
  const world = await openWorld({ seeds: cluster.urls, namespace: freshNamespace(), replica: false });
  onTestFinished(() => world.close());
  return world;
}

async function watchedOn(world: World): Promise<Watched<ListEvent<Member>>> {
  const watched = watchedList(world.members.watch({ everyMs: 100 }), idOf);
  await watched.begun();
  return watched;
}

/** The store's revision is no measure of the membership: several changes may be of one. */
function wrongIn({ wrong }: Watched<ListEvent<Member>>): readonly string[] {
  return wrong.filter((what) => !/^revision ([0-9]+) after \1$/.test(what));
}

function memberIn({ now }: Watched<ListEvent<Member>>, name: string): Member | undefined {
  return [...now.values()].find((one) => (one as Member).name === name) as Member | undefined;
}

describe("one etcd", () => {
  let etcd: WorldEtcd;
  beforeAll(async () => {
    etcd = await etcdOfWorlds();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  testUsualFailures(() => etcd, [{ name: "members.get", call: (world, options) => world.members.get(options) }]);

  describe.each(ways)("$way", ({ replica }) => {
    test("that anybody started is told as it is; reading it writes nothing", async () => {
      const world = await worldOf(etcd, { replica });
      const made = await revisionsOf(etcd, async () => {
        const { members, revision } = await world.members.get();
        expect(members).toEqual([
          {
            name: "n1",
            id: expect.stringMatching(/^[1-9a-f][0-9a-f]*$/) as unknown,
            peerUrls: [etcd.node.peerUrl],
            clientUrls: [etcd.proxy.url],
            role: "voter",
            raftLeader: true,
            healthy: true,
            version: expect.stringMatching(/^3\.[0-9]+\.[0-9]+/) as unknown,
          },
        ]);
        expect(revision).toBeGreaterThan(0);
      });
      expect(made).toBe(0);
    });

    test("a watch says when the cluster is out of reach, tells nothing of what is unchanged, and ends as others do", async () => {
      const world = await worldOf(etcd, { replica });
      const stop = new AbortController();
      const stopped = watchedList(world.members.watch({ everyMs: 50, signal: stop.signal }), idOf, "iterating");
      const watched = await watchedOn(world);
      await stopped.begun();
      etcd.gone();
      await eventually("it is told to be out of reach", () => watched.states.at(-1)?.live === false, 30_000);
      expect(watched.states.at(-1)!.lagMs).toBeGreaterThan(0);
      etcd.back();
      await eventually("it is live again", () => watched.states.at(-1)?.live === true, 30_000);
      expect(watched.data).toHaveLength(1);
      stop.abort();
      await eventually("it is over", () => stopped.isOver);
      expect(stopped.failure).toBeUndefined();
      await world.close();
      await eventually("it is over", () => watched.isOver);
      expect(watched.failure).toMatchObject({ code: "CLOSED" });
      expect([...watched.wrong, ...stopped.wrong]).toEqual([]);
    });
  });

  test.each([0, -1, Number.NaN])("a watch that asks every %s ms is refused", async (everyMs) => {
    const world = await worldOf(etcd, { replica: false });
    const failed = watchedList(world.members.watch({ everyMs }), idOf);
    await eventually("it has failed", () => failed.isOver);
    expect(failed.failure).toMatchObject({ code: "INVALID_OPTION" });
  });

  test("twenty calls and watches at once all tell the same", async () => {
    const world = await worldOf(etcd, { replica: false });
    const watches = await Promise.all(Array.from({ length: 20 }, () => watchedOn(world)));
    const all = await Promise.all(Array.from({ length: 20 }, () => world.members.get()));
    for (const { members } of all) expect(members).toEqual(all[0]!.members);
    for (const { now } of watches) expect([...now.values()]).toEqual(all[0]!.members);
  });
});

test("three members are told sorted by name, one of them the raft leader; one that dies is told to be unhealthy, and to be well again", async () => {
  await using cluster = await startEtcd(3);
  const world = await worldOn(cluster);
  const watched = await watchedOn(world);
  const { members } = await world.members.get();
  expect(members.map(({ name, healthy, role }) => [name, healthy, role])).toEqual(
    ["n1", "n2", "n3"].map((name) => [name, true, "voter"]),
  );
  expect(members.map(({ clientUrls, peerUrls }) => [...clientUrls, ...peerUrls])).toEqual(
    cluster.nodes.map(({ clientUrl, peerUrl }) => [clientUrl, peerUrl]),
  );
  expect(members.filter(({ raftLeader }) => raftLeader)).toHaveLength(1);
  const [followerName] = members.filter(({ raftLeader }) => !raftLeader).map(({ name }) => name);
  const follower = cluster.nodes.find(({ name }) => name === followerName)!;
  await follower.kill();
  await eventually("it is unhealthy", () => memberIn(watched, follower.name)?.healthy === false, 20_000);
  expect(memberIn(watched, follower.name)).toMatchObject({ raftLeader: false, version: undefined });
  await follower.restart();
  await eventually("it is healthy", () => memberIn(watched, follower.name)?.healthy === true, 20_000);

  const leader = cluster.nodes.find(({ name }) => memberIn(watched, name)?.raftLeader)!;
  await leader.kill();
  await eventually(
    "another leads",
    () => {
      const leading = [...watched.now.values()].filter((one) => (one as Member).raftLeader) as Member[];
      return leading.length === 1 && leading[0]!.name !== leader.name;
    },
    20_000,
  );
  expect(wrongIn(watched)).toEqual([]);
  for (const event of watched.data) {
    if (event.kind !== "changes") continue;
    for (const change of event.changes) if (change.type === "set") expect(change.item).not.toEqual(change.previous);
  }
});

test("a watch outlives the loss of the quorum: it says that it is not live, and then that it is", async () => {
  await using cluster = await startEtcd(3);
  const world = await worldOn(cluster);
  const watched = await watchedOn(world);
  const [one, two] = [cluster.nodes[1]!, cluster.nodes[2]!];
  await Promise.all([one.kill(), two.kill()]);
  await eventually("it is not live", () => watched.states.at(-1)?.live === false, 30_000);
  await expect(world.members.get({ timeoutMs: 1_000 })).rejects.toMatchObject({ retryable: true });
  await Promise.all([one.restart(), two.restart()]);
  await eventually(
    "it is live, and all are well",
    () => {
      const all = [...watched.now.values()] as Member[];
      return watched.states.at(-1)?.live === true && all.length === 3 && all.every(({ healthy }) => healthy);
    },
    30_000,
  );
  expect(wrongIn(watched)).toEqual([]);
  expect(watched.isOver).toBe(false);
});

test("a learner is told as one from its addition on, without a name until it starts, and its removal as a deletion", async () => {
  await using cluster = await startEtcd(1, { flags: ["--strict-reconfig-check=false"] });
  const world = await worldOn(cluster);
  const watched = await watchedOn(world);
  const client = EtcdClient.create({ endpoints: cluster.urls, clock });
  onTestFinished(() => client.close());
  const [clientPort, peerPort] = await freePorts(2);
  const urls = { client: `http://127.0.0.1:${clientPort}`, peer: `http://127.0.0.1:${peerPort}` };
  const { id } = await client.addLearner([urls.peer]);
  await eventually("it is told", () => watched.now.has(id));
  expect(watched.now.get(id)).toMatchObject({
    ...{ name: "", role: "learner", healthy: false, version: undefined, clientUrls: [], peerUrls: [urls.peer] },
  });
  await cluster.join("n2", urls, [
    { name: "n1", peerUrl: cluster.nodes[0]!.peerUrl },
    { name: "n2", peerUrl: urls.peer },
  ]);
  await eventually("it has a name and is well", () => memberIn(watched, "n2")?.healthy, 20_000);
  expect(memberIn(watched, "n2")).toMatchObject({ id, role: "learner", raftLeader: false, clientUrls: [urls.client] });
  const called = (call: () => Promise<unknown>): Promise<boolean> =>
    call().then(
      () => true,
      () => false,
    );
  await eventually("it is in sync", () => called(() => client.promote(id)));
  await eventually("it is a voter", () => memberIn(watched, "n2")?.role === "voter", 20_000);
  await eventually("it is removed", () => called(() => client.removeMember(id)));
  await eventually("that is told", () => !watched.now.has(id), 20_000);
  expect(wrongIn(watched)).toEqual([]);
});

test("nobody is asked while nobody watches", async () => {
  await using etcd = await etcdOfWorlds();
  const world = await openWorld({ seeds: [etcd.proxy.url], namespace: freshNamespace(), replica: false });
  const watched = await watchedOn(world);
  await watched.stop();
  etcd.proxy.stall();
  await clock.sleep(500, never);
  const held = etcd.proxy.held;
  etcd.proxy.heal();
  // A connection may be looked after; the 5 looks and 5 statuses of that time would be many.
  expect(held).toBeLessThan(4);
  await world.close();
});
