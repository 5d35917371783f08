import { describe, expect, onTestFinished, test } from "vitest";
import { firstMarker } from "../../src/agent/begin/first-keys.ts";
import { isRefused, readRecord, type Marker } from "../../src/agent/control/records.ts";
import { resolveOptions } from "../../src/agent/resolve.ts";
import { systemClock as clock } from "../../src/clock.ts";
import { Session, succeeds, type EtcdClient, type EtcdClientOptions, type Succession } from "../../src/etcd/index.ts";
import { restoredFrom } from "../support/backup.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import type { FaultyProxy } from "../support/proxy.ts";
import { caughtUp, clientOf, Follower, proxyTo } from "./follower.ts";

const options = resolveOptions({ hostname: "h1" });
const markerKey = options.keys.cluster;
const marker = (text: string): Marker => {
  const read = readRecord("marker", text);
  if (isRefused(read)) throw new Error(read.refused);
  return read;
};

describe("a marker", () => {
  const first = firstMarker("a", options);
  const second = firstMarker("b", options, marker(first));
  const third = firstMarker("c", options, marker(second));

  test("of a founder names no predecessor; of a restored cluster all there were, oldest first; the same cluster is not its own", () => {
    expect(marker(first).predecessors).toBeUndefined();
    expect(marker(second).predecessors).toEqual(["a"]);
    expect(marker(third).predecessors).toEqual(["a", "b"]);
    expect(firstMarker("c", options, marker(third))).toBe(firstMarker("c", options));
    let many = first;
    for (let i = 1; i <= 30; i++) many = firstMarker(i.toString(16), options, marker(many));
    expect(marker(many).predecessors).toHaveLength(20);
    expect(marker(many).predecessors?.at(-1)).toBe((29).toString(16));
  });

  test.each<[string, string, boolean]>([
    ["its own, that names us", second, true],
    ["its own, that names us and another in between", JSON.stringify({ ...marker(second), predecessors: ["a", "x"] }), true],
    ["none", "", false],
    ["no JSON", "banana", false],
    ["null", "null", false],
    ["a founder's", firstMarker("b", options), false],
    ["ours: a backup that nobody has adopted", first, false],
    ["its own, that names somebody else", JSON.stringify({ ...marker(second), predecessors: ["x"] }), false],
    ["of another cluster, that names us", third, false],
    ["of another schema", JSON.stringify({ ...marker(second), schema: 2 }), false],
    ["with a text for the list", JSON.stringify({ ...marker(second), predecessors: "a" }), false],
    ["of endless length", JSON.stringify({ ...marker(second), foundedBy: "x".repeat(100_000) }), false],
  ])("of cluster b, for those who follow a: %s", (_, text, expected) => {
    expect(succeeds(text, "b", "a")).toBe(expected);
  });
});

interface Followed {
  readonly client: EtcdClient;
  readonly proxy: FaultyProxy;
  readonly follower: Follower;
  readonly alarms: { endpoint: string; expected: string; found: string }[];
  readonly successions: Succession[];
}

/** A client with a watch, that knows one cluster by one address. */
async function followed(url: string, more: Partial<EtcdClientOptions> = { markerKey }): Promise<Followed> {
  const proxy = await proxyTo(url);
  const alarms: Followed["alarms"] = [];
  const successions: Succession[] = [];
  const client = clientOf([proxy.url], {
    onForeign: (foreign) => alarms.push(foreign),
    onSuccessor: (succession) => successions.push(succession),
    ...more,
  });
  await client.get("/");
  const follower = new Follower(client, "/world/");
  await eventually("live", () => follower.live);
  return { client, proxy, follower, alarms, successions };
}

/** Three keys of a World, in a cluster that has its marker. */
async function founded(): Promise<{ etcd: TestCluster; direct: EtcdClient }> {
  const etcd = await startEtcd(1);
  onTestFinished(() => etcd.stop());
  const direct = clientOf(etcd.urls);
  for (const name of ["a", "b", "c"]) await direct.put(`/world/${name}`, "1");
  await direct.put(markerKey, firstMarker(direct.clusterId!, options));
  return { etcd, direct };
}

/** How many reads a server has answered. */
async function readsOf(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^grpc_server_handled_total\{grpc_code="OK",grpc_method="Range"[^}]*\} (\d+)/m.exec(text)?.[1] ?? 0);
}

async function adopt({ urls }: TestCluster): Promise<EtcdClient> {
  const direct = clientOf(urls);
  const before = (await direct.get(markerKey)).entry;
  await direct.put(markerKey, firstMarker(direct.clusterId!, options, before && marker(before.value)));
  return direct;
}

describe("another cluster on a known address", () => {
  test("an empty founder empties nothing: it is drained, told of, and nothing of it is used", async () => {
    const { etcd, direct } = await founded();
    const { client, proxy, follower, alarms, successions } = await followed(etcd.urls[0]!);
    const founder = await startEtcd(1);
    onTestFinished(() => founder.stop());
    const theirs = clientOf(founder.urls);
    await theirs.get("/");
    await theirs.put(markerKey, firstMarker(theirs.clusterId!, options));
    const { revision } = await theirs.get("/");
    const looks = await readsOf(founder.urls[0]!);
    await etcd.nodes[0]!.kill();
    proxy.retarget(founder.urls[0]!);
    await eventually("the alarm", () => alarms.length > 0);
    expect(alarms[0]).toEqual({ endpoint: proxy.url, expected: direct.clusterId, found: theirs.clusterId });
    expect(client.endpoints.candidates()).toEqual([]);
    // The call that met it, and two looks at its marker.
    await eventually("its marker was read", async () => (await readsOf(founder.urls[0]!)) >= looks + 3);
    await expect(client.put("/world/d", "1", { timeoutMs: 500 })).rejects.toMatchObject({ code: "WRONG_CLUSTER" });
    expect(client.clusterId).toBe(direct.clusterId);
    expect(successions).toEqual([]);
    expect(follower.entries.size).toBe(3);
    expect(follower.changes).toEqual([]);
    expect(follower.resyncs).toBe(0);
    expect((await theirs.get("/world/d")).revision).toBe(revision);
  });

  test("a successor that names the present one is followed, with one exact difference; the former one is foreign from then on", async () => {
    const { etcd, direct } = await founded();
    const { client, proxy, follower, alarms, successions } = await followed(etcd.urls[0]!);
    const next = await restoredFrom(etcd.urls[0]!);
    // Not in the backup: lost with the old cluster, and so gone.
    await direct.put("/world/late", "1");
    await eventually("the last change", () => follower.entries.size === 4);
    const told = follower.changes.length;
    const theirs = await adopt(next);
    await theirs.put("/world/b", "2");
    await theirs.del("/world/c");
    await theirs.put("/world/d", "1");
    await etcd.nodes[0]!.kill();
    proxy.retarget(next.urls[0]!);
    await eventually("the difference", () => follower.resyncs === 1 && follower.live);
    expect(alarms.length).toBeGreaterThan(0);
    expect(successions).toEqual([{ endpoint: proxy.url, predecessor: direct.clusterId, clusterId: theirs.clusterId }]);
    const text = follower.changes
      .slice(told)
      .map((change) => [
        change.type === "put" ? `${change.entry.key}=${change.entry.value}` : change.key,
        change.previous?.value,
      ]);
    expect(text.toSorted()).toEqual([
      ["/world/b=2", "1"],
      ["/world/c", "1"],
      ["/world/d=1", undefined],
      ["/world/late", "1"],
    ]);
    expect(follower.wrong).toEqual([]);
    await client.put("/world/e", "1");
    expect((await theirs.get("/world/e")).entry?.value).toBe("1");
    await caughtUp(follower, theirs, "/world/");

    await etcd.nodes[0]!.restart();
    proxy.retarget(etcd.urls[0]!);
    proxy.cut();
    const alarmed = alarms.length;
    await eventually("another alarm", () => alarms.length > alarmed);
    expect(alarms.at(-1)).toEqual({ endpoint: proxy.url, expected: theirs.clusterId, found: direct.clusterId });
    client.endpoints.set(next.urls);
    await eventually("live again", () => follower.live);
    await caughtUp(follower, theirs, "/world/");
    expect(client.clusterId).toBe(theirs.clusterId);
    expect(successions).toHaveLength(1);
  });

  test("a backup that is not adopted yet is not followed; once it is, it is, without a restart", async () => {
    const { etcd, direct } = await founded();
    const { client, proxy, follower, successions } = await followed(etcd.urls[0]!);
    const next = await restoredFrom(etcd.urls[0]!);
    const looks = await readsOf(next.urls[0]!);
    await etcd.nodes[0]!.kill();
    proxy.retarget(next.urls[0]!);
    await eventually("its marker was read", async () => (await readsOf(next.urls[0]!)) >= looks + 3);
    expect(client.clusterId).toBe(direct.clusterId);
    expect(follower.resyncs).toBe(0);
    const theirs = await adopt(next);
    await eventually("it is followed", () => successions.length === 1 && follower.live);
    // Nothing differs but the marker, which nobody here watches: an exact difference is empty.
    expect(follower.changes).toEqual([]);
    expect(client.clusterId).toBe(theirs.clusterId);
    await caughtUp(follower, theirs, "/world/");
  });

  test("who was away for two restores follows the second; a client that does not ask for it follows none", async () => {
    const { etcd } = await founded();
    const [one, other] = [await followed(etcd.urls[0]!), await followed(etcd.urls[0]!, {})];
    const second = await restoredFrom(etcd.urls[0]!);
    await adopt(second);
    const third = await restoredFrom(second.urls[0]!);
    const theirs = await adopt(third);
    await etcd.nodes[0]!.kill();
    for (const { proxy } of [one, other]) proxy.retarget(third.urls[0]!);
    await eventually("it is followed", () => one.successions.length === 1 && one.follower.live);
    await eventually("the alarm", () => other.alarms.length > 0);
    expect(one.client.clusterId).toBe(theirs.clusterId);
    expect(other.client.clusterId).not.toBe(theirs.clusterId);
  });
});

test("a session of the former cluster is over when it is not in the successor: its signal fires, and nothing is written with it", async () => {
  const { etcd } = await founded();
  const { client, proxy, successions } = await followed(etcd.urls[0]!);
  const next = await restoredFrom(etcd.urls[0]!);
  const theirs = await adopt(next);
  const never = new AbortController().signal;
  await using session = await Session.open(client, { ttlMs: 5_000, clock }, never);
  await client.put("/held", "1", { lease: session.lease, session });
  await etcd.nodes[0]!.kill();
  proxy.retarget(next.urls[0]!);
  await eventually("it is followed", () => successions.length === 1);
  await eventually("the session is over", () => session.signal.aborted);
  await expect(client.put("/held", "2", { session })).rejects.toMatchObject({ code: "SESSION_LOST" });
  expect((await theirs.get("/held")).entry).toBeUndefined();
});
