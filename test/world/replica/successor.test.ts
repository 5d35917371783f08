import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { firstMarker } from "../../../src/agent/begin/first-keys.ts";
import { isRefused, readRecord } from "../../../src/agent/control/records.ts";
import { resolveOptions } from "../../../src/agent/resolve.ts";
import type { EtcdClient } from "../../../src/etcd/index.ts";
import { ReplicaWrites } from "../../../src/world/replica/index.ts";
import { restoredFrom } from "../../support/backup.ts";
import { startEtcd, type TestCluster } from "../../support/etcd-process.ts";
import { FaultyProxy } from "../../support/proxy.ts";
import { clientTo, eventually, keys, killFeeder, nameOf, replicaFolder, replicaOf, strings, textOf, Told } from "./fixture.ts";

const options = resolveOptions({ hostname: "h1" });

async function founded(): Promise<{ etcd: TestCluster; direct: EtcdClient; proxy: FaultyProxy }> {
  const etcd = await startEtcd(1);
  onTestFinished(() => etcd.stop());
  const direct = clientTo(etcd.urls);
  for (const name of ["a", "b", "c"]) await direct.put(nameOf(name), "1");
  await direct.put(keys.cluster, firstMarker(direct.clusterId!, options));
  const proxy = await FaultyProxy.start(etcd.urls[0]!);
  onTestFinished(() => proxy[Symbol.asyncDispose]());
  return { etcd, direct, proxy };
}

async function adopt({ urls }: TestCluster): Promise<EtcdClient> {
  const direct = clientTo(urls);
  const { entry } = await direct.get(keys.cluster);
  const before = readRecord("marker", entry!.value);
  if (isRefused(before)) throw new Error(before.refused);
  await direct.put(keys.cluster, firstMarker(direct.clusterId!, options, before));
  return direct;
}

test("an empty founder on a known address empties no World, whatever its marker says of itself", async () => {
  const { etcd, direct, proxy } = await founded();
  const founder = await startEtcd(1);
  onTestFinished(() => founder.stop());
  const theirs = clientTo(founder.urls);
  await theirs.get("/");
  await theirs.put(keys.cluster, firstMarker(theirs.clusterId!, options));
  const logged: string[] = [];
  const log = pino({ level: "warn" }, { write: (line: string) => void logged.push(line) });
  const replica = await replicaOf({ endpoints: [proxy.url], folder: await replicaFolder(), log });
  const told = new Told(replica);
  await eventually("the snapshot", () => told.snapshots === 1);
  await etcd.nodes[0]!.kill();
  proxy.retarget(founder.urls[0]!);
  await eventually("the alarm", () => replica.status.foreign?.includes(theirs.clusterId!));
  await killFeeder(replica);
  await eventually("the next feeder's alarm", () => replica.status.foreign?.includes(theirs.clusterId!));
  expect(replica.rangeSync(strings).length).toBe(3);
  expect(replica.status).toMatchObject({ state: "stale", clusterId: direct.clusterId, predecessors: [] });
  expect(told.news.length).toBe(1);
  expect(logged.join()).toContain("another cluster answers, and is not listened to");
  expect(logged.join()).not.toContain("successor");
});

test("a restored backup that was adopted is followed: one exact difference, by every program, also by one that knows the former cluster only", async () => {
  const { etcd, direct, proxy } = await founded();
  const folder = await replicaFolder();
  const logged: string[] = [];
  const log = pino({ level: "warn" }, { write: (line: string) => void logged.push(line) });
  const replica = await replicaOf({ endpoints: [proxy.url], folder, log });
  await replica.ready({ timeoutMs: 20_000 });
  const second = await replicaOf({ folder });
  const [told, other] = [new Told(replica), new Told(second)];
  await eventually("the snapshots", () => told.snapshots === 1 && other.snapshots === 1);
  const next = await restoredFrom(etcd.urls[0]!);
  // Revisions of the old cluster run ahead of the new one's, so that no comparison of the two can be right by chance.
  for (let i = 0; i < 50; i++) await direct.put(nameOf("late"), `${i}`);
  await eventually("the last change", () => textOf(told.entries.get(nameOf("late"))) === "49" && other.entries.size === 4);
  const theirs = await adopt(next);
  await theirs.put(nameOf("b"), "2");
  await theirs.del(nameOf("c"));
  await etcd.nodes[0]!.kill();
  proxy.retarget(next.urls[0]!);

  await eventually("the differences", () => told.resyncs === 1 && other.resyncs === 1);
  for (const one of [told, other]) {
    const { changes } = one.news.at(-1) as Extract<(typeof one.news)[number], { kind: "resynced" }>;
    expect(changes.map((change) => (change.type === "put" ? change.entry.key : `-${change.key}`))).toEqual([
      nameOf("b"),
      `-${nameOf("c")}`,
      `-${nameOf("late")}`,
    ]);
    expect(one.wrong).toEqual([]);
  }
  expect(replica.status).toMatchObject({
    clusterId: theirs.clusterId,
    predecessors: [direct.clusterId],
    lastRelist: { cause: "cluster" },
    foreign: undefined,
  });
  expect(logged.filter((line) => line.includes("the cluster has a successor, which is followed")).length).toBeGreaterThan(0);
  await using writes = new ReplicaWrites(replica);
  const { revision } = await eventually("a write", () => writes.put(nameOf("d"), "1").catch(() => undefined));
  expect(textOf((await replica.get(nameOf("d"))).entry)).toBe("1");
  expect((await second.get(nameOf("d"), { read: "linearizable" })).revision).toBeGreaterThanOrEqual(revision);

  const pid = await killFeeder(replica);
  const later = await replicaOf({ endpoints: [proxy.url], folder, clusterId: direct.clusterId! });
  expect(textOf((await later.get(nameOf("b"), { read: "linearizable" })).entry)).toBe("2");
  expect(later.feederPid).toBe(pid);
  expect(later.metrics.relists).toEqual({});
});

test("a replica that was down while its cluster got a successor follows it when it is back", async () => {
  const { etcd, direct, proxy } = await founded();
  const folder = await replicaFolder();
  const first = await replicaOf({ endpoints: [proxy.url], folder });
  await first.ready({ timeoutMs: 20_000 });
  await first.close();
  const next = await restoredFrom(etcd.urls[0]!);
  const theirs = await adopt(next);
  await theirs.put(nameOf("a"), "2");
  await etcd.nodes[0]!.kill();
  proxy.retarget(next.urls[0]!);
  const replica = await replicaOf({ endpoints: [proxy.url], folder, clusterId: direct.clusterId! });
  expect(textOf((await replica.get(nameOf("a"), { read: "local" })).entry)).toMatch(/[12]/);
  await eventually("the successor", () => replica.status.clusterId === theirs.clusterId);
  await eventually("its value", () => textOf(replica.getSync(nameOf("a"))) === "2");
  expect(textOf((await replica.get(nameOf("a"), { read: "linearizable" })).entry)).toBe("2");
  expect(replica.metrics.relists).toEqual({ cluster: 1 });
});
