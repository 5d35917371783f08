import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chunkBytes } from "../../../src/world/fs/engine/index.ts";
import type { Commit } from "../../../src/world/fs/engine/index.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import {
  bytesFrom,
  commit,
  engineOver,
  filesIn,
  headFiles,
  objectsIn,
  storesIn,
  storesInMemory,
  tapped,
  write,
  bytesIn,
} from "./engine-fixture.ts";
import type { Stores } from "./engine-fixture.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(async () => {
  await etcd.stop();
});

const kinds: readonly { readonly where: string; readonly stores: () => Stores }[] = [
  { where: "in memory", stores: storesInMemory },
  { where: "in etcd", stores: () => storesIn(etcd) },
];

describe.each(kinds)("trees $where", ({ stores }) => {
  test("what a draft wrote is there once it is committed, and for nobody before", async () => {
    const shared = stores();
    const repository = shared.engine().repository("site");
    const other = shared.engine("h2").repository("site");
    expect(await repository.head()).toBeUndefined();
    const draft = await repository.draft();
    await write(draft, { "conf/motd": "hello", index: "" });
    expect(await filesIn(draft)).toEqual({ "conf/motd": "hello", index: "" });
    expect(await other.head()).toBeUndefined();
    const { root, changed } = await draft.commit();
    expect(changed).toBe(true);
    expect(await headFiles(other)).toEqual({ "conf/motd": "hello", index: "" });
    expect(await other.head()).toMatchObject({ root, parent: undefined, generation: 1, by: "h1", entries: 3, bytes: 5 });
  });

  test("the same files have the same root, and committing them again is no commit", async () => {
    const shared = stores();
    const [a, b] = [shared.engine().repository("a"), shared.engine().repository("b")];
    const root = await commit(a, { "x/y": "1", z: "2" });
    expect(await commit(b, { z: "2", "x/y": "1" })).toBe(root);
    const draft = await b.draft();
    await write(draft, { z: "2" });
    expect(await draft.commit()).toMatchObject({ changed: false, root });
    expect(await b.log()).toHaveLength(1);
  });

  test("a file of many chunks is read anywhere in it, and a change in the middle stores one chunk", async () => {
    const shared = stores();
    const store = shared.store();
    const repository = engineOver(store).repository("site");
    const bytes = bytesFrom("large", 5 * chunkBytes + 1_234);
    await commit(repository, { large: bytes });
    const before = await objectsIn(store);
    await using draft = await repository.draft();
    const entry = await draft.entry("large");
    if (entry?.kind !== "file") throw new Error("it is no file");
    for (const [from, to] of [
      [0, 10],
      [chunkBytes - 5, chunkBytes + 5],
      [chunkBytes, 3 * chunkBytes + 1],
      [bytes.length - 3, bytes.length + 9],
    ] as const) {
      expect((await draft.read(entry, from, to)).equals(bytes.subarray(from, to))).toBe(true);
    }
    const editing = draft.edit(entry);
    await editing.write(2 * chunkBytes + 7, Buffer.from("changed"));
    await draft.put("large", { ...entry, ...(await editing.finish()) });
    await draft.commit();
    const added = (await objectsIn(store)).filter((address) => !before.includes(address));
    expect(added.map((address) => Number(address.slice(65))).filter((size) => size === chunkBytes)).toHaveLength(1);
    // And the folder.
    expect(added).toHaveLength(2);
    Buffer.from("changed").copy(bytes, 2 * chunkBytes + 7);
    const head = (await repository.head())!;
    const after = await repository.tree(head.root).entry("large");
    if (after?.kind !== "file") throw new Error("it is no file");
    expect((await repository.tree(head.root).read(after, 0, after.size)).equals(bytes)).toBe(true);
  });

  test("two writers on one tree lose nothing: what each has changed is merged by path", async () => {
    const shared = stores();
    const [a, b] = [shared.engine("h1").repository("site"), shared.engine("h2").repository("site")];
    await commit(a, { "conf/a": "1", "conf/b": "1", "old/x": "1", both: "1" });
    const [one, two] = [await a.draft(), await b.draft()];
    await write(one, { "conf/a": "2", "new/one": "1", both: "2" });
    await one.remove("old");
    await write(two, { "conf/b": "2", "new/two": "1", "old/y": "1", both: "2" });
    await one.commit();
    expect(await two.commit()).toMatchObject({ changed: true });
    expect(await headFiles(a)).toEqual({
      "conf/a": "2",
      "conf/b": "2",
      "new/one": "1",
      "new/two": "1",
      "old/y": "1",
      both: "2",
    });
    expect((await a.log()).map(({ generation, by }) => [generation, by])).toEqual([
      [3, "h2"],
      [2, "h1"],
      [1, "h1"],
    ]);
  });

  test("twenty commits of ten writers at once are all there", async () => {
    const shared = stores();
    const writers = Array.from({ length: 10 }, (_, n) => shared.engine(`h${n}`).repository("site"));
    await Promise.all(
      writers.map(async (repository, n) => {
        await commit(repository, { [`${n}/a`]: `${n}` });
        await commit(repository, { [`${n}/b`]: `${n}`, [`all/${n}`]: "" });
      }),
    );
    const files = await headFiles(writers[0]!);
    expect(Object.keys(files)).toHaveLength(30);
    expect((await writers[0]!.head())!.generation).toBe(20);
  });

  test("a conflict on one path names what was there, what is there by now and what was to be", async () => {
    const repository = stores().engine().repository("site");
    await commit(repository, { "conf/motd": "hello" });
    const [one, two] = [await repository.draft(), await repository.draft()];
    await write(one, { "conf/motd": "good morning" });
    await write(two, { "conf/motd": "good evening!", other: "" });
    await one.commit();
    await expect(two.commit()).rejects.toMatchObject({
      code: "CONFLICT",
      path: "/conf/motd",
      base: { kind: "file", size: 5 },
      theirs: { kind: "file", size: 12 },
      ours: { kind: "file", size: 13 },
    });
    expect(await headFiles(repository)).toEqual({ "conf/motd": "good morning" });
  });

  test("a draft renames, copies, links and changes modes without moving a byte", async () => {
    const shared = stores();
    const store = shared.store();
    const repository = engineOver(store).repository("site");
    await commit(repository, { "a/b/c": "1", d: "2" });
    const chunks = async (): Promise<string[]> => (await objectsIn(store)).filter((address) => address.endsWith("-1"));
    const before = await chunks();
    const draft = await repository.draft();
    await draft.copy("a", "e");
    await write(draft, { "e/only": "1" });
    await draft.copy("a/b", "f");
    await draft.remove("a/b");
    await draft.set("d", { mode: 0o600 });
    await draft.put("link", { kind: "link", mode: 0o777, mtimeMs: 5, target: "e/b" });
    await draft.commit();
    const head = (await repository.head())!;
    const tree = repository.tree(head.root);
    expect(await filesIn(tree)).toEqual({ d: "2", "e/b/c": "1", "e/only": "1", "f/c": "1", link: "-> e/b" });
    expect([...(await tree.list("a"))!.keys()]).toEqual([]);
    expect(await tree.entry("d")).toMatchObject({ mode: 0o600, mtimeMs: 1 });
    expect(await tree.entry("link/c")).toBeUndefined();
    expect(await chunks()).toEqual(before);
  });

  test("an old root is read from the history, compared with the new one, and stays while it is pinned", async () => {
    const shared = stores();
    const engine = shared.engine();
    const repository = engine.repository("site");
    const first = await commit(repository, { "a/x": "1", "a/y": "1", z: "1" });
    const second = await commit(repository, { "a/x": "2", "b/new": "1" }, ["z"]);
    expect((await repository.diff(first, second)).map(({ path, before, after }) => [path, before?.kind, after?.kind])).toEqual([
      ["a/x", "file", "file"],
      ["b", undefined, "folder"],
      ["b/new", undefined, "file"],
      ["z", "file", undefined],
    ]);
    expect((await repository.diff(first, second, { path: "a" })).map(({ path }) => path)).toEqual(["a/x"]);
    const pinned = (await repository.pin(first))!;
    expect(await engine.collect({ history: { commits: 1 } })).toMatchObject({ deletedObjects: 0 });
    expect((await repository.log()).map(({ root }) => root)).toEqual([second]);
    expect(await filesIn(pinned)).toEqual({ "a/x": "1", "a/y": "1", z: "1" });
    await pinned.close();
    const { deletedObjects, neededObjects, objects } = await engine.collect({ history: { commits: 1 } });
    // Its root and its folder a; the files have their content in common.
    expect([deletedObjects, neededObjects, objects]).toEqual([2, 5, 7]);
    expect(await repository.pin(first)).toBeUndefined();
  });

  test("a dry run tells what would go, and deletes nothing", async () => {
    const shared = stores();
    const store = shared.store();
    const engine = engineOver(store);
    const repository = engine.repository("site");
    await commit(repository, { a: "first" });
    await commit(repository, { a: "second" });
    const before = await objectsIn(store);
    const told = await engine.collect({ history: { commits: 1 }, dryRun: true });
    expect(told).toMatchObject({ objects: 4, deletedObjects: 2, neededObjects: 2 });
    expect(await objectsIn(store)).toEqual(before);
    expect(await repository.log()).toHaveLength(2);
    expect(await engine.collect({ history: { commits: 1 } })).toMatchObject({ ...told, tookMs: expect.any(Number) as number });
    expect(await objectsIn(store)).toHaveLength(2);
  });

  test("the history is kept up to its bytes, the present commit in any case", async () => {
    const shared = stores();
    const engine = shared.engine();
    const repository = engine.repository("site");
    for (const n of [1, 2, 3, 4]) await commit(repository, { a: bytesFrom(`${n}`, 10_000) });
    await engine.collect({ history: { bytes: 25_000 } });
    expect((await repository.log()).map(({ generation }) => generation)).toEqual([4, 3]);
    await engine.collect({ history: { bytes: 1 } });
    expect((await repository.log()).map(({ generation }) => generation)).toEqual([4]);
  });

  test("a tree that a deploy names is kept", async () => {
    const shared = stores();
    const store = shared.store();
    const engine = engineOver(store);
    const repository = engine.repository("site");
    const first = await commit(repository, { a: "1" });
    const proof = (await repository.proof(first))!;
    const key = store.keys.deploys.root(1);
    const value = Buffer.from(JSON.stringify({ uri: "etcdfs:///fs/site", root: first }));
    expect(await store.txn({ when: [proof], then: [{ put: key, value }] })).toMatchObject({ succeeded: true });
    await commit(repository, { a: "2" });
    expect(await engine.collect({ history: { commits: 1 } })).toMatchObject({ deletedObjects: 0 });
    expect(await filesIn((await repository.pin(first))!)).toEqual({ a: "1" });
    await store.txn({ when: [], then: [{ del: key }] });
    expect(await repository.proof(first)).toBeUndefined();
  });

  test("a file, a tree and a folder that are too large are refused, and a tree that is too large may shrink", async () => {
    const shared = stores();
    const engine = shared.engine();
    const repository = engine.repository("site", { fileBytes: 1_000, treeBytes: 2_000 });
    await using draft = await repository.draft();
    await expect(draft.write(Buffer.alloc(1_001))).rejects.toMatchObject({ code: "TOO_LARGE", data: { limit: "file" } });
    const editing = draft.edit();
    await expect(editing.write(995, Buffer.alloc(6))).rejects.toMatchObject({ code: "TOO_LARGE", data: { limit: "file" } });
    const large = { a: bytesFrom("a", 900), b: bytesFrom("b", 900), c: bytesFrom("c", 900) };
    await expect(commit(repository, large)).rejects.toMatchObject({ code: "TOO_LARGE", data: { limit: "tree" } });
    expect(await repository.head()).toBeUndefined();
    const unlimited = engine.repository("site");
    await commit(unlimited, large);
    await commit(repository, {}, ["a"]);
    expect((await repository.head())!.bytes).toBe(1_800);
    const wide = await unlimited.draft();
    const content = await wide.write(Buffer.from("x"));
    for (let n = 0; n < 9_000; n++) await wide.put(`file ${n}`, { kind: "file", mode: 0o644, mtimeMs: 1, ...content });
    await expect(wide.commit()).rejects.toMatchObject({ code: "TOO_LARGE", data: { limit: "folder" } });
  });

  test("whoever follows the head is told the present commit, and then each one", async () => {
    const repository = stores().engine().repository("site");
    const first = await commit(repository, { a: "1" });
    const told: (string | undefined)[] = [];
    const failures: unknown[] = [];
    const end = repository.heads({
      onNews: (news) => {
        if (news.kind === "snapshot") told.push([...news.items.values()][0]?.root);
        if (news.kind === "changes") for (const { after } of news.changes.values()) told.push((after as Commit).root);
      },
      onFailure: (error) => failures.push(error),
    });
    await eventually("the present commit is told", () => told.length === 1);
    const second = await commit(repository, { a: "2" });
    const third = await commit(repository, { a: "3" });
    await eventually("both are told", () => told.length === 3);
    end();
    expect(told).toEqual([first, second, third]);
    expect(failures).toEqual([]);
  });

  test("what a draft wrote and did not commit is gone when it is closed", async () => {
    const shared = stores();
    const store = shared.store();
    const repository = engineOver(store).repository("site");
    await commit(repository, { a: "1" });
    const before = await objectsIn(store);
    const draft = await repository.draft();
    await write(draft, { large: bytesFrom("gone", 12 * chunkBytes) });
    // It was stored ahead, so that it needs no memory.
    await eventually("much of it is stored", async () => (await objectsIn(store)).length > before.length + 4);
    await draft.close();
    expect(await objectsIn(store)).toEqual(before);
    await expect(draft.commit()).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("objects that another writer has under its lease outlive that writer once somebody has committed them", async () => {
    const shared = stores();
    const [a, b] = [shared.engine("h1").repository("a"), shared.engine("h2").repository("b")];
    const large = bytesFrom("both", 10 * chunkBytes);
    const crashing = await a.draft();
    await write(crashing, { large });
    await commit(b, { large });
    await crashing.close();
    const head = (await b.head())!;
    const entry = await b.tree(head.root).entry("large");
    if (entry?.kind !== "file") throw new Error("it is no file");
    expect((await b.tree(head.root).read(entry, 0, entry.size)).equals(large)).toBe(true);
  });

  test("what is there already is not sent again, also from another tree", async () => {
    const shared = stores();
    const a = shared.engine("h1").repository("a");
    const files = Object.fromEntries(Array.from({ length: 8 }, (_, n) => [`f${n}`, bytesFrom(`${n}`, chunkBytes)]));
    await commit(a, files);
    let sent = 0;
    const counted = tapped(shared.store(), (_, txn) => {
      sent += txn === undefined ? 0 : bytesIn(txn);
    });
    await commit(engineOver(counted, "h3").repository("c"), files);
    await using draft = await engineOver(counted).repository("a").draft();
    await write(draft, { ...files, f3: bytesFrom("other", 10) });
    await draft.commit();
    // Roots, folders and pins.
    expect(sent).toBeLessThan(10_000);
  });
});
