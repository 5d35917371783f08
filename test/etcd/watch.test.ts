import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { watchRange } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { caughtUp, clientOf, compact, Follower, proxyTo, writer } from "./follower.ts";

describe("one server", () => {
  let etcd: TestCluster;
  let url: string;
  beforeAll(async () => {
    etcd = await startEtcd(1);
    url = etcd.urls[0]!;
  });
  afterAll(() => etcd.stop());

  test("a watch of an empty range begins with an empty snapshot, then tells every change", async () => {
    const client = clientOf([url]);
    const follower = new Follower(client, "/empty/");
    await eventually("the snapshot", () => follower.snapshots === 1 && follower.live);
    expect(follower.entries.size).toBe(0);
    await client.put("/empty/a", "1");
    await client.del("/empty/a");
    await client.put("/emptz", "not in the range");
    await client.txn({
      then: [
        { put: "/empty/b", value: "2" },
        { put: "/empty/c", value: "3" },
      ],
    });
    await eventually("the changes", () => follower.changes.length === 4);
    expect(follower.changes.map((change) => [change.type, change.type === "put" ? change.entry.key : change.key])).toEqual([
      ["put", "/empty/a"],
      ["del", "/empty/a"],
      ["put", "/empty/b"],
      ["put", "/empty/c"],
    ]);
  });

  test("a watch ends by its signal, with the signal's reason, and says nothing afterwards", async () => {
    const client = clientOf([url]);
    const follower = new Follower(client, "/ends/");
    await eventually("live", () => follower.live);
    expect(await follower.stop()).toEqual(new Error("the test is over"));
    await client.put("/ends/a", "1");
    expect(follower.live).toBe(true);
    expect(follower.changes).toEqual([]);
  });

  test("a watch of a closed client ends with CLOSED", async () => {
    const client = clientOf([url]);
    const follower = new Follower(client, "/closed/");
    await eventually("live", () => follower.live);
    await client.close();
    expect(await follower.over).toMatchObject({ code: "CLOSED" });
  });

  test("an error thrown by the handler ends the watch with that error", async () => {
    const client = clientOf([url]);
    const mine = new Error("mine");
    const watching = watchRange(
      client,
      { start: "/throws/", end: "/throws0" },
      (news) => {
        if (news.kind === "changes") throw mine;
      },
      { clock },
      new AbortController().signal,
    ).catch((error: unknown) => error);
    await client.put("/throws/a", "1");
    const poking = setInterval(() => void client.put("/throws/a", "2").catch(() => undefined), 50);
    onTestFinished(() => clearInterval(poking));
    expect(await watching).toBe(mine);
  });

  test("a writer runs all the while: 24 cuts, stalls and half-open connections, and no event is lost or doubled", async () => {
    const prefix = "/cuts/";
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const writing = writer(direct, prefix);
    const follower = new Follower(clientOf([proxy.url]), prefix);
    await eventually("live", () => follower.live);
    const from = follower.revision;
    for (let cut = 1; cut <= 24; cut++) {
      if (cut % 4 === 1) proxy.stall("down");
      if (cut % 4 === 2) proxy.delay(3);
      if (cut % 4 === 3) proxy.refuse();
      if (cut % 8 === 0) proxy.halfOpen();
      const before = follower.interruptions;
      await clock.sleep(15, new AbortController().signal);
      proxy.cut();
      if (cut % 4 === 3) await clock.sleep(60, new AbortController().signal);
      proxy.heal();
      await eventually(`cut ${cut} was felt`, () => follower.interruptions > before);
      await eventually(`the watch is back after cut ${cut}`, () => follower.live);
    }
    const revisions = await writing.stop();
    await caughtUp(follower, direct, prefix);
    expect(follower.resyncs).toBe(0);
    expect(follower.interruptions).toBeGreaterThanOrEqual(24);
    const seen = new Set(follower.changes.map((change) => (change.type === "put" ? change.entry.modRevision : change.revision)));
    expect(revisions.filter((revision) => revision > from && !seen.has(revision))).toEqual([]);
    expect(follower.changes.length).toBe(new Set(follower.changes.map((c) => JSON.stringify(c))).size);
  });

  test("a connection that is silently dead is noticed within 12 s", { timeout: 30_000 }, async () => {
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const follower = new Follower(clientOf([proxy.url]), "/dead/");
    await eventually("live", () => follower.live);
    proxy.drop();
    await direct.put("/dead/a", "1");
    await eventually("the silence is noticed", () => !follower.live, 12_000);
    proxy.heal();
    await caughtUp(follower, direct, "/dead/");
    expect(follower.resyncs).toBe(0);
  });

  test("after a compaction during a cut it lists again and tells exactly the difference", async () => {
    const prefix = "/compact/";
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    for (const name of ["kept", "changed", "gone", "recreated"]) await direct.put(prefix + name, "1");
    const follower = new Follower(clientOf([proxy.url]), prefix);
    await eventually("live", () => follower.live);
    proxy.refuse();
    proxy.cut();
    await direct.put(`${prefix}changed`, "2");
    await direct.put(`${prefix}changed`, "3");
    await direct.del(`${prefix}gone`);
    await direct.del(`${prefix}recreated`);
    await direct.put(`${prefix}recreated`, "1");
    const { revision } = await direct.put(`${prefix}new`, "1");
    await compact(direct, revision);
    proxy.heal();
    await eventually("the difference", () => follower.resyncs === 1 && follower.live);
    expect(
      follower.changes
        .map((change) => (change.type === "put" ? `${change.entry.key}=${change.entry.value}` : `-${change.key}`))
        .toSorted(),
    ).toEqual(["-/compact/gone", "/compact/changed=3", "/compact/new=1", "/compact/recreated=1"]);
    const previous = follower.changes.map((change) => change.previous?.value ?? "none");
    expect(previous.toSorted()).toEqual(["1", "1", "1", "none"]);
    await caughtUp(follower, direct, prefix);
  });

  test("a writer runs all the while: compactions during cuts lose nothing but what is between two listings", async () => {
    const prefix = "/compacting/";
    const proxy = await proxyTo(url);
    const direct = clientOf([url]);
    const writing = writer(direct, prefix);
    const follower = new Follower(clientOf([proxy.url]), prefix);
    await eventually("live", () => follower.live);
    for (let round = 1; round <= 5; round++) {
      proxy.refuse();
      proxy.cut();
      await eventually("the cut was felt", () => !follower.live);
      const { revision } = await direct.get(prefix);
      await eventually("the writer goes on", async () => (await direct.get(prefix)).revision > revision + 5);
      await compact(direct, (await direct.get(prefix)).revision);
      proxy.heal();
      await eventually("the watch is back", () => follower.live && follower.resyncs === round);
    }
    await writing.stop();
    await caughtUp(follower, direct, prefix);
  });

  test("a range of many pages is one snapshot", { timeout: 60_000 }, async () => {
    const client = clientOf([url]);
    const put = (i: number) => ({ put: `/many/${String(i).padStart(6, "0")}`, value: "x" });
    for (let i = 0; i < 12_000; i += 120) await client.txn({ then: Array.from({ length: 120 }, (_, j) => put(i + j)) });
    const follower = new Follower(client, "/many/");
    await eventually("live", () => follower.live);
    expect(follower.entries.size).toBe(12_000);
    await caughtUp(follower, client, "/many/");
  });
});

describe("several servers", () => {
  test(
    "the endpoint is exchanged, killed and stopped while a writer runs, and no event is lost or doubled",
    { timeout: 60_000 },
    async () => {
      await using etcd = await startEtcd(3);
      const prefix = "/switch/";
      const [a, b, c] = etcd.urls as [string, string, string];
      const direct = clientOf([c]);
      await direct.put(`${prefix}0`, "first");
      const raftLeader = (await direct.status(c)).raftLeader;
      await direct
        .moveLeader(
          (await direct.readMembership()).members.find((member) => member.id === raftLeader)!.clientUrls[0]!,
          (await direct.status(c)).memberId,
        )
        .catch(() => undefined);
      const writing = writer(direct, prefix);
      const client = clientOf([a]);
      const follower = new Follower(client, prefix);
      await eventually("live", () => follower.live);
      const from = follower.revision;
      for (let round = 0; round < 10; round++) {
        const before = follower.interruptions;
        client.endpoints.set([round % 2 === 0 ? b : a]);
        await eventually("the watch has moved", () => follower.interruptions > before && follower.live);
      }
      client.endpoints.set([a, b, c], a);
      await etcd.nodes[0]!.kill();
      await eventually("the watch has left the dead server", () => follower.live && follower.interruptions > 10);
      const revisions = await writing.stop();
      await caughtUp(follower, direct, prefix);
      expect(follower.resyncs).toBe(0);
      const seen = new Set(
        follower.changes.map((change) => (change.type === "put" ? change.entry.modRevision : change.revision)),
      );
      expect(revisions.filter((revision) => revision > from && !seen.has(revision))).toEqual([]);
    },
  );

  test("a server that has no raft leader any more ends the watch, which it could tell of nothing", async () => {
    await using etcd = await startEtcd(2);
    const client = clientOf([etcd.urls[0]!]);
    const follower = new Follower(client, "/leaderless/");
    await eventually("live", () => follower.live);
    await etcd.nodes[1]!.kill();
    await eventually("the watch is interrupted", () => !follower.live);
    expect((await client.status(etcd.urls[0]!)).raftLeader).toBe("0");
    await etcd.nodes[1]!.restart();
    await eventually("live again", () => follower.live);
    await caughtUp(follower, client, "/leaderless/");
    expect(follower.resyncs).toBe(0);
  });

  test("when the store went back, it lists again and tells the difference", async () => {
    // The same token and URLs make the same cluster and member ids: what a restore from an old copy looks like.
    const token = `restored-${process.pid}-${performance.now()}`;
    const proxy = await proxyTo("http://127.0.0.1:1");
    await using first = await startEtcd(1, { token });
    const node = first.nodes[0]!;
    proxy.retarget(node.clientUrl);
    const client = clientOf([proxy.url]);
    for (const name of ["a", "b", "c"]) await client.put(`/back/${name}`, "1");
    const follower = new Follower(client, "/back/");
    await eventually("live", () => follower.live);
    await first.wipe();
    const direct = clientOf([node.clientUrl]);
    await direct.put("/back/b", "2");
    await eventually("the difference", () => follower.resyncs > 0 && follower.live);
    await eventually("the new value", () => follower.entries.get("/back/b")?.value === "2");
    expect([...follower.entries.keys()]).toEqual(["/back/b"]);
    await caughtUp(follower, direct, "/back/");
  });

  test("another cluster on the known address is not listened to; back with the own one, nothing was lost", async () => {
    await using own = await startEtcd(1);
    await using other = await startEtcd(1);
    const proxy = await proxyTo(own.urls[0]!);
    const client = clientOf([proxy.url]);
    const direct = clientOf(own.urls);
    const stranger = clientOf(other.urls);
    await client.put("/mine/a", "1");
    for (let i = 0; i < 9; i++) await stranger.put("/mine/a", "stranger");
    const follower = new Follower(client, "/mine/");
    await eventually("live", () => follower.live);
    proxy.retarget(other.urls[0]!);
    proxy.cut();
    await eventually("the cut was felt", () => !follower.live);
    await expect(client.put("/mine/b", "1", { timeoutMs: 1_000 })).rejects.toMatchObject({ code: "WRONG_CLUSTER" });
    expect((await stranger.get("/mine/b")).entry).toBeUndefined();
    expect(follower.live).toBe(false);
    expect(follower.resyncs).toBe(0);
    client.endpoints.set(own.urls);
    await eventually("live again", () => follower.live);
    await caughtUp(follower, direct, "/mine/");
    expect(follower.changes.every((change) => change.type === "put" && change.entry.value !== "stranger")).toBe(true);
  });

  test("a successor that is named is followed, with the difference; an alarm is raised until then", async () => {
    await using own = await startEtcd(1);
    await using next = await startEtcd(1);
    const proxy = await proxyTo(own.urls[0]!);
    const alarms: unknown[] = [];
    const client = clientOf([proxy.url], { onForeign: (foreign) => alarms.push(foreign) });
    const successor = clientOf(next.urls);
    for (const name of ["a", "b"]) await client.put(`/next/${name}`, "1");
    for (let i = 0; i < 20; i++) await successor.put("/next/b", "2");
    const follower = new Follower(client, "/next/");
    await eventually("live", () => follower.live);
    const expected = client.clusterId;
    await own.nodes[0]!.kill();
    proxy.retarget(next.urls[0]!);
    await eventually("the alarm", () => alarms.length > 0);
    expect(alarms[0]).toEqual({ endpoint: proxy.url, expected, found: successor.clusterId });
    expect(follower.entries.size).toBe(2);
    client.followSuccessor(successor.clusterId!);
    await eventually("the difference", () => follower.resyncs === 1 && follower.live);
    expect([...follower.entries.values()].map(({ key, value }) => `${key}=${value}`)).toEqual(["/next/b=2"]);
    await caughtUp(follower, successor, "/next/");
  });
});
