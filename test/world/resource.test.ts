import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WorldError, openWorld } from "../../src/world/index.ts";
import type { Exported, ListEvent, Resource, World } from "../../src/world/index.ts";
import {
  badKey,
  deleteRaw,
  etcdOfWorlds,
  eventually,
  freshNamespace,
  keysOf,
  notText,
  putRaw,
  revisionOf,
  revisionsOf,
  watchedList,
  ways,
  worldOf,
} from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { testUsualFailures, testUsualWatch } from "./usual.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const fresh = { read: "linearizable" } as const;
const idOf = ({ kind, name, host, to }: Resource): string => JSON.stringify([kind, name, host, to]);
const item = (name: string, value = "v", more: Partial<Exported> = {}): Exported => ({ kind: "k", name, value, ...more });

async function namesIn(world: World): Promise<string[]> {
  return (await world.resource.collect(undefined, fresh)).items.map(({ name }) => name);
}

/** Worlds of several hosts in one namespace. */
async function hosts(...names: readonly string[]): Promise<World[]> {
  const namespace = freshNamespace();
  return await Promise.all(names.map((hostname) => worldOf(etcd, { replica: false, namespace, hostname })));
}

const usual = [
  { name: "resource.collect", call: (world: World, options: object) => world.resource.collect({}, { ...options, ...fresh }) },
  { name: "resource.conflicts", call: (world: World, options: object) => world.resource.conflicts({}, { ...options, ...fresh }) },
  ...(["add", "replace"] as const).map((mode) => ({
    name: `resource.export ${mode}`,
    writes: true,
    call: (world: World, options: object) =>
      world.resource.export([item(mode, String(Math.random()))], { ...options, mode, scope: mode }),
  })),
  {
    name: "resource.delete",
    writes: true,
    call: (world: World, options: object) => world.resource.delete([{ kind: "k", name: "deleted" }], options),
  },
];
testUsualFailures(() => etcd, usual);

testUsualWatch<ListEvent<Resource>>(() => etcd, "a watch of resources", {
  watch: (world, signal) => world.resource.watch({ kind: "k" }, signal === undefined ? {} : { signal }),
  collect: (watch) => watchedList(watch, idOf),
  change: (world, n) => putRaw(etcd, keysOf(world).exported.key({ to: undefined, from: "h2", kind: "k", name: `n${n}` }), "v"),
  spoil: async (world) => {
    await putRaw(etcd, `${world.namespace}/exported/*/h2/k`, "too short");
    await putRaw(etcd, `${world.namespace}/exported/*/h2/k/n/more`, "too long");
    await putRaw(etcd, badKey(`${world.namespace}/exported/*/h2/k/`), "v");
    await putRaw(etcd, keysOf(world).exported.key({ to: undefined, from: "h2", kind: "k", name: "bad" }), notText);
  },
});

describe.each(ways)("$way, resources", ({ replica }) => {
  const open = (): Promise<World> => worldOf(etcd, { replica });

  test("are none where there are none, with the revision at which that is so", async () => {
    const world = await open();
    const now = await revisionOf(etcd);
    for (const read of ["session", "linearizable", "direct"] as const) {
      const collected = await world.resource.collect({}, { read });
      expect(collected.items).toEqual([]);
      const { conflicts, revision } = await world.resource.conflicts({}, { read });
      expect(conflicts).toEqual([]);
      if (read !== "session") expect(Math.min(collected.revision, revision)).toBeGreaterThanOrEqual(now);
    }
    for (const mode of ["add", "replace"] as const) {
      const { revision, ...rest } = await world.resource.export([], { mode });
      expect(rest).toEqual({ items: [], deleted: [], changed: false });
      expect(revision).toBeGreaterThanOrEqual(now);
    }
    expect(await revisionsOf(etcd, () => world.resource.delete([{ kind: "k", name: "none" }]))).toBe(0);
    expect(await world.resource.delete([{ kind: "k", name: "none" }])).toMatchObject({
      changed: false,
      items: [{ kind: "k", name: "none", changed: false }],
    });
    expect(await world.resource.delete([])).toMatchObject({ changed: false, items: [] });
  });

  test("are collected as they were exported, sorted, each saying whether it changed; what is unchanged makes no revision", async () => {
    const world = await open();
    const list = [item("b", ""), item("a", "1"), item("a", "2", { to: "h1" }), { kind: "j", name: "z", value: "3" }];
    const first = await world.resource.export(list);
    expect(first).toMatchObject({ changed: true, deleted: [] });
    expect(first.items).toEqual([
      { kind: "k", name: "b", changed: true },
      { kind: "k", name: "a", changed: true },
      { kind: "k", name: "a", to: "h1", changed: true },
      { kind: "j", name: "z", changed: true },
    ]);
    const { items } = await world.resource.collect();
    expect(items.map(({ kind, name, to, value, host, leased }) => [kind, name, to, value, host, leased])).toEqual([
      ["j", "z", undefined, "3", "h1", false],
      ["k", "a", undefined, "1", "h1", false],
      ["k", "a", "h1", "2", "h1", false],
      ["k", "b", undefined, "", "h1", false],
    ]);
    const watched = watchedList(world.resource.watch(), idOf);
    await watched.begun();
    await eventually("all are told", () => watched.now.size === 4);
    const told = watched.data.length;
    for (const mode of ["add", "replace"] as const) {
      expect(await revisionsOf(etcd, () => world.resource.export(list, { mode }))).toBe(0);
      const again = await world.resource.export(list, { mode });
      expect(again).toMatchObject({ changed: false, deleted: [] });
      expect(again.items.map(({ changed }) => changed)).toEqual([false, false, false, false]);
    }
    const one = await world.resource.export(list.with(1, item("a", "new")));
    expect(one.items.map(({ changed }) => changed)).toEqual([false, true, false, false]);
    const deleted = await world.resource.delete([item("a"), item("none")]);
    expect(deleted.items).toEqual([
      { kind: "k", name: "a", changed: true },
      { kind: "k", name: "none", changed: false },
    ]);
    await eventually("it is told", () => watched.now.size === 3);
    expect(watched.data.slice(told).map(({ kind }) => kind)).toEqual(["changes", "changes"]);
    expect(watched.wrong).toEqual([]);
  });

  test("are filtered by kind, name and host, and by several filters of which one has to fit", async () => {
    const world = await open();
    const keys = keysOf(world).exported;
    for (const from of ["h1", "h2"]) {
      for (const kind of ["file", "user"]) {
        for (const name of ["a", "b"]) await putRaw(etcd, keys.key({ to: undefined, from, kind, name }), "v");
      }
    }
    const collected = async (filters: Parameters<World["resource"]["collect"]>[0]): Promise<string[]> =>
      (await world.resource.collect(filters, fresh)).items.map(({ kind, name, host }) => `${kind} ${name} ${host}`);
    expect(await collected(undefined)).toHaveLength(8);
    expect(await collected({})).toHaveLength(8);
    expect(await collected({ kind: "file" })).toEqual(["file a h1", "file a h2", "file b h1", "file b h2"]);
    expect(await collected({ name: "b", host: "h2" })).toEqual(["file b h2", "user b h2"]);
    expect(
      await collected([
        { kind: "file", name: "a" },
        { host: "h2", kind: "user", name: "b" },
      ]),
    ).toEqual([...["file a h1", "file a h2"], "user b h2"]);
    expect(await collected([{ host: "h1", kind: "user" }, { host: "h1" }])).toHaveLength(4);
    expect(await collected([])).toEqual([]);
    expect(await collected({ kind: "fil" })).toEqual([]);
    for (const bad of [{ kin: "x" }, { kind: 1 }] as unknown as { kind: string }[]) {
      await expect(world.resource.collect(bad)).rejects.toMatchObject({ code: "INVALID_OPTION" });
      const failed = watchedList(world.resource.watch(bad), idOf);
      await eventually("it has failed", () => failed.isOver);
      expect(failed.failure).toMatchObject({ code: "INVALID_OPTION" });
    }
  });

  test("that do not fit a watch make no event of it, and those that come to fit do", async () => {
    const world = await open();
    const watched = watchedList(world.resource.watch([{ kind: "file", host: "h2" }, { name: "wanted" }]), idOf);
    const nothing = watchedList(world.resource.watch([]), idOf);
    await Promise.all([watched.begun(), nothing.begun()]);
    const keys = keysOf(world).exported;
    const put = (to: string | undefined, from: string, kind: string, name: string): Promise<number> =>
      putRaw(etcd, keys.key({ to, from, kind, name }), "v");
    await put(undefined, "h2", "user", "a");
    await put("h3", "h2", "file", "for another host");
    await put(undefined, "h1", "file", "a");
    await put("h1", "h2", "file", "a");
    await put(undefined, "h3", "other", "wanted");
    await deleteRaw(etcd, keys.key({ to: undefined, from: "h2", kind: "user", name: "a" }));
    await deleteRaw(etcd, keys.key({ to: "h1", from: "h2", kind: "file", name: "a" }));
    await eventually("they are told", () => watched.data.length === 4);
    expect(watched.data.slice(1).map((event) => (event.kind === "changes" ? event.changes.map(({ type }) => type) : []))).toEqual(
      [["set"], ["set"], ["deleted"]],
    );
    expect([...watched.now.values()]).toMatchObject([{ kind: "other", name: "wanted", host: "h3" }]);
    expect(nothing.data).toHaveLength(1);
    expect([...watched.wrong, ...nothing.wrong]).toEqual([]);
  });

  test("that nobody can read are passed over and counted; their neighbours are read", async () => {
    const world = await open();
    const keys = keysOf(world).exported;
    await putRaw(etcd, `${world.namespace}/exported/*/h2/k`, "too short");
    await putRaw(etcd, `${world.namespace}/exported/*/h2/k/n/more`, "too long");
    await putRaw(etcd, `${world.namespace}/exported/*/h2/k/%zz`, "not encoded");
    await putRaw(etcd, badKey(`${world.namespace}/exported/*/h2/k/`), "v");
    await putRaw(etcd, keys.key({ to: undefined, from: "h2", kind: "k", name: "bad" }), notText);
    await putRaw(etcd, keys.key({ to: undefined, from: "h2", kind: "k", name: "good" }), "v");
    expect(await namesIn(world)).toEqual(["good"]);
    expect(world.status.malformed.count).toBe(5);
    expect(world.status.malformed.examples.every(({ key, why }) => key !== "" && why !== "")).toBe(true);
    expect(await world.resource.export([item("own")], { mode: "replace" })).toMatchObject({ changed: true, deleted: [] });
    expect(await namesIn(world)).toEqual(["good", "own"]);
  });

  test("that two hosts change together are never collected torn", async () => {
    const world = await open();
    const writer = await worldOf(etcd, { replica: false, namespace: world.namespace, hostname: "h2" });
    const stop = new AbortController();
    const writing = (async () => {
      for (let n = 0; !stop.signal.aborted; n++) {
        const value = String(n);
        await writer.batch((b) => b.resource.export([item("a", value), item("b", value, { to: "h1" })]), { atomic: true });
      }
    })();
    const seen = new Set<string>();
    await eventually("enough were seen", async () => {
      for (const read of ["session", "linearizable", "direct"] as const) {
        const { items, revision } = await world.resource.collect({}, { read, timeoutMs: 20_000 });
        const values = new Set(items.map(({ value }) => value));
        expect(values.size, JSON.stringify({ items, revision, read })).toBe(items.length === 0 ? 0 : 1);
        for (const value of values) seen.add(value);
      }
      return seen.size > 30;
    });
    stop.abort();
    await writing;
  });
});

describe("to", () => {
  test("three hosts collect and are told what is for them and for everyone, and nothing else", async () => {
    const [h1, h2, h3] = (await hosts("h1", "h2", "h3")) as [World, World, World];
    const watches = [h1, h2, h3].map((world) => watchedList(world.resource.watch(), idOf));
    await Promise.all(watches.map((watched) => watched.begun()));
    await h1.resource.export([item("all"), item("for h2", "v", { to: "h2" })]);
    await h2.resource.export([item("for h3", "v", { to: "h3" }), item("for h2", "own", { to: "h2" })]);
    expect(await namesIn(h1)).toEqual(["all"]);
    expect(await namesIn(h2)).toEqual(["all", "for h2", "for h2"]);
    expect(await namesIn(h3)).toEqual(["all", "for h3"]);
    await eventually("all are told", () => watches.map(({ now }) => now.size).join() === "1,3,2");
    expect(watches.flatMap(({ wrong }) => wrong)).toEqual([]);
    // A resource of another host stays, also of the same name.
    await h1.resource.delete([item("for h2", "", { to: "h2" }), item("for h3", "", { to: "h3" })]);
    expect(await namesIn(h2)).toEqual(["all", "for h2"]);
    expect(await namesIn(h3)).toEqual(["all", "for h3"]);
  });

  test("the same kind and name of several hosts is a conflict, which is told as data; of one host it is none", async () => {
    const [h1, h2, h3] = (await hosts("h1", "h2", "h3")) as [World, World, World];
    await h1.resource.export([item("x", "1"), item("own", "1"), item("own", "2", { to: "h1" })]);
    await h3.resource.export([item("x", "3"), item("y", "3"), item("z", "3", { to: "h2" })]);
    await h2.resource.export([item("x", "2"), item("y", "2"), item("z", "2")]);
    const told = async (world: World, filters = {}): Promise<unknown> =>
      (await world.resource.conflicts(filters, fresh)).conflicts.map(({ kind, name, items }) => [
        kind,
        name,
        items.map(({ host, value }) => `${host} ${value}`),
      ]);
    expect(await told(h1)).toEqual([
      ["k", "x", ["h1 1", "h2 2", "h3 3"]],
      ["k", "y", ["h2 2", "h3 3"]],
    ]);
    expect(await told(h2, { name: "z" })).toEqual([["k", "z", ["h2 2", "h3 3"]]]);
    expect(await told(h1, { host: "h2" })).toEqual([]);
  });
});

describe("replace", () => {
  const replace = (world: World, scope: string | undefined, ...list: Exported[]) =>
    world.resource.export(list, { mode: "replace", ...(scope === undefined ? {} : { scope }) });

  test("makes disappear what an earlier life of the program exported in the scope, and leaves other scopes and hosts alone", async () => {
    const [h1, h2] = (await hosts("h1", "h2")) as [World, World];
    await replace(h1, undefined, item("default a"), item("default b", "v", { to: "h2" }));
    await replace(h1, "web", item("web a"), item("web b"));
    await h1.resource.export([item("web c")], { scope: "web" });
    await replace(h2, "web", item("web of h2"));
    await replace(h2, undefined, item("default of h2"));
    await h1.close();
    const again = await worldOf(etcd, { replica: false, namespace: h1.namespace, hostname: "h1" });
    const done = await replace(again, "web", item("web b"), item("web d"));
    expect(done.items.map(({ changed }) => changed)).toEqual([false, true]);
    expect(done.deleted.map(({ name }) => name).sort()).toEqual(["web a", "web c"]);
    const left = ["default a", "default of h2", "web b", "web d", "web of h2"];
    expect(await namesIn(again)).toEqual(left);
    expect(await replace(again, undefined)).toMatchObject({
      changed: true,
      items: [],
      deleted: expect.arrayContaining([
        { kind: "k", name: "default a" },
        { kind: "k", name: "default b", to: "h2" },
      ]) as unknown,
    });
    expect(await namesIn(again)).toEqual(["default of h2", "web b", "web d", "web of h2"]);
    expect(await namesIn(h2)).toEqual(["default of h2", "web b", "web d", "web of h2"]);
    expect(await replace(again, "never used")).toMatchObject({ changed: false, deleted: [] });
    await replace(again, "web");
    expect(await namesIn(again)).toEqual(["default of h2", "web of h2"]);
    // Nor does anything stay behind of the scopes.
    const scopes = keysOf(again).scopes;
    expect((await etcd.client.range({ start: scopes.under("h1").start, end: scopes.under("h1").end })).entries).toEqual([]);
  });

  test.each([
    ["web", "db"],
    ["web", undefined],
    [undefined, "web"],
  ])("a resource that moves from scope %s to %s goes with the new one", async (from, to) => {
    const [world] = (await hosts("h1")) as [World];
    await replace(world, from, item("moves"));
    const watched = watchedList(world.resource.watch(), idOf);
    await watched.begun();
    const moved = await replace(world, to, item("moves"));
    expect(moved.items.map(({ changed }) => changed)).toEqual([false]);
    expect(await replace(world, from)).toMatchObject({ changed: false, deleted: [] });
    expect(await namesIn(world)).toEqual(["moves"]);
    expect(watched.data, "the resource itself has not changed").toHaveLength(1);
    expect(await replace(world, to)).toMatchObject({ changed: true, deleted: [{ kind: "k", name: "moves" }] });
    expect(await namesIn(world)).toEqual([]);
  });

  test("at the same time in two scopes and by two hosts touches nothing of the others", async () => {
    const [h1, h2] = (await hosts("h1", "h2")) as [World, World];
    for (let round = 0; round < 5; round++) {
      await Promise.all([
        ...["a", "b", undefined].map((scope) => replace(h1, scope, item(`${scope} ${round}`), item(`${scope} stays`))),
        replace(h2, "a", item(`h2 ${round}`)),
      ]);
    }
    const last = ["a", "b", "undefined"].flatMap((scope) => [`${scope} 4`, `${scope} stays`]);
    expect(await namesIn(h1)).toEqual([...last, "h2 4"].sort());
  });

  test("of 20 exports of one resource at once leaves one of the values, whole", async () => {
    const [world] = (await hosts("h1")) as [World];
    await Promise.all(Array.from({ length: 20 }, (_, i) => replace(world, `s${i}`, item("one", String(i)))));
    const { items } = await world.resource.collect(undefined, fresh);
    expect(items).toHaveLength(1);
    expect(Number(items[0]!.value)).toBeLessThan(20);
    for (let i = 0; i < 20; i++) if (String(i) !== items[0]!.value) expect((await replace(world, `s${i}`)).changed).toBe(false);
    expect((await replace(world, `s${items[0]!.value}`)).deleted).toHaveLength(1);
  });
});

describe("leases, fences and conditions", () => {
  test("what is exported on the World's session goes with the World, on a TTL by itself, and anything else stays", async () => {
    const [h1, h2] = (await hosts("h1", "h2")) as [World, World];
    await h1.resource.export([item("with the session")], { lease: "session", scope: "s" });
    await h1.resource.export([item("for 2 s")], { lease: { ttl: 2 } });
    await h1.resource.export([item("for ever")]);
    expect((await h2.resource.collect(undefined, fresh)).items.map(({ name, leased }) => [name, leased])).toEqual([
      ["for 2 s", true],
      ["for ever", false],
      ["with the session", true],
    ]);
    await h1.close();
    await eventually("they are gone", async () => (await namesIn(h2)).join() === "for ever");
  });

  test("a list that takes the place of others says that it is written, where the lock was lost before those were deleted", async () => {
    const world = await worldOf(etcd);
    await world.resource.export([item("kept"), item("old")], { mode: "replace" });
    await using lock = await world.lock("replacing");
    // It holds for as many looks as writing the list takes, and is lost then.
    let asked = 0;
    let held = Infinity;
    const check = (): void => {
      if (asked++ >= held) throw new WorldError("LOCK_LOST", "Cannot hold the lock: it is gone");
    };
    const fence = { key: lock.key, revision: lock.revision, check };
    await world.resource.export([item("kept"), item("new", "0")], { fence });
    [held, asked] = [asked, 0];
    const replacing = world.resource.export([item("kept"), item("new")], { fence, mode: "replace" });
    await expect(replacing).rejects.toMatchObject({ code: "LOCK_LOST", outcome: "applied", message: /the list is written/ });
    const { items } = await world.resource.collect();
    expect(items.map(({ name, value }) => [name, value])).toEqual(["kept", "new", "old"].map((name) => [name, item(name).value]));
  });

  test("nothing is deleted in the place of others with a lock that etcd knows to be gone", async () => {
    const world = await worldOf(etcd);
    await world.resource.export([item("old")], { mode: "replace" });
    const lock = await world.lock("deleting");
    const fence = { key: lock.key, revision: lock.revision, check: () => undefined };
    await lock.release();
    const replacing = world.resource.export([], { fence, mode: "replace" });
    await expect(replacing).rejects.toMatchObject({ code: "FENCED", outcome: "none" });
    expect((await world.resource.collect()).items).toHaveLength(1);
  });

  test("export and delete with a fence fail with FENCED once the lock has passed on", async () => {
    const [world] = (await hosts("h1")) as [World];
    const lock = await world.lock("exports");
    expect(await world.resource.export([item("a")], { fence: lock })).toMatchObject({ changed: true });
    const fence = { key: lock.key, revision: lock.revision, check: () => undefined };
    await lock.release();
    const refused = { code: "FENCED", outcome: "none" };
    await expect(world.resource.export([item("a"), item("b")], { fence })).rejects.toMatchObject(refused);
    await expect(world.resource.export([item("c")], { fence, mode: "replace" })).rejects.toMatchObject(refused);
    await expect(world.resource.delete([item("a")], { fence })).rejects.toMatchObject(refused);
    expect(await namesIn(world)).toEqual(["a"]);
  });

  test("delete of another revision fails with CONFLICT", async () => {
    const [world] = (await hosts("h1")) as [World];
    await world.resource.export([item("a", "1")]);
    const [first] = (await world.resource.collect(undefined, fresh)).items;
    await world.resource.export([item("a", "2")]);
    const ifRevision = first!.modRevision;
    await expect(world.resource.delete([item("a")], { ifRevision })).rejects.toMatchObject({ code: "CONFLICT", outcome: "none" });
    const [second] = (await world.resource.collect(undefined, fresh)).items;
    expect(await world.resource.delete([item("a")], { ifRevision: second!.modRevision })).toMatchObject({ changed: true });
  });

  test.each<[string, readonly unknown[], object, string]>([
    ["twice in the list", [item("a"), item("a", "other")], {}, "INVALID_OPTION"],
    ["twice for one host", [item("a", "1", { to: "h2" }), item("a", "2", { to: "h2" })], {}, "INVALID_OPTION"],
    ["an empty kind", [item("a", "v", { kind: "" })], {}, "INVALID_NAME"],
    ["an empty name", [item("")], {}, "INVALID_NAME"],
    ["half a surrogate pair", [item("\ud800")], {}, "INVALID_NAME"],
    ["a name beyond the key", [item("x".repeat(2_000))], {}, "NAME_TOO_LONG"],
    ["no host name", [item("a", "v", { to: "a/b" })], {}, "INVALID_NAME"],
    ["a value that is none", [{ kind: "k", name: "a", value: 1 }], {}, "INVALID_VALUE"],
    ["a value of more than 1 MiB", [item("a", "x".repeat(1024 * 1024 + 1))], {}, "TOO_LARGE"],
    ["an empty scope", [item("a")], { scope: "" }, "INVALID_OPTION"],
    ["an unknown mode", [item("a")], { mode: "merge" }, "INVALID_OPTION"],
    ["a lease that is none", [item("a")], { lease: "for ever" }, "INVALID_OPTION"],
    ["a fence that is none", [item("a")], { fence: {} }, "INVALID_OPTION"],
  ])("refuses %s before anything is written", async (_, list, options, code) => {
    const [world] = (await hosts("h1")) as [World];
    const call = world.resource.export([item("fine"), ...list] as Exported[], options);
    await expect(call).rejects.toMatchObject({ code, outcome: "none" });
    expect(await namesIn(world)).toEqual([]);
  });

  test("kinds and names of any Unicode come back as they were, and cross no levels", async () => {
    const [world] = (await hosts("h1")) as [World];
    const name = fc
      .oneof(
        fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }),
        fc.string({ unit: "binary", minLength: 1, maxLength: 20 }),
        fc.constantFrom("a/b", "/", "*", "%", "%2F", "..", " ", "\n", "\u0000", "ü/%/ 😀", "h1/k/n"),
      )
      .filter((text) => !text.includes("\ufffd"));
    const one = fc.record({ kind: name, name, value: fc.string({ unit: "grapheme" }) });
    const lists = fc.uniqueArray(one, { selector: ({ kind, name }) => JSON.stringify([kind, name]), maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(lists, async (list) => {
        await world.resource.export(list, { mode: "replace", scope: "property" });
        const { items } = await world.resource.collect();
        const plain = items.map(({ kind, name, value }) => ({ kind, name, value }));
        const order = (a: Exported, b: Exported): number =>
          a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.name < b.name ? -1 : 1;
        expect(plain).toEqual([...list].sort(order));
      }),
      { numRuns: 60 },
    );
    expect(world.status.malformed.count).toBe(0);
  });
});

describe.each([
  { ops: "etcd's default operations", flags: [], some: ways },
  { ops: "512 operations", flags: ["--max-txn-ops=512"], some: ways.slice(0, 1) },
])("10,000 resources, with $ops in one transaction", ({ flags, some }) => {
  const all = 10_000;
  const list = (from: number, value: string): Exported[] =>
    Array.from({ length: all }, (_, i) => item(`n${String(from + i).padStart(5, "0")}`, `${value} ${from + i}`));
  let own: WorldEtcd;
  beforeAll(async () => {
    own = await etcdOfWorlds(flags);
  });
  afterAll(() => own[Symbol.asyncDispose]());

  test.each(some)("$way are exported in one call, and replaced by others of which half are the same", async ({ replica }) => {
    const world = await worldOf(own, { replica });
    const patience = { timeoutMs: 30_000 };
    const first = await world.resource.export(list(0, "v"), { mode: "replace", ...patience });
    expect(first.items.every(({ changed }) => changed)).toBe(true);
    const collected = await world.resource.collect(undefined, patience);
    expect(collected.items).toHaveLength(all);
    expect(collected.items.every(({ name, value }, i) => name.endsWith(String(i)) && value === `v ${i}`)).toBe(true);
    const second = await world.resource.export(list(all / 2, "v"), { mode: "replace", ...patience });
    expect(second.items.filter(({ changed }) => changed)).toHaveLength(all / 2);
    expect(second.deleted).toHaveLength(all / 2);
    const again = await world.resource.collect(undefined, patience);
    expect(again.items.map(({ name }) => name)).toEqual(list(all / 2, "v").map(({ name }) => name));
    expect(await revisionsOf(own, () => world.resource.export(list(all / 2, "v"), { mode: "replace", ...patience }))).toBe(0);
    await world.resource.export([], { mode: "replace", ...patience });
    expect((await world.resource.collect(undefined, patience)).items).toEqual([]);
  });
});

describe("many resources", () => {
  // Enough for many transactions: it is about what is between two of them.
  const some = 2_000;
  const list = Array.from({ length: some }, (_, i) => item(`n${i}`));
  let own: WorldEtcd;
  beforeAll(async () => {
    own = await etcdOfWorlds();
  });
  afterAll(() => own[Symbol.asyncDispose]());

  test.each<[string, (world: World, lockKey: string) => Promise<unknown>]>([
    ["the fence is lost", (_, lockKey) => deleteRaw(own, lockKey)],
    ["etcd goes", async () => own.gone()],
  ])("a call in whose middle %s says that its outcome is unknown, and the same again completes it", async (_, interrupt) => {
    const world = await worldOf(own, { replica: false });
    const lock = await world.lock("exports");
    const fence = { key: lock.key, revision: lock.revision, check: () => undefined };
    const keys = keysOf(world).exported;
    const exporting = world.resource.export(list, { fence, timeoutMs: 30_000 }).then(
      () => undefined,
      (error: unknown) => error,
    );
    await eventually(
      "the first are there",
      async () => {
        const { entries } = await own.client.range({ start: keys.start, end: keys.end }, { limit: 1, timeoutMs: 30_000 });
        return entries.length > 0;
      },
      30_000,
    );
    await interrupt(world, lock.key);
    const error = await exporting;
    expect(error).toMatchObject({ outcome: "unknown", data: { all: some } });
    expect((error as Error).message).toMatch(/^Cannot export 2000 resources: [0-9]+ of 2000 are known to be written, and then /);
    own.back();
    const done = await world.resource.export(list, { timeoutMs: 30_000 });
    expect(done.items.some(({ changed }) => changed)).toBe(true);
    expect(done.items.some(({ changed }) => !changed)).toBe(true);
    expect((await world.resource.collect(undefined, fresh)).items).toHaveLength(some);
  });
});

test("a World of the machine's own name exports under it", async () => {
  const world = await openWorld({ seeds: [etcd.proxy.url], namespace: freshNamespace(), replica: false });
  onTestFinished(() => world.close());
  await world.resource.export([item("a")]);
  expect((await world.resource.collect(undefined, fresh)).items).toMatchObject([{ host: world.hostname }]);
});
