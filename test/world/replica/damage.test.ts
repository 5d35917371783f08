import { cp, mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openReplica } from "../../../src/world/replica/index.ts";
import { ReplicaFolder } from "../../../src/world/replica/folder.ts";
import { EtcdClient } from "../../../src/etcd/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { runProgram } from "../../support/etcd-server.ts";
import { full } from "../../support/full.ts";
import { Random } from "../../support/random.ts";
import { forgetLast } from "./forgotten.ts";
import { pageOf, pageSize, places } from "./pages.ts";
import {
  clientTo,
  clock,
  eventually,
  killFeeder,
  nameOf,
  replicaFolder,
  replicaOf,
  strings,
  textOf,
  Told,
  untilGone,
} from "./fixture.ts";

/** What happens to a page, given its bytes and some other page's. Undefined: the file ends here, with what is given instead. */
const kinds: Readonly<
  Record<string, (page: Buffer, other: Buffer, random: () => number) => Buffer | { readonly cutAt: number }>
> = {
  "is zeroed": () => Buffer.alloc(pageSize),
  "is all ones": () => Buffer.alloc(pageSize, 0xff),
  "is noise": (page, _, random) => Buffer.from(page.map(() => Math.floor(256 * random()))),
  "has one bit flipped": (page, _, random) => flipped(page, 1, random),
  "has 64 bits flipped": (page, _, random) => flipped(page, 64, random),
  "has another header": (page) => Buffer.concat([Buffer.from(page.subarray(0, 24)).fill(0x5a, 8), page.subarray(24)]),
  "is another page": (_, other) => other,
  "is shifted by eight bytes": (page) => Buffer.concat([page.subarray(8), page.subarray(0, 8)]),
  "has no second half": (page) => Buffer.concat([page.subarray(0, pageSize / 2), Buffer.alloc(pageSize / 2)]),
  "is where the file ends": () => ({ cutAt: pageSize / 2 }),
};

function flipped(page: Buffer, n: number, random: () => number): Buffer {
  const bytes = Buffer.from(page);
  for (let i = 0; i < n; i++) bytes[Math.floor(random() * pageSize)]! ^= 1 << Math.floor(8 * random());
  return bytes;
}

async function damage(path: string, page: number, kind: string, random: () => number): Promise<void> {
  const file = await open(path, "r+");
  try {
    const at = page * pageSize;
    const [bytes, other] = [Buffer.alloc(pageSize), Buffer.alloc(pageSize)];
    await file.read(bytes, 0, pageSize, at);
    await file.read(other, 0, pageSize, at + 3 * pageSize);
    const result = kinds[kind]!(bytes, other, random);
    if (Buffer.isBuffer(result)) await file.write(result, 0, pageSize, at);
    else await truncate(path, at + result.cutAt);
  } finally {
    await file.close();
  }
}

let etcd: TestCluster;
let client: EtcdClient;
let template: string;
const release: (() => Promise<void>)[] = [];

/** A folder as a feeder leaves it, with pages of every sort in use. */
beforeAll(async () => {
  etcd = await startEtcd(1);
  client = EtcdClient.create({ endpoints: etcd.urls, clock });
  const parent = await mkdtemp(join(tmpdir(), "quorate-test-"));
  release.push(() => rm(parent, { recursive: true, force: true }));
  template = join(parent, "world");
  const replica = await openReplica({ clock, endpoints: etcd.urls, folder: template });
  await replica.ready({ timeoutMs: 20_000 });
  for (let n = 0; n < 3_000; n += 100) {
    await client.txn({
      then: Array.from({ length: 100 }, (_, i) => ({ put: nameOf(`small/${n + i}`), value: "x".repeat(100) })),
    });
  }
  for (let i = 0; i < 30; i++) await client.put(nameOf(`big/${i}`), `${i}`.repeat(10_000));
  for (let i = 0; i < 40; i++) await client.put(nameOf(`small/${i * 70}`), `again ${i}`);
  await replica.get(nameOf("small/0"), { read: "linearizable" });
  const pid = replica.feederPid!;
  await replica.close();
  await untilGone(pid);
});
afterAll(async () => {
  await client.close();
  await etcd.stop();
  for (const one of release) await one();
});

async function copyOfTemplate(): Promise<{ folder: string; file: string }> {
  const folder = await replicaFolder();
  await cp(template, folder, { recursive: true, filter: (path) => !path.endsWith(".sock") });
  const record = await new ReplicaFolder(folder).record();
  return { folder, file: join(folder, record!.file) };
}

describe.each(places)("damage to a page of the %s", (place) => {
  // Two or three of the ten kinds for each place, and each kind for one place at least: the others take most of a minute.
  const played = Object.keys(kinds).filter((_, i) => full || i % 4 === places.indexOf(place) % 4);
  test(`${played.length} kinds of it: nothing torn or old is ever read, this process lives, and changes go on`, async () => {
    const dice = new Random(places.indexOf(place) + 1);
    const random = (): number => dice.next();
    const causes: string[] = [];
    for (const kind of played) {
      const { folder, file } = await copyOfTemplate();
      await damage(file, pageOf(file, place), kind, random);
      const replica = await openReplica({ clock, endpoints: etcd.urls, folder });
      try {
        const read = await replica.range(strings, { read: "local", timeoutMs: 20_000 });
        const there = await client.range(strings, { revision: read.revision });
        const text = read.entries.map((entry) => [entry.key, textOf(entry), entry.modRevision, entry.version]);
        const expected = there.entries.map(({ key, value, modRevision, version }) => [key, value, modRevision, version]);
        expect(text, `${place} ${kind}`).toEqual(expected);
        // What is sound after all is read before there is a feeder.
        const pid = await eventually("a feeder", () => replica.feederPid, 20_000);
        causes.push(Object.keys(replica.metrics.relists).join());
        for (let i = 0; i < 20; i++) {
          if (i % 4 === 3) await client.del(nameOf(`small/${i * 100}`));
          else await client.put(nameOf(i % 2 === 0 ? `big/${i}` : `small/${i * 100}`), kind.repeat(i % 2 === 0 ? 500 : 1));
        }
        const after = await replica.range(strings, { read: "linearizable", timeoutMs: 20_000 });
        const now = await client.range(strings, { revision: after.revision });
        expect(after.entries.map((entry) => [entry.key, textOf(entry)])).toEqual(
          now.entries.map(({ key, value }) => [key, value]),
        );
        expect(replica.feederPid, `the feeder lives on: ${place} ${kind}`).toBe(pid);
      } finally {
        const pid = replica.feederPid;
        await replica.close();
        if (pid !== undefined) await untilGone(pid);
      }
    }
    expect(causes.length).toBe(played.length);
    // Where it says nothing, what is damaged is not used, or the older of the two meta pages is as good.
    for (const cause of causes) expect(["", "damaged", "format"]).toContain(cause);
    if (place === "leaf" || place === "branch")
      expect(causes.filter((cause) => cause === "damaged").length).toBeGreaterThanOrEqual(full ? 7 : 1);
  });
});

test("a file of an earlier start of the machine is not believed", async () => {
  const { folder } = await copyOfTemplate();
  const bootIdPath = join(folder, "boot-id");
  await writeFile(bootIdPath, "another start\n");
  const replica = await replicaOf({ endpoints: etcd.urls, folder, bootIdPath });
  await replica.ready({ timeoutMs: 20_000 });
  expect(replica.metrics.relists).toEqual({ reboot: 1 });
  expect(replica.status.lastRelist?.why).toContain("restarted");
});

test("a file of another cluster than the one that is named is not believed", async () => {
  const { folder } = await copyOfTemplate();
  await using other = await startEtcd(1);
  const to = clientTo(other.urls);
  await to.put(nameOf("theirs"), "1");
  const replica = await replicaOf({ endpoints: other.urls, folder, clusterId: to.clusterId! });
  expect((await replica.range(strings, { timeoutMs: 20_000 })).entries.map(({ key }) => key)).toEqual([nameOf("theirs")]);
  expect(replica.metrics.relists).toEqual({ cluster: 1 });
});

test("a file that is damaged while its feeder lives is not opened by the next program: it is judged first", async () => {
  const { folder } = await copyOfTemplate();
  const first = await replicaOf({ endpoints: etcd.urls, folder });
  // Followers read the feeder's file alone. What it had missed is applied by then: a page that is damaged is one that stays in use.
  const told = new Told(first);
  const { revision } = await client.put(nameOf("applied"), "1");
  await eventually("what the file had missed", () => told.revision >= revision);
  const path = join(folder, (await new ReplicaFolder(folder).record())!.file);
  // One byte of one value: harmless to those that have it open.
  const file = await open(path, "r+");
  const page = pageOf(path, "overflow");
  await file.write(Buffer.from("?"), 0, 1, page * pageSize + 2_000);
  await file.close();
  await clock.sleep(1_100, new AbortController().signal);
  const second = await replicaOf({ folder });
  await second.ready({ timeoutMs: 20_000 });
  expect(second.metrics.relists).toEqual({ damaged: 1 });
  await eventually("the first goes over too", () => first.metrics.relists.damaged === 1);
  const there = await client.range(strings);
  expect((await first.range(strings, { read: "linearizable" })).entries.length).toBe(there.entries.length);
});

test.each(["the next change", "a read that waits for more"])(
  "what LMDB has forgotten of a file is found with %s: it is listed anew, and watches are told all the same",
  async (what) => {
    const folder = await replicaFolder();
    const replica = await replicaOf({ endpoints: etcd.urls, folder });
    const name = (n: number): string => nameOf(`forgotten/${what}/${n}`);
    const told = new Told(replica, { start: nameOf(`forgotten/${what}/`), end: nameOf(`forgotten/${what}0`) });
    await eventually("the snapshot", () => told.snapshots === 1);
    await client.put(name(1), "1");
    const { revision } = await client.put(name(2), "2");
    await eventually("it is told", () => told.revision >= revision);
    await forgetLast(join(folder, (await new ReplicaFolder(folder).record())!.file));
    if (what === "the next change") await client.put(name(1), "3");
    else {
      await client.put("/elsewhere", "1");
      expect(textOf((await replica.get(name(2), { read: "linearizable" })).entry)).toBe("2");
    }
    await eventually("another listing", () => replica.metrics.relists.damaged === 1);
    expect(replica.status.lastRelist?.why).toBe("what was written to it last is gone");
    const last = (await client.put(name(3), "4")).revision;
    await eventually("all is told", () => told.revision >= last);
    expect(told.wrong).toEqual([]);
    const { entries } = await client.range({ start: nameOf(`forgotten/${what}/`), end: nameOf(`forgotten/${what}0`) });
    expect([...told.entries].map(([key, entry]) => [key, textOf(entry)])).toEqual(entries.map(({ key, value }) => [key, value]));
  },
);

test("a feeder is killed again and again in the middle of applying: never a torn state, no change is lost or repeated", async () => {
  const folder = await replicaFolder();
  const replica = await replicaOf({ endpoints: etcd.urls, folder });
  const range = { start: nameOf("torn/"), end: nameOf("torn0") };
  const told = new Told(replica, range);
  await eventually("the snapshot", () => told.snapshots === 1);
  let writing = true;
  const revisions: number[] = [];
  // Both sides of a pair are written in one transaction; whoever sees them differ has seen a torn state.
  const writer = (async (): Promise<void> => {
    for (let i = 0; writing; i++) {
      const pair = ["a", "b"].map((side) => ({ put: nameOf(`torn/${i % 10}/${side}`), value: `${i}`.padEnd(200) }));
      revisions.push((await client.txn({ then: pair })).revision);
      await clock.sleep(1, new AbortController().signal);
    }
  })();
  writer.catch(() => undefined);
  let looks = 0;
  const looking = (async (): Promise<void> => {
    while (writing) {
      const { entries } = await replica.range(range, { read: "local" });
      for (let i = 0; i + 1 < entries.length; i += 2) expect(textOf(entries[i])).toBe(textOf(entries[i + 1]));
      looks++;
      await clock.sleep(1, new AbortController().signal);
    }
  })();
  looking.catch(() => undefined);
  for (let i = 0; i < 6; i++) await killFeeder(replica);
  writing = false;
  await writer;
  await looking;
  await eventually("all changes", () => told.revision >= revisions.at(-1)!);
  expect(looks).toBeGreaterThan(50);
  expect(told.wrong).toEqual([]);
  expect(told.revisions).toEqual(revisions);
  expect(replica.metrics.relists).toEqual({});
  expect(await replica.audit()).toBeUndefined();
});

test("an audit finds an entry that differs from the cluster's, and the copy is listed anew", async () => {
  const replica = await replicaOf({ endpoints: etcd.urls, folder: await replicaFolder(), random: () => 0 });
  await replica.ready({ timeoutMs: 20_000 });
  expect(await replica.audit()).toBeUndefined();
  const path = join(replica.status.folder!, (await new ReplicaFolder(replica.status.folder!).record())!.file);
  const [entry] = replica.rangeSync(strings, 1);
  expect(await runProgram(new URL("programs/tamper.ts", import.meta.url), [path, entry!.key]).line()).toBe("done");
  const { revision } = await client.put(nameOf("wakes"), "1");
  // A read might be direct, and say nothing of the copy, on an etcd whose progress replies cannot be believed.
  await eventually("the copy has come as far", () => replica.status.revision >= revision);
  expect(textOf(replica.getSync(entry!.key))).toBe("never written");
  expect(await replica.audit()).toContain(entry!.key);
  await eventually("another listing", () => replica.metrics.relists.audit === 1);
  expect(textOf((await replica.get(entry!.key)).entry)).not.toBe("never written");
});
