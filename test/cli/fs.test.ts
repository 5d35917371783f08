import * as system from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Io } from "../../src/cli/io.ts";
import { systemClock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { quorate, type Said } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { temporaryFolder } from "../support/etcd-server.ts";

let cluster: TestCluster;
let client: EtcdClient;
beforeAll(async () => {
  cluster = await startEtcd(1);
  client = EtcdClient.create({ endpoints: cluster.urls, clock: systemClock });
});
afterAll(async () => {
  await client.close();
  await cluster.stop();
});
beforeEach(async () => {
  await client.txn({ then: [{ del: "/", end: "0" }] });
});

/** `quorate fs ...` on that etcd. */
function fs(argv: string | readonly string[], more: Partial<Io> = {}): Promise<Said> {
  const words = typeof argv === "string" ? argv.split(" ") : argv;
  return quorate(["fs", ...words, `--endpoints=${cluster.urls.join(",")}`], { env: { QUORATE_HOSTNAME: "h1" }, ...more });
}
const json = async (argv: string): Promise<unknown> => {
  const { code, out, err } = await fs(`${argv} -o json`);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return JSON.parse(out);
};
const input = (text: string): Partial<Io> => ({ input: () => Promise.resolve(Buffer.from(text)) });
const anyRoot = expect.stringMatching(/^[0-9a-f]{64}-[0-9]+$/) as string;
const anyNumber = expect.any(Number) as number;
const anyTime = expect.stringMatching(/^2.*Z$/) as string;

test("a file is written, read, listed, and had again as it was", async () => {
  expect(await fs("ls")).toEqual({ code: 0, out: "", err: "note: there is nothing in it\n" });
  expect((await fs("put - /motd", input("hello\n"))).out).toMatch(/^wrote \/motd at revision [0-9]+\n$/);
  expect((await fs("put - /motd", input("hello\n"))).out).toMatch(/^nothing changed: it was so already at revision [0-9]+\n$/);
  expect(await fs("cat /motd")).toEqual({ code: 0, out: "hello\n", err: "" });
  expect((await fs("ls")).out).toMatch(/^MODE +SIZE +CHANGED +NAME\n0644 +6 +2.*Z +motd\n$/);
  await fs("put - /motd", input("changed"));
  const { commits } = (await json("log")) as { commits: { root: string }[] };
  expect(await fs(`cat /motd --at ${commits[1]!.root}`)).toMatchObject({ out: "hello\n" });
  expect((await fs("log -n 1")).out).toMatch(/^N +REVISION +BY +AT +ROOT\n2 +[0-9]+ +h1 +2.*Z +[0-9a-f]{64}-[0-9]+\n$/);
});

test("a URI given as a path is refused with the flag it belongs to, and no folder of its name is made", async () => {
  for (const words of ["ls etcdfs:///fs/site", "put - etcdfs:///fs/site/motd", `sync . etcdfs:///fs/site`]) {
    const { code, err } = await fs(words, input("hello"));
    expect(code).toBe(2);
    expect(err).toMatch(/names a tree, and is given as a path\n {2}hint: name it with --tree etcdfs:/);
  }
  expect((await fs("ls")).err).toBe("note: there is nothing in it\n");
});

test("-o json has one document, with these fields", async () => {
  const uri = "etcdfs:///fs/site";
  const put = await fs("put - /motd --tree site -o json", input("hello"));
  expect(JSON.parse(put.out)).toEqual({ uri, path: "/motd", changed: true, root: anyRoot, revision: anyNumber });
  expect(await json("ls --tree site")).toEqual({
    uri,
    root: anyRoot,
    path: "/",
    entries: [{ path: "motd", kind: "file", size: 5, mode: "0644", mtime: anyTime, target: null }],
  });
  expect(await json("cat /motd --tree etcdfs:///fs/site")).toEqual({
    uri,
    root: anyRoot,
    path: "/motd",
    size: 5,
    encoding: "utf8",
    content: "hello",
  });
  expect(await json("log --tree site")).toEqual({
    uri,
    commits: [{ root: anyRoot, parent: null, generation: 1, by: "h1", at: anyTime, revision: anyNumber }],
  });
  expect(await json("gc --dry-run")).toEqual({
    dryRun: true,
    objects: anyNumber,
    bytes: anyNumber,
    neededObjects: anyNumber,
    neededBytes: anyNumber,
    deletedObjects: 0,
    deletedBytes: 0,
    tookMs: anyNumber,
  });
});

test("a folder is synchronised there and back, and again nothing moves", async () => {
  const [from, to] = [await temporaryFolder(), await temporaryFolder()];
  await system.mkdir(join(from, "conf"));
  await system.writeFile(join(from, "conf/motd"), "hello");
  await system.writeFile(join(from, "bytes"), Buffer.from([0xff, 0xfe]));
  expect((await fs(["sync", from])).out).toMatch(
    /: 2 files of 7 bytes, 7 bytes moved, at revision [0-9]+\nroot [0-9a-f]{64}-[0-9]+\n$/,
  );
  expect(await json(`sync ${from}`)).toMatchObject({
    changed: false,
    files: 2,
    folders: 1,
    links: 0,
    bytes: 7,
    moved: 0,
    deleted: 0,
  });
  await system.writeFile(join(to, "extra"), "x");
  expect(await json(`sync ${to} --down`)).toMatchObject({ files: 2, moved: 7, deleted: 1, root: anyRoot });
  expect(await system.readFile(join(to, "conf/motd"), "utf8")).toBe("hello");
  await system.rm(join(from, "conf"), { recursive: true });
  expect(await json(`sync ${from} --keep`)).toMatchObject({ changed: false, deleted: 0 });
  expect(await json(`sync ${from}`)).toMatchObject({ changed: true, deleted: 2 });
  expect((await fs("ls --recursive")).out).toMatch(/ bytes\n$/);
  expect(await json("cat /bytes")).toMatchObject({ encoding: "base64", content: "//4=" });
  const taken: Uint8Array[] = [];
  await fs("cat /bytes", { outBytes: (bytes) => taken.push(bytes) });
  expect(Buffer.concat(taken)).toEqual(Buffer.from([0xff, 0xfe]));
  await fs(["get", "/bytes", join(to, "got")]);
  expect(await system.readFile(join(to, "got"))).toEqual(Buffer.from([0xff, 0xfe]));
});

test("a deploy may name a tree as it is, and keeps it", async () => {
  const deploy = (argv: string) =>
    quorate(`world deploy ${argv} --endpoints=${cluster.urls.join(",")}`, { env: { QUORATE_HOSTNAME: "h1" }, ...input("{}") });
  expect(await deploy("add - --tree site")).toMatchObject({
    code: 1,
    err: expect.stringContaining("error: Cannot deploy etcdfs:///fs/site: there is nothing in it\n  hint: ") as string,
  });
  await fs("put - /motd --tree site", input("first"));
  expect(await deploy("add - --tree site")).toMatchObject({ code: 0, err: "" });
  await fs("put - /motd --tree site", input("second"));
  const { tree } = JSON.parse((await deploy("get 1 -o json")).out) as { tree: { uri: string; root: string } };
  expect(tree.uri).toBe("etcdfs:///fs/site");
  expect(await fs(`cat /motd --tree site --at ${tree.root}`)).toMatchObject({ out: "first" });
});

test.each([
  ["cat /none", 1, "error: Cannot use /none in etcdfs:///fs/main: no such file or directory\n"],
  ["ls /none", 1, "error: Cannot use /none in etcdfs:///fs/main: no such file or directory\n"],
  ["put /nonexistent/file /x", 1, "error: Cannot use /nonexistent/file: no such file or directory\n"],
  ["put - /no/where", 1, "error: Cannot use /no/where in etcdfs:///fs/main: no such file or directory\n"],
  ["ls --tree http://x", 2, 'error: Cannot use "http://x" as the URI of a tree: '],
  ["ls --at nothing", 1, "error: Cannot use nothing in etcdfs:///fs/main: no such file or directory\n"],
])("`quorate fs %s` exits %i and says why", async (argv, code, error) => {
  const said = await fs(argv, input("x"));
  expect(said.err).toContain(error);
  expect(said).toMatchObject({ code, out: "" });
});
