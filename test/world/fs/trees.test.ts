import { createHash } from "node:crypto";
import * as system from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { FsConflict, FsError, WorldError } from "../../../src/world/index.ts";
import type { Fs, FsEvent, FsWatchEvent, World } from "../../../src/world/index.ts";
import { Random } from "../../support/random.ts";
import { etcdOfWorlds, eventually, freshNamespace, temporaryFolder, worldOf } from "../fixture.ts";
import type { WorldEtcd } from "../fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

const open = (): Promise<World> => worldOf(etcd, { replica: false });

const kinds: readonly (readonly [string, () => Promise<string>])[] = [
  ["file://", async () => pathToFileURL(await temporaryFolder()).href],
  ["memory://", async () => "memory://site"],
  ["etcdfs://", async () => "etcdfs:///fs/site"],
];

/** What a call fails with. */
async function failure(call: Promise<unknown>): Promise<unknown> {
  return await call.then(
    (given) => {
      throw new Error(`it succeeded with ${JSON.stringify(given)}`);
    },
    (error: unknown) => error,
  );
}

/** All files of a tree, with what is in them. */
async function filesOf(fs: Pick<Fs, "readdir" | "readFile" | "readlink">): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const one of await fs.readdir("/", { recursive: true, withFileTypes: true })) {
    const path = `${one.parentPath === "/" ? "" : one.parentPath}/${one.name}`;
    if (one.isFile()) found[path] = await fs.readFile(path, "utf8");
    else found[path] = one.isSymbolicLink() ? `-> ${await fs.readlink(path)}` : "folder";
  }
  return found;
}

/** Collects events until the test is over. */
function collect<E>(events: AsyncIterable<E>): { readonly all: E[]; readonly failure: () => unknown } {
  const all: E[] = [];
  let failed: unknown;
  const iterator = events[Symbol.asyncIterator]();
  onTestFinished(async () => {
    await iterator.return?.();
  });
  void (async () => {
    try {
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) all.push(next.value);
    } catch (error) {
      failed = error;
    }
  })();
  return { all, failure: () => failed };
}

describe.each(kinds)("a tree of %s", (_, uriOf) => {
  const site = async (): Promise<Fs> => (await open()).fs(await uriOf());

  test("a transaction is all of what it does, or nothing where it throws", async () => {
    const fs = await site();
    await fs.writeFile("/motd", "hello");
    const done = await fs.transaction(async (tx) => {
      const text = await tx.readFile("/motd", "utf8");
      await tx.mkdir("/conf");
      await tx.writeFile("/conf/motd", text.toUpperCase());
      await tx.rm("/motd");
      expect(await fs.readFile("/motd", "utf8")).toBe("hello");
      return "result";
    });
    expect(done).toMatchObject({ changed: true, result: "result", root: await fs.root() });
    expect(await filesOf(fs)).toEqual({ "/conf": "folder", "/conf/motd": "HELLO" });
    const thrown = new Error("enough");
    const failed = fs.transaction(async (tx) => {
      await tx.rm("/conf", { recursive: true });
      throw thrown;
    });
    expect(await failure(failed)).toBe(thrown);
    expect(await filesOf(fs)).toEqual({ "/conf": "folder", "/conf/motd": "HELLO" });
    expect(await fs.transaction(async () => undefined)).toMatchObject({ changed: false, root: await fs.root() });
  });

  test("a handle that a transaction leaves open is closed with it, and its calls come to nothing afterwards", async () => {
    const fs = await site();
    const { result } = await fs.transaction(async (tx) => {
      const handle = await tx.open("/f", "w");
      await handle.write("left open");
      return { tx, handle };
    });
    expect(await fs.readFile("/f", "utf8")).toBe("left open");
    expect(await failure(result.tx.writeFile("/f", "late"))).toMatchObject({ code: "CLOSED" });
    await result.handle.close();
    expect(await fs.readFile("/f", "utf8")).toBe("left open");
  });

  test("what somebody else did meanwhile stays, and the same path changed by both is an error that names both versions", async () => {
    const fs = await site();
    await fs.writeFile("/a", "a");
    await fs.writeFile("/b", "b");
    await fs.transaction(async (tx) => {
      await tx.writeFile("/a", "mine");
      await fs.writeFile("/b", "theirs");
      await fs.writeFile("/c", "theirs too");
    });
    expect(await filesOf(fs)).toEqual({ "/a": "mine", "/b": "theirs", "/c": "theirs too" });
    const conflict = await failure(
      fs.transaction(async (tx) => {
        await tx.writeFile("/a", "ours");
        await tx.writeFile("/new", "never");
        await fs.writeFile("/a", "theirs");
      }),
    );
    expect(conflict).toBeInstanceOf(FsConflict);
    const hash = (text: string): string => createHash("sha256").update(text).digest("hex");
    expect(conflict).toMatchObject({
      code: "CONFLICT",
      path: "/a",
      base: { kind: "file", size: 4, hash: hash("mine") },
      ours: { kind: "file", size: 4, hash: hash("ours") },
      theirs: { kind: "file", size: 6, hash: hash("theirs") },
    });
    expect(await filesOf(fs)).toEqual({ "/a": "theirs", "/b": "theirs", "/c": "theirs too" });
  });

  test("a folder is uploaded and downloaded whole, with links and permissions, and again only what has changed", async () => {
    const fs = await site();
    const from = await temporaryFolder();
    await system.mkdir(join(from, "conf/empty"), { recursive: true });
    await system.writeFile(join(from, "conf/motd"), "hello");
    await system.writeFile(join(from, "run.sh"), "#!/bin/sh\n", { mode: 0o755 });
    await system.writeFile(join(from, "big"), Buffer.alloc(700_000, "x"));
    await system.symlink("conf/motd", join(from, "link"));
    const told: number[] = [];
    const first = await fs.upload(from, { onProgress: ({ bytes }) => told.push(bytes) });
    expect(first).toMatchObject({ changed: true, files: 3, folders: 2, links: 1, bytes: 700_015, deleted: 0 });
    expect(told.length).toBe(3);
    expect(told.at(-1)).toBe(700_015);
    expect((await fs.stat("/run.sh")).mode & 0o777).toBe(0o755);

    const to = join(await temporaryFolder(), "made");
    expect(await fs.download(to)).toMatchObject({ files: 3, folders: 2, links: 1, bytes: 700_015, moved: 700_015 });
    expect(await system.readFile(join(to, "link"), "utf8")).toBe("hello");
    expect((await system.stat(join(to, "run.sh"))).mode & 0o777).toBe(0o755);
    expect(await system.readdir(join(to, "conf/empty"))).toEqual([]);
    expect(await fs.download(to)).toMatchObject({ files: 3, moved: 0 });

    expect(await fs.upload(from)).toMatchObject({ changed: false, moved: 0, root: first.root });
    await system.writeFile(join(from, "conf/motd"), "other");
    await system.rm(join(from, "run.sh"));
    expect(await fs.upload(from)).toMatchObject({ changed: true, moved: 5, deleted: 0 });
    expect((await fs.readdir("/")).sort()).toEqual(["big", "conf", "link", "run.sh"]);
    expect(await fs.upload(from, { mirror: true })).toMatchObject({ changed: true, moved: 0, deleted: 1 });
    expect((await fs.readdir("/")).sort()).toEqual(["big", "conf", "link"]);
    await system.writeFile(join(to, "extra"), "x");
    expect(await fs.download(to, { mirror: true })).toMatchObject({ deleted: 2, moved: 5 });
    expect((await system.readdir(to)).sort()).toEqual(["big", "conf", "link"]);
  });

  test("a part of a tree is uploaded to, and downloaded from", async () => {
    const fs = await site();
    const from = await temporaryFolder();
    await system.writeFile(join(from, "motd"), "hello");
    await fs.writeFile("/keep", "kept");
    await fs.upload(from, { path: "/a/b", mirror: true });
    expect(await filesOf(fs)).toEqual({ "/a": "folder", "/a/b": "folder", "/a/b/motd": "hello", "/keep": "kept" });
    const to = await temporaryFolder();
    await fs.download(to, { path: "/a" });
    expect(await system.readFile(join(to, "b/motd"), "utf8")).toBe("hello");
    expect(await failure(fs.download(to, { path: "/none" }))).toMatchObject({ code: "ENOENT", path: "/none" });
    expect(await failure(fs.upload(join(from, "none")))).toMatchObject({ code: "ENOENT" });
  });

  test("a download goes through no link that lies in its way", async () => {
    const fs = await site();
    await fs.mkdir("/conf");
    await fs.writeFile("/conf/motd", "hello");
    const [to, elsewhere] = [await temporaryFolder(), await temporaryFolder()];
    await system.symlink(elsewhere, join(to, "conf"));
    await fs.download(to);
    expect(await system.readdir(elsewhere)).toEqual([]);
    expect(await system.readFile(join(to, "conf/motd"), "utf8")).toBe("hello");
  });

  test("a snapshot stays as it was, and tells what differs from it", async () => {
    const fs = await site();
    await fs.mkdir("/conf");
    await fs.writeFile("/conf/motd", "hello");
    await fs.writeFile("/gone", "x");
    await using snapshot = await fs.snapshot();
    expect(snapshot.root).toBe(await fs.root());
    await fs.writeFile("/conf/motd", "changed");
    await fs.rm("/gone");
    await fs.writeFile("/conf/new", "new");
    expect(await snapshot.readFile("/conf/motd", "utf8")).toBe("hello");
    expect(await snapshot.readdir("/", { recursive: true })).toEqual(["conf", "conf/motd", "gone"]);
    expect(await failure(snapshot.readFile("/conf/motd", { flag: "w+" }))).toMatchObject({ code: "EROFS", path: "/conf/motd" });
    const to = await temporaryFolder();
    await snapshot.download(to);
    expect(await system.readFile(join(to, "conf/motd"), "utf8")).toBe("hello");
    let text = "";
    for await (const piece of snapshot.createReadStream("/conf/motd", { encoding: "utf8" })) text += String(piece);
    expect(text).toBe("hello");
  });

  test("every change is told by its paths, in order, beginning with the root as it was", async () => {
    const fs = await site();
    await fs.writeFile("/motd", "hello");
    const { all, failure: failed } = collect<FsEvent>(fs.changes());
    const seen = (): readonly string[] =>
      all.flatMap((event) => ("changes" in event ? event.changes.map(({ path, type }) => `${type} ${path}`) : []));
    await eventually("the snapshot and the state", () => all.length >= 2);
    expect(all[0]).toMatchObject({ kind: "snapshot", root: await fs.root() });
    expect(all[1]).toMatchObject({ kind: "state", live: true });
    await fs.transaction(async (tx) => {
      await tx.mkdir("/conf");
      await tx.writeFile("/conf/motd", "new");
      await tx.writeFile("/motd", "changed");
    });
    await eventually("what was changed at once", () => seen().length >= 3);
    await fs.rm("/conf", { recursive: true });
    await eventually("what was removed", () => seen().length >= 5);
    expect([...seen()].slice(0, 3).sort()).toEqual(["added /conf", "added /conf/motd", "changed /motd"]);
    expect([...seen()].slice(3).sort()).toEqual(["deleted /conf", "deleted /conf/motd"]);
    const last = all.filter((event) => event.kind === "changes").at(-1);
    expect(last).toMatchObject({ root: await fs.root() });
    expect(failed()).toBeUndefined();
  });

  test("a watch tells names as that of Node does, of one folder or of all below it", async () => {
    const fs = await site();
    await fs.mkdir("/conf/deep", { recursive: true });
    expect(await failure(fs.watch("/none")[Symbol.asyncIterator]().next())).toMatchObject({ code: "ENOENT", syscall: "watch" });
    const flat = collect<FsWatchEvent>(fs.watch("/conf"));
    const deep = collect<FsWatchEvent>(fs.watch("/conf", { recursive: true }));
    let probes = 0;
    const begun = async (): Promise<boolean> => {
      await fs.writeFile("/conf/probe", `${++probes}`);
      return flat.all.length > 0 && deep.all.length > 0;
    };
    await eventually("both watches have begun", begun);
    await fs.writeFile("/conf/deep/motd", "x");
    await fs.writeFile("/elsewhere", "x");
    await fs.rm("/conf/probe");
    const names = (one: { readonly all: FsWatchEvent[] }): string[] =>
      one.all.map(({ eventType, filename }) => `${eventType} ${filename}`);
    await eventually("the end is told", () => names(flat).at(-1) === "rename probe" && names(deep).includes("rename deep/motd"));
    expect(names(flat).filter((name) => !name.endsWith(" probe"))).toEqual([]);
    expect(names(deep).filter((name) => !name.endsWith(" probe"))).toEqual(["rename deep/motd"]);
  });

  test("a stream that is destroyed before its end leaves no half of a file in a tree", async () => {
    const fs = await site();
    await fs.writeFile("/f", "before");
    const broken = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from("half");
      throw new Error("the source broke");
    };
    expect(await failure(pipeline(broken, fs.createWriteStream("/f")))).toMatchObject({ message: "the source broke" });
    expect(["before", "", "half"]).toContain(await fs.readFile("/f", "utf8"));
    if (!fs.uri.startsWith("file:")) expect(await fs.readFile("/f", "utf8")).toBe("before");
    const big = Buffer.alloc(3_000_000, "z");
    await pipeline([big.subarray(0, 1_000_000), big.subarray(1_000_000)], fs.createWriteStream("/f"));
    expect((await fs.readFile("/f")).equals(big)).toBe(true);
  });

  test("an aborted call says so", async () => {
    const fs = await site();
    const signal = AbortSignal.abort();
    expect(await failure(fs.readFile("/f", { signal }))).toMatchObject({ code: "ABORTED" });
    expect(await failure(fs.writeFile("/f", "x", { signal }))).toMatchObject({ code: "ABORTED" });
    expect(await failure(fs.snapshot({ signal }))).toMatchObject({ code: "ABORTED" });
    expect(await fs.readdir("/")).toEqual([]);
  });

  test("what was asked of a World that is closed fails with CLOSED", async () => {
    const world = await open();
    const fs = world.fs(await uriOf());
    await fs.writeFile("/f", "x");
    await world.close();
    for (const call of [() => fs.readFile("/f"), () => fs.writeFile("/f", "y"), () => fs.root()]) {
      expect(await failure(call())).toMatchObject({ code: "CLOSED" });
    }
  });
});

const shared = kinds.slice(1);

describe.each(shared)("the history of %s", (_, uriOf) => {
  test("has every commit, the newest first, and each can be read", async () => {
    const fs = (await open()).fs(await uriOf());
    expect(await fs.root()).toBeUndefined();
    expect(await fs.log()).toEqual([]);
    for (const text of ["one", "two", "two", "three"]) await fs.writeFile("/motd", text);
    const log = await fs.log();
    expect(log.map(({ generation, by }) => [generation, by])).toEqual([
      [3, "h1"],
      [2, "h1"],
      [1, "h1"],
    ]);
    expect(log.map(({ parent }) => parent)).toEqual([log[1]?.root, log[2]?.root, undefined]);
    expect(log[0]).toMatchObject({ root: await fs.root(), at: expect.stringMatching(/^2\d{3}-.*Z$/) as string });
    expect((await fs.log({ limit: 1 })).length).toBe(1);
    await using first = await fs.at(log[2]!.root);
    expect(await first.readFile("/motd", "utf8")).toBe("one");
    expect(await first.diff(log[0]!.root)).toMatchObject([
      { path: "/motd", type: "changed", before: { size: 3 }, after: { size: 5 } },
    ]);
    expect(await failure(fs.at("0".repeat(64)))).toMatchObject({ code: "ENOENT", syscall: "open" });
    expect(await failure(fs.at(`${"0".repeat(64)}-7`))).toBeInstanceOf(FsError);
  });

  test("what nothing needs is collected, after a dry run has said the same", async () => {
    const fs = (await open()).fs(await uriOf());
    await fs.writeFile("/f", Buffer.alloc(300_000, "f"));
    const dry = await fs.gc({ dryRun: true });
    expect(dry.objects).toBeGreaterThan(0);
    expect(dry.neededObjects + dry.deletedObjects).toBe(dry.objects);
    const done = await fs.gc();
    expect(done).toMatchObject({ deletedObjects: dry.deletedObjects, deletedBytes: dry.deletedBytes });
    expect((await fs.readFile("/f")).length).toBe(300_000);
  });

  test("appends of many at once are all there", async () => {
    const world = await open();
    const fs = world.fs(await uriOf());
    const other = world.fs(fs.uri);
    await Promise.all(Array.from({ length: 12 }, (_unused, i) => (i % 2 === 0 ? fs : other).appendFile("/log", `${i}\n`)));
    const lines = (await fs.readFile("/log", "utf8")).trim().split("\n");
    expect(lines.sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 12 }, (_unused, i) => `${i}`));
    const [one, two] = [await fs.open("/log", "a"), await other.open("/log", "a")];
    await one.write("one\n");
    await two.write("two\n");
    await Promise.all([one.close(), two.close()]);
    expect((await fs.readFile("/log", "utf8")).endsWith("two\n") || (await fs.readFile("/log", "utf8")).endsWith("one\n")).toBe(
      true,
    );
    expect((await fs.readFile("/log", "utf8")).trim().split("\n").length).toBe(14);
  });

  test("of many that make the same file as a new one, one does", async () => {
    const world = await open();
    const trees = [world.fs(await uriOf()), world.fs(await uriOf()), world.fs(await uriOf())];
    const made = await Promise.allSettled(trees.map((fs, i) => fs.writeFile("/lock", `${i}`, { flag: "wx" })));
    expect(made.filter(({ status }) => status === "fulfilled").length).toBe(1);
    for (const one of made) if (one.status === "rejected") expect(one.reason).toMatchObject({ code: "EEXIST" });
  });

  test("a handle that others have written under is told so when it is closed, and loses nothing of theirs", async () => {
    const fs = (await open()).fs(await uriOf());
    await fs.writeFile("/f", "before");
    const handle = await fs.open("/f", "r+");
    await handle.write("mine");
    await fs.writeFile("/f", "theirs");
    expect(await failure(handle.close())).toBeInstanceOf(FsConflict);
    expect(await fs.readFile("/f", "utf8")).toBe("theirs");
    expect(await failure(handle.write("x"))).toMatchObject({ code: "EBADF" });
  });

  test("a handle goes on with the file as it is after each sync", async () => {
    const fs = (await open()).fs(await uriOf());
    const handle = await fs.open("/f", "w+");
    await handle.write("one");
    await handle.sync();
    expect(await fs.readFile("/f", "utf8")).toBe("one");
    await fs.appendFile("/f", "-theirs");
    expect((await handle.stat()).size).toBe(3);
    await handle.sync();
    await handle.write("!", 0);
    await handle.close();
    expect(await fs.readFile("/f", "utf8")).toMatch(/^!ne/);
  });

  test("what is too large is refused as file systems do", async () => {
    const fs = (await open()).fs(await uriOf());
    await using handle = await fs.open("/f", "w");
    expect(await failure(handle.truncate(64 * 1024 * 1024 + 1))).toMatchObject({ code: "EFBIG", syscall: "ftruncate" });
    expect(await failure(handle.write(Buffer.from("x"), 0, 1, 64 * 1024 * 1024))).toMatchObject({
      code: "EFBIG",
      syscall: "write",
    });
    expect(await failure(fs.truncate("/f", 2 ** 40))).toMatchObject({ code: "EFBIG" });
  });
});

describe("a local folder", () => {
  test("is not left: by no path, and by no link in it", async () => {
    const outside = await temporaryFolder();
    await system.writeFile(join(outside, "secret"), "secret");
    const folder = join(outside, "site");
    await system.mkdir(folder);
    const fs = (await open()).fs(pathToFileURL(folder).href);
    await system.symlink("../secret", join(folder, "up"));
    await system.symlink(outside, join(folder, "out"));
    await system.symlink(join(outside, "secret"), join(folder, "absolute"));
    await system.symlink("../made", join(folder, "new"));
    for (const path of ["/../secret", "../secret", "/up", "/out/secret", "/absolute"]) {
      expect(await failure(fs.readFile(path))).toMatchObject({ code: "ENOENT" });
    }
    await fs.writeFile("/new", "x");
    await fs.writeFile("/../beside", "x");
    await fs.rm("/out", { recursive: true });
    expect((await system.readdir(outside)).sort()).toEqual(["secret", "site"]);
    expect((await system.readdir(folder)).sort()).toEqual(["absolute", "beside", "made", "new", "up"]);
  });

  test("has one commit in its history, what it is, and nothing to collect", async () => {
    const fs = (await open()).fs(pathToFileURL(await temporaryFolder()).href);
    await fs.writeFile("/f", "x");
    const log = await fs.log();
    expect(log).toMatchObject([{ root: await fs.root(), parent: undefined, by: "h1" }]);
    await using snapshot = await fs.at(log[0]!.root);
    expect(await snapshot.readFile("/f", "utf8")).toBe("x");
    await fs.writeFile("/f", "y");
    expect(await failure(fs.at(log[0]!.root))).toMatchObject({ code: "ENOENT" });
    expect(await fs.gc()).toMatchObject({ objects: 0, deletedObjects: 0 });
  });

  test("that is not there is empty for none of the calls, and is made by an upload", async () => {
    const fs = (await open()).fs(pathToFileURL(join(await temporaryFolder(), "none")).href);
    expect(await failure(fs.readdir("/"))).toMatchObject({ code: "ENOENT" });
    expect(await failure(fs.writeFile("/f", "x"))).toMatchObject({ code: "ENOENT" });
    expect(await fs.root()).toBeUndefined();
    const from = await temporaryFolder();
    await system.writeFile(join(from, "f"), "x");
    await fs.upload(from);
    expect(await fs.readFile("/f", "utf8")).toBe("x");
  });
});

describe("trees of a World", () => {
  test("are found by their URI, and by that of the World where none is given", async () => {
    const namespace = freshNamespace();
    const world = await worldOf(etcd, { replica: false, namespace });
    expect(world.uri).toBe("etcdfs:///fs/main");
    await world.fs().writeFile("/motd", "hello");
    expect(await world.fs("etcdfs:///fs/main").readFile("/motd", "utf8")).toBe("hello");
    let current = "etcdfs:///fs/deploy/7";
    const other = await worldOf(etcd, { replica: false, namespace, uri: () => current });
    await other.fs().writeFile("/motd", "seven");
    current = "etcdfs:///fs/main";
    expect(other.uri).toBe(current);
    expect(await other.fs().readFile("/motd", "utf8")).toBe("hello");
    expect(await world.fs("etcdfs:///fs/deploy/7").readFile("/motd", "utf8")).toBe("seven");
  });

  test("of different names, Worlds and namespaces are different", async () => {
    const [one, two] = [await open(), await open()];
    await one.fs("memory://a").writeFile("/f", "x");
    await one.fs("etcdfs:///fs/a").writeFile("/f", "x");
    expect(await one.fs("memory://b").readdir("/")).toEqual([]);
    expect(await one.fs("memory://a").readdir("/")).toEqual(["f"]);
    expect(await two.fs("memory://a").readdir("/")).toEqual([]);
    expect(await two.fs("etcdfs:///fs/a").readdir("/")).toEqual([]);
  });

  test.each([
    "site",
    "",
    "http://site",
    "etcdfs://site",
    "etcdfs:///site",
    "etcdfs:///fs/",
    "etcdfs:///fs/../x",
    "etcdfs:///fs/a//b",
    "memory://",
    "memory://%",
    "file://elsewhere/folder",
  ])("are named by no such URI as %j", async (uri) => {
    const world = await open();
    expect(() => world.fs(uri)).toThrow(WorldError);
    expect(() => world.fs(uri)).toThrow(/^Cannot use .* as the URI of a tree: /);
  });

  test("that cannot be reached fail as everything of the World", async () => {
    const world = await open();
    const fs = world.fs("etcdfs:///fs/site");
    await fs.writeFile("/f", "x");
    etcd.gone();
    expect(await failure(fs.root({ timeoutMs: 300 }))).toMatchObject({ code: "DEADLINE" });
    expect(await failure(fs.readFile("/f", { signal: AbortSignal.timeout(300) }))).toBeInstanceOf(WorldError);
    etcd.back();
    expect(await fs.readFile("/f", "utf8")).toBe("x");
  });

  test("a watch of changes goes on through a lost connection, and tells what came after it", async () => {
    const world = await open();
    const fs = world.fs("etcdfs:///fs/site");
    await fs.writeFile("/before", "x");
    const { all, failure: failed } = collect<FsEvent>(fs.changes());
    await eventually("the snapshot and the state", () => all.length >= 2);
    etcd.gone();
    await eventually("the loss is told", () => all.some((event) => event.kind === "state" && !event.live), 30_000);
    etcd.back();
    await eventually(
      "it can be written again",
      async () =>
        fs.writeFile("/after", "x").then(
          () => true,
          () => false,
        ),
      30_000,
    );
    const paths = (): readonly string[] =>
      all.flatMap((event) => ("changes" in event ? event.changes.map(({ path }) => path) : []));
    await eventually("what came after it", () => paths().includes("/after"), 30_000);
    expect(paths()).toEqual(["/after"]);
    expect(failed()).toBeUndefined();
  });

  test("a deploy names a root, which is kept for as long as the deploy is", async () => {
    const world = await open();
    const uri = "etcdfs:///fs/site";
    const fs = world.fs(uri);
    await fs.writeFile("/motd", "first");
    const root = (await fs.root())!;
    const { id } = await world.deploy.add({ payload: "p", tree: { uri, root } });
    expect((await world.deploy.get(id)).deploy).toEqual({ id, hash: undefined, tree: { uri, root }, payload: "p" });
    expect((await world.deploy.list()).deploys).toEqual([{ id, hash: undefined, tree: { uri, root } }]);
    const never = { uri, root: `${"0".repeat(64)}-7` };
    expect(await failure(world.deploy.add({ payload: "p", tree: never }))).toMatchObject({
      code: "CONFLICT",
      data: { reason: "tree" },
    });
    expect(await failure(world.deploy.add({ payload: "p", tree: { uri: "memory://a", root } }))).toMatchObject({
      code: "INVALID_OPTION",
    });
    await world.deploy.add({ payload: "p" });
    await fs.writeFile("/motd", "second");
    await fs.gc();
    await using deployed = await world.fs(uri).at(root);
    expect(await deployed.readFile("/motd", "utf8")).toBe("first");
    expect(await world.deploy.prune({ keep: 1 })).toMatchObject({ deleted: [1] });
    expect((await world.deploy.list()).deploys).toEqual([{ id: 2, hash: undefined, tree: undefined }]);
  });
});

describe("two Worlds on one tree", () => {
  test("lose nothing of one another: every file that a commit has acknowledged is there", async () => {
    const seed = 20_261_129;
    const namespace = freshNamespace();
    const worlds = await Promise.all(["h1", "h2"].map((hostname) => worldOf(etcd, { replica: false, namespace, hostname })));
    const written = new Map<string, string>();
    const conflicts: FsConflict[] = [];
    await Promise.all(
      worlds.map(async (world, n) => {
        const random = new Random(seed + n);
        const fs = world.fs("etcdfs:///fs/site");
        for (let i = 0; i < 25; i++) {
          // Most are of one writer alone; some both write.
          const path = random.chance(0.2) ? `/both${random.between(1, 2)}` : `/${world.hostname}-${random.between(1, 9)}`;
          const text = `${world.hostname} ${i}`;
          try {
            await fs.writeFile(path, text);
            written.set(path, text);
          } catch (error) {
            if (!(error instanceof FsConflict)) throw error;
            expect(error.path, `seed ${seed}`).toBe(path);
            expect(error.theirs, `seed ${seed}`).toBeDefined();
            conflicts.push(error);
          }
        }
      }),
    );
    const there = await filesOf(worlds[0]!.fs("etcdfs:///fs/site"));
    expect(Object.keys(there).sort(), `seed ${seed}`).toEqual([...written.keys()].sort());
    for (const [path, text] of written) if (!path.startsWith("/both")) expect(there[path], `seed ${seed}`).toBe(text);
    for (const [path] of written) if (path.startsWith("/both")) expect(there[path], `seed ${seed}`).toMatch(/^h[12] \d+$/);
  });
});
