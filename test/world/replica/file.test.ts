import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Damaged, decodeEntry, encodeEntry } from "../../../src/world/replica/entry.ts";
import type { RawChange, RawEntry } from "../../../src/world/replica/entry.ts";
import { ReplicaFile } from "../../../src/world/replica/file.ts";
import { formatVersion } from "../../../src/world/replica/format.ts";
import { probe } from "../../../src/world/replica/programs.ts";
import { ReplicaFolder } from "../../../src/world/replica/folder.ts";
import { FileReader } from "../../../src/world/replica/snapshot.ts";
import { temporaryFolder } from "../../support/etcd-server.ts";
import { forgetLast } from "./forgotten.ts";

const meta = { format: formatVersion, clusterId: "c1", namespace: "/_mgmt", history: "h1", bootId: "b1" };

function entry(name: string, value: Buffer | string, modRevision: number, lease = "0"): RawEntry {
  return { key: Buffer.from(name), value: Buffer.from(value), createRevision: 2, modRevision, version: 1, lease };
}

const put = (name: string, value: string, revision: number): RawChange => ({ type: "put", entry: entry(name, value, revision) });
const del = (name: string, revision: number): RawChange => ({ type: "del", key: Buffer.from(name), revision });

test("an entry comes back as it was, with any bytes in its value and any lease", () => {
  const value = Buffer.from([0, 255, 128, 10]);
  const raw = { ...entry("/a", value, 2 ** 52, "-5"), version: 7 };
  const back = decodeEntry(raw.key, "/a", encodeEntry(raw));
  expect({ ...back, value: Buffer.from(back.value) }).toEqual({ ...raw, key: "/a" });
});

test("an entry under another key, or with one bit changed, is not believed", () => {
  const bytes = encodeEntry(entry("/a", "value", 5));
  expect(() => decodeEntry(Buffer.from("/b"), "/b", bytes)).toThrow("checksum");
  for (let at = 0; at < bytes.length; at++) {
    const bad = Buffer.from(bytes);
    bad[at]! ^= 4;
    expect(() => decodeEntry(Buffer.from("/a"), "/a", bad), `byte ${at}`).toThrow("checksum");
  }
});

describe("a file", () => {
  test("entries, count, hash and revision change together; a reader sees the old state until it looks again", async () => {
    const path = join(await temporaryFolder(), "a.mdb");
    const file = ReplicaFile.create(path, meta);
    file.fill([entry("/_mgmt/strings/a", "1", 3), entry("/_mgmt/strings/b", "2", 4)]);
    file.filled(10, 2, 1_000);
    const reader = new FileReader(path);
    expect(reader.meta).toMatchObject({ revision: 10, term: 2, count: 2, heardMs: 1_000, logFrom: 10 });
    file.apply([put("/_mgmt/strings/a", "new", 11), del("/_mgmt/strings/b", 12)], 12, 2_000);
    expect(Buffer.from(reader.get("/_mgmt/strings/a")!.value).toString()).toBe("1");
    expect(reader.meta.revision).toBe(10);
    reader.refresh();
    expect(Buffer.from(reader.get("/_mgmt/strings/a")!.value).toString()).toBe("new");
    expect(reader.get("/_mgmt/strings/b")).toBeUndefined();
    expect(reader.meta).toMatchObject({ revision: 12, count: 1, heardMs: 2_000 });
    expect(reader.range("/_mgmt/strings/", "/_mgmt/strings0").map(({ key }) => key)).toEqual(["/_mgmt/strings/a"]);
    await reader.close();
    await file.close();
    expect(await probe(path)).toMatchObject({ meta: { revision: 12, count: 1 } });
  });

  test("the log has every change, in order, also of a key that changed twice; what was applied before is not applied again", async () => {
    const path = join(await temporaryFolder(), "a.mdb");
    const file = ReplicaFile.create(path, meta);
    file.filled(10, 2, 0);
    file.apply([put("/k", "1", 11), put("/k", "2", 12)], 12, 0);
    file.apply([put("/k", "1", 11), put("/k", "2", 12), del("/k", 14)], 14, 0);
    const reader = new FileReader(path);
    const seen = reader.changesAfter(10)!.map((change) => (change.type === "put" ? change.entry.modRevision : -change.revision));
    expect(seen).toEqual([11, 12, -14]);
    expect(reader.changesAfter(12)!.length).toBe(1);
    expect(reader.changesAfter(9)).toBeUndefined();
    await reader.close();
    await file.close();
  });

  test("where LMDB forgets the last transaction, as it may when another process opens the file, nothing is written over it", async () => {
    const path = join(await temporaryFolder(), "a.mdb");
    const file = ReplicaFile.create(path, meta);
    file.filled(10, 2, 0);
    file.apply([put("/k", "1", 11)], 11, 0);
    file.apply([put("/k", "2", 12)], 12, 0);
    file.verify();
    await forgetLast(path);
    const reader = new FileReader(path);
    expect(reader.meta.revision, "it is as if it had never been").toBe(11);
    expect(() => file.verify()).toThrow(Damaged);
    expect(() => file.apply([put("/k", "3", 13)], 13, 0)).toThrow(Damaged);
    expect(() => file.note({ revision: 14 })).toThrow(Damaged);
    reader.refresh();
    expect([reader.meta.revision, reader.changesAfter(10)!.length]).toEqual([11, 1]);
    await reader.close();
    await file.close();
  });

  test("the log is bounded, and says from where it is whole", async () => {
    const path = join(await temporaryFolder(), "a.mdb");
    const file = ReplicaFile.create(path, meta);
    file.filled(10, 2, 0);
    const big = "x".repeat(1024 * 1024);
    for (let i = 11; i < 51; i++) file.apply([put("/k", big, i)], i, 0);
    await file.close();
    const again = ReplicaFile.open(path);
    expect(again.meta.logFrom).toBeGreaterThanOrEqual(34);
    again.apply([put("/k", "small", 51)], 51, 0);
    const reader = new FileReader(path);
    expect(reader.changesAfter(again.meta.logFrom)!.length).toBe(51 - again.meta.logFrom);
    expect(reader.changesAfter(again.meta.logFrom - 1)).toBeUndefined();
    await reader.close();
    await again.close();
  });

  test("a copy is the same, and goes on, also with one large transaction", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "a.mdb");
    const file = ReplicaFile.create(path, meta);
    file.fill(Array.from({ length: 2_000 }, (_, i) => entry(`/_mgmt/strings/${i}`, `${i}`, 3)));
    file.filled(10, 2, 0);
    for (let i = 0; i < 500; i++) file.apply([del(`/_mgmt/strings/${i}`, 11 + i)], 11 + i, 0);
    await file.close();
    const copy = join(folder, "b.mdb");
    expect(await probe(path, copy)).toMatchObject({ meta: { revision: 510, count: 1_500 } });
    const again = ReplicaFile.open(copy);
    again.apply([put("/_mgmt/strings/1", "back", 600)], 600, 0);
    // One large transaction: where LMDB had made the copy, this ended the process.
    again.apply(
      Array.from({ length: 2_000 }, (_, i) => put(`/_mgmt/strings/${i}`, "large", 601 + i)),
      2_600,
      0,
    );
    await again.close();
    expect(await probe(copy)).toMatchObject({ meta: { revision: 2_600, count: 2_000 } });
  });

  test("a key that no file can hold is left out, and counted", async () => {
    const path = join(await temporaryFolder(), "a.mdb");
    const file = ReplicaFile.create(path, meta);
    file.fill([entry(`/${"x".repeat(2_500)}`, "1", 3), entry("/a", "1", 3)]);
    file.filled(10, 2, 0);
    file.apply([del(`/${"x".repeat(2_500)}`, 11)], 11, 0);
    expect(file.skipped).toBe(1);
    await file.close();
    expect(await probe(path)).toMatchObject({ meta: { count: 1 } });
  });

  test("no file, an empty one and one of another program are doubts, not crashes", async () => {
    const folder = await temporaryFolder();
    expect(await probe(join(folder, "none.mdb"))).toHaveProperty("doubt");
    await writeFile(join(folder, "empty.mdb"), "");
    expect(await probe(join(folder, "empty.mdb"))).toHaveProperty("doubt");
    await writeFile(join(folder, "other.mdb"), Buffer.alloc(20_000, "x"));
    expect(await probe(join(folder, "other.mdb"))).toHaveProperty("doubt");
  });
});

test("the name of a file is never used again: who has the old one open would take the new one for it", async () => {
  const folder = new ReplicaFolder(await temporaryFolder());
  const names = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const name = await folder.nextFile();
    await writeFile(folder.filePath(name), "");
    names.add(name);
    await folder.removeFiles(undefined);
  }
  expect(names.size).toBe(20);
});
