import { readFileSync, readdirSync } from "node:fs";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { compact } from "../../../src/etcd/index.ts";
import { openReplica } from "../../../src/world/replica/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { runProgram, type Program } from "../../support/etcd-server.ts";
import {
  clientTo,
  clock,
  eventually,
  killFeeder,
  nameOf,
  progressIsInOrder,
  replicaFolder,
  replicaOf,
  textOf,
  Told,
  untilGone,
} from "./fixture.ts";

interface Line {
  readonly kind: string;
  readonly revision: number;
  readonly value: string;
  readonly seenMs: number;
}

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

const follow = (folder: string, prefix: string): Program =>
  runProgram(new URL("programs/follow.ts", import.meta.url), [folder, nameOf(`${prefix}/`), nameOf(`${prefix}0`)]);
const next = async (program: Program): Promise<Line> => JSON.parse(await program.line()) as Line;
const epochMs = (): number => performance.timeOrigin + performance.now();

/** All that a program is told up to that revision. */
async function toldUpTo(program: Program, revision: number): Promise<Line[]> {
  const lines: Line[] = [];
  for (;;) {
    const line = await next(program);
    lines.push(line);
    if (line.revision >= revision) return lines;
  }
}

test("two reader processes see every change, in order, once, without seeds, within milliseconds, also across the death of the feeder", async () => {
  const folder = await replicaFolder();
  const client = clientTo(etcd.urls);
  const owner = await replicaOf({ endpoints: etcd.urls, folder });
  await owner.ready({ timeoutMs: 20_000 });
  const readers = [follow(folder, "both"), follow(folder, "both")];
  for (const reader of readers) expect(await next(reader)).toMatchObject({ kind: "snapshot" });
  const revisions: number[] = [];
  const stop = new AbortController();
  const writer = (async (): Promise<void> => {
    for (let i = 0; !stop.signal.aborted || i < 1_000; i++) {
      const { revision } = await client.put(nameOf(`both/${i % 20}`), `${i}`);
      revisions.push(revision);
    }
  })();
  writer.catch(() => undefined);
  for (let i = 0; i < 3; i++) await killFeeder(owner);
  stop.abort();
  await writer;
  for (const reader of readers) {
    const lines = await toldUpTo(reader, revisions.at(-1)!);
    expect(lines.filter(({ kind }) => kind !== "changes")).toEqual([]);
    expect(lines.map(({ revision }) => revision)).toEqual(revisions);
    expect(lines.map(({ value }) => value)).toEqual(revisions.map((_, i) => `${i}`));
  }
  // One at a time; a busy machine makes most of them late, and the quickest shows how it is.
  const afterMs = [0, 1].map(() => Infinity);
  for (let i = 0; i < 50; i++) {
    await client.put(nameOf("both/0"), `single ${i}`);
    const ackedMs = epochMs();
    for (const [n, reader] of readers.entries()) afterMs[n] = Math.min(afterMs[n]!, (await next(reader)).seenMs - ackedMs);
  }
  for (const ms of afterMs) expect(ms).toBeLessThan(50);
});

test("a feeder that nobody waited for ends with whoever started it", async () => {
  const folder = await replicaFolder();
  const first = await openReplica({ clock, endpoints: etcd.urls, folder });
  await first.ready({ timeoutMs: 20_000 });
  await first.close();
  await eventually("its end", () => feedersOf(folder).length === 0);
  for (let i = 0; i < 3; i++) {
    // The file that was sealed is read before the feeder is there.
    const replica = await openReplica({ clock, endpoints: etcd.urls, folder });
    await replica.get(nameOf("none"), { read: "linearizable" });
    await replica.close();
    // A feeder whose first user never comes waits for that one 10 s.
    await eventually("no feeder", () => feedersOf(folder).length === 0, 5_000);
  }
});

function feedersOf(folder: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return args.includes("feeder-main") && args.includes(folder);
    } catch {
      return false;
    }
  });
}

describe("a start", () => {
  test("that finds the history resumes from its revision: nothing is listed", async () => {
    const folder = await replicaFolder();
    const client = clientTo(etcd.urls);
    for (let i = 0; i < 50; i++) await client.put(nameOf(`warm/${i}`), "before");
    const before = await openReplica({ clock, endpoints: etcd.urls, folder });
    onTestFinished(() => before.close());
    await before.ready({ timeoutMs: 20_000 });
    const pid = before.feederPid!;
    await before.close();
    await untilGone(pid);
    for (let i = 0; i < 500; i++) await client.put(nameOf(`warm/${i % 50}`), `${i}`);
    await client.del(nameOf("warm/7"));
    const after = await replicaOf({ endpoints: etcd.urls, folder });
    const range = { start: nameOf("warm/"), end: nameOf("warm0") };
    await after.ready({ timeoutMs: 20_000 });
    const last = (await client.get(nameOf("warm/7"))).revision;
    await eventually("all of it", () => after.metrics.revision >= last);
    const { entries } = await after.range(range, { read: "local" });
    const there = (await client.range(range)).entries.map(({ key, value, modRevision }) => [key, value, modRevision]);
    expect(entries.map((entry) => [entry.key, textOf(entry), entry.modRevision])).toEqual(there);
    // The feeder takes over what the program has read by itself meanwhile: one change each, and no listing.
    await eventually("the feeder has it too", () => after.metrics.applied.changes >= 501);
    expect(after.metrics.relists).toEqual({});
    expect(after.metrics.applied.changes).toBe(501);
  });

  test(
    "behind more than 10,000 revisions lists again while a writer goes on: readers keep the old state, then have one difference",
    { timeout: 120_000 },
    async () => {
      const client = clientTo(etcd.urls);
      const names = Array.from({ length: 2_500 }, (_, i) => nameOf(`gap/${String(i).padStart(4, "0")}`));
      const all = async (value: string, revisions = 1): Promise<number> => {
        let revision = 0;
        for (let i = 0; i < names.length; i += 100) {
          const then = names.slice(i, i + 100).map((put) => ({ put, value }));
          revision = (await client.txn({ then })).revision;
        }
        for (let i = 1; i < revisions; i += 50)
          await Promise.all(Array.from({ length: 50 }, (_, j) => client.put(nameOf(`gaq/${j}`), `${i}`)));
        return revision;
      };
      await all("old");
      const replica = await replicaOf({ endpoints: etcd.urls, folder: await replicaFolder() });
      const told = new Told(replica, { start: nameOf("gap/"), end: nameOf("gap0") });
      await eventually("the snapshot", () => told.snapshots === 1 && told.entries.size === names.length);
      const pid = replica.feederPid!;
      process.kill(pid, "SIGSTOP");
      await all("new", 11_000);
      const { revision } = await client.del(names[0]!);
      let writing = true;
      const writer = (async (): Promise<void> => {
        for (let i = 0; writing; i++) await client.put(nameOf(`gaq/during`), `${i}`);
      })();
      writer.catch(() => undefined);
      process.kill(pid, "SIGKILL");
      const states = new Set<string>();
      await eventually(
        "the difference",
        () => {
          const entries = replica.rangeSync({ start: nameOf("gap/"), end: nameOf("gap0") });
          states.add(`${entries.length} ${[...new Set(entries.map(textOf))].join()}`);
          return told.revision >= revision;
        },
        30_000,
      );
      writing = false;
      await writer;
      expect([...states]).toEqual(["2500 old", "2499 new"]);
      expect(told.wrong).toEqual([]);
      expect(told.news.map(({ kind }) => kind)).toEqual(["snapshot", "resynced"]);
      const { changes } = told.news[1] as Extract<(typeof told.news)[number], { kind: "resynced" }>;
      expect(changes.length).toBe(2_500);
      expect(changes.every(({ previous }) => textOf(previous) === "old")).toBe(true);
      expect(replica.status.lastRelist?.cause).toBe("gap");
      expect(await replica.audit()).toBeUndefined();
    },
  );

  test("behind what is compacted lists again too, also where that was long ago", async () => {
    const folder = await replicaFolder();
    const client = clientTo(etcd.urls);
    const before = await openReplica({ clock, endpoints: etcd.urls, folder });
    onTestFinished(() => before.close());
    await before.ready({ timeoutMs: 20_000 });
    const pid = before.feederPid!;
    await before.close();
    await untilGone(pid);
    for (let i = 0; i < 10; i++) await client.put(nameOf("compacted"), `${i}`);
    const { revision } = await client.put(nameOf("compacted"), "1");
    await compact(client, revision, {});
    const logged: string[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => void logged.push(line) });
    const after = await replicaOf({ folder, log });
    expect(textOf((await after.get(nameOf("compacted"), { read: "linearizable" })).entry)).toBe("1");
    await eventually("a listing", () => after.metrics.relists.compacted === 1);
    expect(after.metrics.relists).toEqual({ compacted: 1 });
    expect(after.status.lastRelist).toEqual({ cause: "compacted", why: "the history behind its revision is compacted" });
    expect(logged.find((line) => line.includes("the replica was listed anew"))).toContain('"cause":"compacted"');
  });
});

test.skipIf(!progressIsInOrder)(
  "a metric is what happened: revision, age, listings by cause, what was applied, rounds and waits of the barrier, direct reads",
  async () => {
    const client = clientTo(etcd.urls);
    const replica = await replicaOf({ endpoints: etcd.urls, folder: await replicaFolder() });
    expect(replica.metrics).toMatchObject({ revision: 0, relists: {}, feederConnections: 0, directReads: 0 });
    await replica.ready({ timeoutMs: 20_000 });
    await eventually("live", () => replica.status.state === "live");
    const { applied } = replica.metrics;
    for (let i = 0; i < 10; i++) await client.put(nameOf("metric"), `${i}`);
    await client.put(nameOf("x".repeat(2_500)), "too long a key for a file");
    await replica.get(nameOf("metric"), { read: "linearizable" });
    await replica.get(nameOf("metric"), { read: "direct" });
    // What is counted is told beside the file, and may come after it.
    await eventually("all is counted", () => replica.metrics.applied.changes - applied.changes >= 11);
    const after = replica.metrics;
    expect(after.revision).toBeGreaterThanOrEqual((await client.get(nameOf("metric"))).entry!.modRevision);
    expect(after).toMatchObject({ ageMs: 0, relists: { empty: 1 }, directReads: 1, skippedKeys: 1, feederConnections: 1 });
    expect(after.applied.changes - applied.changes).toBe(11);
    expect(after.applied.transactions - applied.transactions).toBeGreaterThan(0);
    expect(after.applied.ms).toBeGreaterThan(applied.ms);
    expect(after.barriers).toMatchObject({ rounds: 1, joined: 1, failed: 0 });
    expect(after.barriers.waitMs).toBeGreaterThan(0);
    await etcd.nodes[0]!.kill();
    await expect(replica.get(nameOf("metric"), { read: "linearizable", timeoutMs: 200 })).rejects.toMatchObject({
      code: "STALE",
    });
    await eventually("it ages", () => replica.metrics.ageMs > 0);
    await eventually("the failed round is counted", () => replica.metrics.barriers.failed > 0);
    await etcd.nodes[0]!.restart();
    await client.del(nameOf("x".repeat(2_500)));
  },
);
