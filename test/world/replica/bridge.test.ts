import { open, readFile, writeFile } from "node:fs/promises";
import { uptime } from "node:os";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { compact } from "../../../src/etcd/upkeep.ts";
import { tryFlock } from "../../../src/system-tools.ts";
import { Bridge } from "../../../src/world/replica/bridge.ts";
import { ReplicaFolder } from "../../../src/world/replica/folder.ts";
import type { Replica } from "../../../src/world/replica/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { untilGone } from "../../support/etcd-server.ts";
import { eventually } from "../../support/eventually.ts";
import { clientTo, clock, keys, nameOf, progressIsInOrder, replicaFolder, replicaOf, strings, textOf, Told } from "./fixture.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

const fresh = { read: "linearizable", timeoutMs: 20_000 } as const;

/** A folder as a feeder leaves it that has ended in good order, with the keys `a`, `b` and `c`. */
async function leftFolder(): Promise<ReplicaFolder> {
  const folder = await replicaFolder();
  const client = clientTo(etcd.urls);
  for (const name of ["a", "b", "c"]) await client.put(nameOf(name), `${name} before`);
  const replica = await replicaOf({ endpoints: etcd.urls, folder });
  await replica.get(nameOf("a"), fresh);
  const pid = replica.feederPid!;
  await replica.close();
  await untilGone(pid);
  return new ReplicaFolder(folder);
}

/** No feeder can be had until the returned function is called. */
async function withoutFeeder(folder: ReplicaFolder): Promise<() => Promise<void>> {
  const lock = await open(folder.lockPath, "a+");
  expect(await tryFlock(lock.fd)).toBe("taken");
  let held = true;
  const release = async (): Promise<void> => {
    if (held) await lock.close();
    held = false;
  };
  onTestFinished(release);
  return release;
}

const namesIn = async (replica: Replica): Promise<readonly string[]> =>
  (await replica.range(strings, fresh)).entries.map((entry) => `${entry.key.slice(strings.start.length)}: ${textOf(entry)!}`);

test.skipIf(!progressIsInOrder)(
  "a program that starts a feeder reads what is current before that is there: the sealed file, and what has happened since",
  async () => {
    const folder = await leftFolder();
    await withoutFeeder(folder);
    const client = clientTo(etcd.urls);
    await client.put(nameOf("b"), "b after");
    await client.del(nameOf("c"));
    await client.put(nameOf("aa"), "aa new");
    const replica = await replicaOf({ endpoints: etcd.urls, folder: folder.path });
    expect(await namesIn(replica)).toEqual(["a: a before", "aa: aa new", "b: b after"]);
    expect(replica.feederPid).toBeUndefined();
    expect(textOf((await replica.get(nameOf("b"), fresh)).entry)).toBe("b after");
    expect((await replica.get(nameOf("c"), fresh)).entry).toBeUndefined();
    const two = await replica.range(strings, { ...fresh, limit: 2 });
    expect(two.entries.map(({ key }) => key)).toEqual([nameOf("a"), nameOf("aa")]);
    expect(two.more).toBe(true);
    // What happens while it reads on, also where it is not the World's.
    await client.put(nameOf("b"), "b again");
    const { revision } = await client.put(`${keys.namespace}/elsewhere`, "x");
    const again = await replica.get(nameOf("b"), fresh);
    expect(textOf(again.entry)).toBe("b again");
    expect(again.revision).toBeGreaterThanOrEqual(revision);
    expect(replica.status.state).toBe("live");
    expect(replica.metrics.directReads).toBe(0);
  },
);

test.skipIf(!progressIsInOrder)("a watch that begins meanwhile is not of a time before what was read already", async () => {
  const folder = await leftFolder();
  const release = await withoutFeeder(folder);
  await clientTo(etcd.urls).put(nameOf("b"), "b after");
  const replica = await replicaOf({ endpoints: etcd.urls, folder: folder.path });
  const { entry, revision } = await replica.get(nameOf("b"), fresh);
  expect(textOf(entry)).toBe("b after");
  const told = new Told(replica);
  // The feeder has the sealed file, and cannot come further.
  etcd.nodes[0]!.pause();
  onTestFinished(() => etcd.nodes[0]!.resume());
  await release();
  await eventually("a feeder", () => replica.feederPid !== undefined);
  expect(textOf((await replica.get(nameOf("b"))).entry)).toBe("b after");
  etcd.nodes[0]!.resume();
  await eventually("the snapshot", () => told.snapshots > 0);
  const [first] = told.news;
  expect(first?.revision).toBeGreaterThanOrEqual(revision);
  expect(textOf(told.entries.get(nameOf("b")))).toBe("b after");
});

test("it goes over to the feeder's file while others write, and never back", async () => {
  const folder = await leftFolder();
  const release = await withoutFeeder(folder);
  const client = clientTo(etcd.urls);
  const replica = await replicaOf({ endpoints: etcd.urls, folder: folder.path });
  await replica.ready();
  const told = new Told(replica);
  let running = true;
  let written = 0;
  const writing = (async () => {
    while (running) await client.put(nameOf("counter"), `${++written}`);
  })();
  let last = { revision: 0, text: 0 };
  const look = async (): Promise<void> => {
    const { entry, revision } = await replica.get(nameOf("counter"));
    const text = Number(textOf(entry) ?? 0);
    expect(revision).toBeGreaterThanOrEqual(last.revision);
    expect(text).toBeGreaterThanOrEqual(last.text);
    last = { revision, text };
  };
  await eventually("a counter", async () => (await look(), last.text > 5 ? true : undefined));
  expect(replica.feederPid).toBeUndefined();
  await release();
  await eventually("a feeder", async () => (await look(), replica.feederPid));
  const then = last.text;
  await eventually("more of it", async () => (await look(), last.text > then + 50 ? true : undefined));
  running = false;
  await writing;
  expect(textOf((await replica.get(nameOf("counter"), fresh)).entry)).toBe(`${written}`);
  await eventually("all was told", () => (textOf(told.entries.get(nameOf("counter"))) === `${written}` ? true : undefined));
  expect(told.wrong).toEqual([]);
  expect(replica.metrics.relists).toEqual({});
});

test("where the history is gone it serves what it has, and fresh reads wait for the feeder's listing", async () => {
  const folder = await leftFolder();
  const release = await withoutFeeder(folder);
  const client = clientTo(etcd.urls);
  await client.put(nameOf("a"), "a after");
  const { revision } = await client.put(nameOf("b"), "b after");
  await compact(client, revision, {});
  const replica = await replicaOf({ endpoints: etcd.urls, folder: folder.path });
  await replica.ready();
  expect(textOf((await replica.get(nameOf("a"), { read: "local" })).entry)).toBe("a before");
  const reading = replica.get(nameOf("a"), fresh);
  // Who has the time waits for more than one common look.
  if (progressIsInOrder) await eventually("the time of a look was up", () => replica.metrics.barriers.failed > 0);
  await release();
  expect(textOf((await reading).entry)).toBe("a after");
  if (progressIsInOrder) expect(replica.metrics.relists).toEqual({ compacted: 1 });
});

test("what is not sealed by its bytes, its boot, its cluster and its namespace is not read before a feeder has judged it", async () => {
  const folder = await leftFolder();
  const client = clientTo(etcd.urls);
  const deps = { client, keys, clock, uptimeMs: () => 1_000 * uptime(), onNews: () => undefined };
  const settings = { folder: folder.path, namespace: keys.namespace, endpoints: etcd.urls, mostBytes: 1e9 };
  const isThere = async (other: Partial<typeof settings & { clusterId: string; bootIdPath: string }> = {}): Promise<boolean> => {
    const bridge = await Bridge.open(folder, { ...settings, ...other }, deps);
    await bridge?.close();
    return bridge !== undefined;
  };
  expect(await isThere()).toBe(true);
  expect(await isThere({ namespace: "/_other" })).toBe(false);
  expect(await isThere({ clusterId: "abc" })).toBe(false);
  await writeFile(`${folder.path}/boot`, "another life");
  expect(await isThere({ bootIdPath: `${folder.path}/boot` })).toBe(false);
  const path = folder.filePath((await folder.record())!.file);
  const bytes = await readFile(path);
  bytes[bytes.length >> 1]! ^= 4;
  await writeFile(path, bytes);
  expect(await isThere()).toBe(false);
  bytes[bytes.length >> 1]! ^= 4;
  await writeFile(path, bytes);
  expect(await isThere()).toBe(true);
  await writeFile(path, bytes.subarray(4_096));
  expect(await isThere()).toBe(false);
});
