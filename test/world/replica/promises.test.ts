import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { ReplicaFolder } from "../../../src/world/replica/folder.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { runProgram } from "../../support/etcd-server.ts";
import {
  clientTo,
  clock,
  eventually,
  nameOf,
  replicaFolder,
  replicaOf,
  strings,
  temporaryFolder,
  textOf,
  Told,
  untilGone,
} from "./fixture.ts";

const mib = 1024 * 1024;
const never = new AbortController().signal;
let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

/** Files of the folder, in bytes together. */
async function bytesIn(folder: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(folder)) {
    if (name.endsWith(".mdb")) sum += (await stat(join(folder, name))).size;
  }
  return sum;
}

describe("a file that may take no more than 8 MiB", () => {
  const mostBytes = 8 * mib;
  const big = "x".repeat(500_000);

  test("is not begun where the World has more: reads are direct and say why, and nothing is left on the disk", async () => {
    await using full = await startEtcd(1);
    const client = clientTo(full.urls);
    for (let i = 0; i < 24; i++) await client.put(nameOf(`${i}`), `${i}${big}`);
    const folder = await replicaFolder();
    const replica = await replicaOf({ endpoints: full.urls, folder, mostBytes });
    const read = await replica.get(nameOf("3"));
    expect(textOf(read.entry)?.startsWith("3x")).toBe(true);
    expect(replica.status.state).toBe("direct");
    expect(replica.status.because.join()).toMatch(/the file has \d+ MiB, at most 8 are allowed/);
    expect(replica.metrics.directReads).toBe(1);
    expect(await bytesIn(folder)).toBe(0);
    // Watches and linearizable reads go on without it.
    const told = new Told(replica, { start: nameOf("small"), end: nameOf("smalm") });
    await eventually("the snapshot", () => told.snapshots === 1);
    await client.put(nameOf("small"), "1");
    await eventually("the change", () => told.entries.size === 1);
    expect(textOf((await replica.get(nameOf("small"), { read: "linearizable" })).entry)).toBe("1");
  });

  test("grows no further when changes would need more: who reads goes over to direct reads, and misses no change", async () => {
    const client = clientTo(etcd.urls);
    await client.put(nameOf("grow/a"), "1");
    const folder = await replicaFolder();
    const replica = await replicaOf({ endpoints: etcd.urls, folder, mostBytes });
    const told = new Told(replica, { start: nameOf("grow/"), end: nameOf("grow0") });
    await eventually("the snapshot", () => told.snapshots === 1);
    expect(textOf((await replica.get(nameOf("grow/a"))).entry)).toBe("1");
    for (let i = 0; i < 24; i++) await client.put(nameOf(`grow/${i}`), `${i}${big}`);
    await eventually("the limit is told", () => replica.status.because.join().includes("at most 8 are allowed"), 20_000);
    await client.put(nameOf("grow/a"), "2");
    expect(textOf((await replica.get(nameOf("grow/a"), { read: "linearizable" })).entry)).toBe("2");
    expect(textOf((await replica.get(nameOf("grow/a"))).entry)).toBe("2");
    await eventually("all changes", () => textOf(told.entries.get(nameOf("grow/a"))) === "2" && told.entries.size === 25, 20_000);
    expect(told.wrong).toEqual([]);
    // One write at most beyond the limit, and never all of what was written.
    expect(await bytesIn(folder)).toBeLessThan(mostBytes + 4 * mib);
    for (let i = 0; i < 24; i++) await client.del(nameOf(`grow/${i}`));
  });

  test(
    "keeps to it while one value is written over and over: the log is cut, and what it held is not needed",
    { timeout: 90_000 },
    async () => {
      const client = clientTo(etcd.urls);
      const folder = await replicaFolder();
      const replica = await replicaOf({ endpoints: etcd.urls, folder, mostBytes: 64 * mib });
      const range = { start: nameOf("over/"), end: nameOf("over0") };
      const told = new Told(replica, range);
      await eventually("the snapshot", () => told.snapshots === 1);
      for (let i = 0; i < 150; i++) await client.put(nameOf("over/a"), `${i}${big}`);
      await eventually("all changes", () => told.revisions.length === 150, 30_000);
      expect(told.resyncs).toBe(0);
      expect(told.wrong).toEqual([]);
      // 75 MB were written.
      expect(await bytesIn(folder)).toBeLessThan(64 * mib);
      expect(replica.status.because).toEqual([]);
      await client.del(nameOf("over/a"));
    },
  );
});

test(
  "a program that is too slow for the log is told the difference in place of every change, and in the end has what there is",
  { timeout: 90_000 },
  async () => {
    const client = clientTo(etcd.urls);
    const replica = await replicaOf({ endpoints: etcd.urls, folder: await replicaFolder() });
    await replica.ready({ timeoutMs: 20_000 });
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const kinds: string[] = [];
    let entries = new Map<string, string>();
    const following = replica.follow({ start: nameOf("slow/"), end: nameOf("slow0") }, async (news) => {
      kinds.push(news.kind);
      if (news.kind === "snapshot") {
        entries = new Map(news.entries.map((entry) => [entry.key, textOf(entry)!.slice(0, 3)]));
        await held;
      } else {
        for (const change of news.changes) {
          if (change.type === "put") entries.set(change.entry.key, textOf(change.entry)!.slice(0, 3));
          else entries.delete(change.key);
        }
      }
    });
    onTestFinished(() => following.stop());
    await eventually("the snapshot", () => kinds.length === 1);
    const big = "x".repeat(500_000);
    let revision = 0;
    for (let i = 100; i < 160; i++) revision = (await client.put(nameOf(`slow/${i % 5}`), `${i}${big}`)).revision;
    await eventually("it is in the file", () => replica.metrics.revision >= revision);
    release();
    await eventually("the difference", () => entries.get(nameOf("slow/4")) === "159");
    expect(kinds).toEqual(["snapshot", "resynced"]);
    expect([...entries.values()].toSorted()).toEqual(["155", "156", "157", "158", "159"]);
    for (let i = 0; i < 5; i++) await client.del(nameOf(`slow/${i}`));
  },
);

test("an audit that was asked for goes on by itself, and has the copy listed anew where it differs", async () => {
  const client = clientTo(etcd.urls);
  await client.put(nameOf("audited"), "true");
  const folder = await replicaFolder();
  const replica = await replicaOf({ endpoints: etcd.urls, folder, random: () => 0, auditEveryMs: 200 });
  await replica.ready({ timeoutMs: 20_000 });
  const [entry] = replica.rangeSync(strings, 1);
  const record = await new ReplicaFolder(folder).record();
  expect(await runProgram(new URL("programs/tamper.ts", import.meta.url), [join(folder, record!.file), entry!.key]).line()).toBe(
    "done",
  );
  await client.put(nameOf("wakes"), "1");
  await eventually("another listing", () => replica.metrics.relists.audit === 1);
  await eventually("the right value", () => textOf(replica.getSync(entry!.key)) === textOf(entry));
  // Sound again: nothing more is found.
  await clock.sleep(600, never);
  expect(replica.metrics.relists.audit).toBe(1);
});

describe("without a folder", () => {
  const home = process.env["HOME"];
  afterAll(() => {
    process.env["HOME"] = home;
  });

  test("a program uses its user's cache, by cluster and namespace, and finds it again while the cluster is out of reach", async () => {
    process.env["HOME"] = await temporaryFolder();
    await using own = await startEtcd(1);
    const client = clientTo(own.urls);
    await client.put(nameOf("a"), "1");
    await client.put("/other/strings/a", "2");
    const first = await replicaOf({ endpoints: own.urls });
    const other = await replicaOf({ endpoints: own.urls, namespace: "/other" });
    expect(textOf((await first.get(nameOf("a"))).entry)).toBe("1");
    expect(textOf((await other.get("/other/strings/a")).entry)).toBe("2");
    const { folder, clusterId } = first.status;
    const parent = join(process.env["HOME"], ".cache", "quorate", "world");
    expect(folder).toMatch(new RegExp(`^${parent}/${clusterId}-[0-9a-f]{12}$`));
    expect(other.status.folder).not.toBe(folder);
    expect((await stat(folder!)).mode & 0o077).toBe(0);
    const pids = [first.feederPid!, other.feederPid!];
    await Promise.all([first.close(), other.close()]);
    for (const pid of pids) await untilGone(pid);
    await own.nodes[0]!.kill();

    const again = await replicaOf({ endpoints: own.urls });
    expect(again.status.folder).toBe(folder);
    const read = await again.get(nameOf("a"), { read: "local" });
    expect(textOf(read.entry)).toBe("1");
    expect(read.ageMs).toBeGreaterThan(0);
    expect(again.status.state).toBe("stale");
    await own.nodes[0]!.restart();
    await eventually("live again", () => again.status.state === "live");
    expect(again.metrics.relists).toEqual({});
  });

  test("of a cluster that was never met, and does not answer, there is nothing to open", async () => {
    process.env["HOME"] = await temporaryFolder();
    await using own = await startEtcd(1);
    const parent = join(process.env["HOME"], ".cache", "quorate", "world", "abc-0123456789ab");
    await mkdir(parent, { recursive: true });
    await writeFile(join(parent, "replica.json"), "garbage");
    await own.nodes[0]!.kill();
    await expect(replicaOf({ endpoints: own.urls })).rejects.toMatchObject({ code: "UNREACHABLE" });
  });

  test("where its folder is a file, that is said", async () => {
    const home = await temporaryFolder();
    process.env["HOME"] = home;
    await writeFile(join(home, ".cache"), "");
    await expect(replicaOf({ endpoints: etcd.urls })).rejects.toMatchObject({ code: "PREFIX_UNUSABLE" });
  });
});
