import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname as machineName, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { Io } from "../../src/cli/io.ts";
import { systemClock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { quorate, type Said } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { freePorts } from "../support/ports.ts";

let cluster: TestCluster;
let client: EtcdClient;
let endpoints = "";
beforeAll(async () => {
  cluster = await startEtcd(1);
  endpoints = `--endpoints=${cluster.urls.join(",")}`;
  client = EtcdClient.create({ endpoints: cluster.urls, clock: systemClock });
});
afterAll(async () => {
  await client.close();
  await cluster.stop();
});
beforeEach(async () => {
  await client.txn({ then: [{ del: "/", end: "0" }] });
});

/** `quorate world ...` on that etcd, as the host `h1` unless it says who it is. */
function world(argv: string | readonly string[], more: Partial<Io> = {}): Promise<Said> {
  const words = typeof argv === "string" ? argv.split(" ") : argv;
  const end = words.indexOf("--");
  const at = end === -1 ? words.length : end;
  return quorate(["world", ...words.slice(0, at), endpoints, ...words.slice(at)], { env: { QUORATE_HOSTNAME: "h1" }, ...more });
}
const json = async (argv: string | readonly string[]): Promise<unknown> => {
  const words = typeof argv === "string" ? argv.split(" ") : argv;
  const { code, out, err } = await world([...words, "-o", "json"]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return JSON.parse(out);
};
const stored = async (key: string): Promise<string | undefined> => (await client.get(key)).entry?.value;
const input = (text: string | Uint8Array): Partial<Io> => ({ input: () => Promise.resolve(Buffer.from(text)) });
const anyRevision = expect.any(Number) as number;

describe("str", () => {
  test("what is set is had again, exactly, with one line end", async () => {
    const set = await world(["str", "set", "motd", "hello  world\n\u001b[1m"]);
    expect(set).toMatchObject({ code: 0, out: expect.stringMatching(/^set motd at revision [0-9]+\n$/) as string, err: "" });
    expect(await world("str get motd")).toEqual({ code: 0, out: "hello  world\n\u001b[1m\n", err: "" });
    expect(await stored("/_mgmt/strings/motd")).toBe("hello  world\n\u001b[1m");
  });

  test("a terminal gets no control characters of strangers", async () => {
    await client.put("/_mgmt/strings/motd", "\u001b[2Jgone");
    await client.put("/_mgmt/strings/evil%1b[2J", "x");
    expect((await world("str get motd", { tty: true })).out).toBe("\u00b7[2Jgone\n");
    const { out } = await world("str ls");
    expect(out).not.toContain("\u001b");
  });

  test("in JSON and YAML it comes with its revisions", async () => {
    await world("str set motd hello");
    const { entry } = await client.get("/_mgmt/strings/motd");
    expect(await json("str get motd")).toEqual({
      name: "motd",
      value: "hello",
      modRevision: entry?.modRevision,
      revision: anyRevision,
    });
    expect((await world("str get motd -o yaml")).out).toContain("name: motd\nvalue: hello\n");
  });

  test("a missing one says nothing on standard output and exits 1, so that scripts can tell it from an empty one", async () => {
    expect(await world("str get none")).toEqual({
      code: 1,
      out: "",
      err: 'error: Cannot read the string "none": there is none\n',
    });
    await world(["str", "set", "empty", ""]);
    expect(await world("str get empty")).toEqual({ code: 0, out: "\n", err: "" });
    expect(await json("str get none")).toEqual({ name: "none", value: null, modRevision: 0, revision: anyRevision });
  });

  test("a value may come from standard input, and may start with a dash", async () => {
    expect((await world("str set motd -", input("two\nlines\n"))).code).toBe(0);
    expect(await stored("/_mgmt/strings/motd")).toBe("two\nlines\n");
    expect((await world("str set motd -- --help")).code).toBe(0);
    expect(await stored("/_mgmt/strings/motd")).toBe("--help");
    expect(await world("str set motd -", input(Uint8Array.of(0xff, 0xfe)))).toMatchObject({
      code: 2,
      err: expect.stringContaining("error: Cannot use standard input: it is not UTF-8\n  hint: ") as string,
    });
  });

  test("writing what is there already changes nothing, and says so", async () => {
    expect(await json("str set motd hello")).toMatchObject({ changed: true });
    const before = (await client.get("/_mgmt/strings/motd")).entry?.modRevision;
    expect((await world("str set motd hello")).out).toMatch(/^nothing changed: it was so already at revision [0-9]+\n$/);
    expect(await json("str set motd hello")).toMatchObject({ changed: false });
    expect((await client.get("/_mgmt/strings/motd")).entry?.modRevision).toBe(before);
  });

  test("ls has one name a line, sorted, also of names that need encoding; the plurals are the same", async () => {
    expect(await world("str ls")).toEqual({ code: 0, out: "", err: "note: there are none yet\n" });
    for (const name of ["b/c", "a b", "\u00fc"]) await world(["str", "set", name, "x"]);
    await world("strmap set map x");
    for (const argv of ["str ls", "strs ls", "strings list"]) {
      expect(await world(argv)).toEqual({ code: 0, out: "a b\nb/c\n\u00fc\n", err: "" });
    }
    expect(await json("strs ls")).toEqual({ names: ["a b", "b/c", "\u00fc"], revision: anyRevision });
  });

  test("del deletes; what is not there is no error", async () => {
    await world("str set motd hello");
    expect((await world("str del motd")).out).toMatch(/^deleted motd at revision /);
    expect(await world("str del motd")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^nothing changed: there was no motd at revision /) as string,
    });
    expect(await json("str del motd")).toMatchObject({ changed: false });
  });

  test("a condition that does not hold exits 1, says what is there, and writes nothing", async () => {
    await world("str set motd hello --if-absent");
    const { entry } = await client.get("/_mgmt/strings/motd");
    for (const flag of ["--if-absent", "--if-revision=0", `--if-revision=${(entry?.modRevision ?? 0) + 1}`]) {
      const { code, out, err } = await world(`str set motd other ${flag}`);
      expect({ code, out }).toEqual({ code: 1, out: "" });
      expect(err).toContain(`it was written at ${entry?.modRevision}\n  hint: Read it again, and decide anew\n`);
    }
    expect((await world("str del motd --if-revision 1")).code).toBe(1);
    expect((await world(`str set motd other --if-revision ${entry?.modRevision}`)).code).toBe(0);
    expect(await stored("/_mgmt/strings/motd")).toBe("other");
  });

  test("with --ttl it hangs on a lease of that time, and outlives the command", async () => {
    expect((await world("str set motd hello --ttl 1m")).code).toBe(0);
    expect((await client.get("/_mgmt/strings/motd")).entry?.lease).not.toBe("0");
    await world("str set motd hello");
    expect((await client.get("/_mgmt/strings/motd")).entry?.lease).toBe("0");
  });

  test("keys of others that nobody can read are passed over with a note, and never reach the terminal", async () => {
    await world("str set motd hello");
    await client.put("/_mgmt/strings/a/b/c\u001b[2J", "x");
    const { code, out, err } = await world("str ls");
    expect({ code, out }).toEqual({ code: 0, out: "motd\n" });
    expect(err).toMatch(/^note: a key that nobody can read was passed over, such as \/_mgmt\/strings\/a\/b\/c\u00b7\[2J: /);
  });
});

describe("strmap", () => {
  test("each host writes its own; get has them all", async () => {
    expect((await world("strmap set address 192.0.2.1")).out).toMatch(/^set address of h1 at revision /);
    expect((await world("strmap set address 192.0.2.2 --hostname h2 --ttl 1m")).code).toBe(0);
    const { code, out } = await world("strmap get address");
    expect(code).toBe(0);
    expect(out.split("\n").map((line) => line.replace(/ +/g, " "))).toEqual([
      "HOST LEASED REVISION VALUE",
      expect.stringMatching(/^h1 no [0-9]+ 192\.0\.2\.1$/),
      expect.stringMatching(/^h2 yes [0-9]+ 192\.0\.2\.2$/),
      "",
    ]);
    expect(await json("strmaps get address")).toEqual({
      name: "address",
      entries: [
        { host: "h1", value: "192.0.2.1", modRevision: anyRevision, leased: false },
        { host: "h2", value: "192.0.2.2", modRevision: anyRevision, leased: true },
      ],
      revision: anyRevision,
    });
    expect((await world("strmap ls")).out).toBe("address\n");
    expect(await json("strmap ls")).toMatchObject({ names: ["address"] });
  });

  test("without a name of its own the host is the machine", async () => {
    await world("strmap set address x", { env: {} });
    expect(await stored(`/_mgmt/strings/address/${machineName()}`)).toBe("x");
  });

  test("del deletes the own entry alone", async () => {
    await world("strmap set address a");
    await world("strmap set address b --hostname h2");
    expect((await world("strmap del address")).out).toMatch(/^deleted address of h1 at revision /);
    expect(await json("strmap get address")).toMatchObject({ entries: [{ host: "h2" }] });
    expect(await json("strmap del address")).toMatchObject({ changed: false });
  });

  test("one that no host has written to is missing: exit 1, and an empty list for programs", async () => {
    expect(await world("strmap get none")).toEqual({
      code: 1,
      out: "",
      err: 'error: Cannot read the map "none": there is none\n',
    });
    expect(await json("strmap get none")).toEqual({ name: "none", entries: [], revision: anyRevision });
  });
});

describe("resource", () => {
  const exportAll = async (): Promise<void> => {
    await world("resource export host web1 192.0.2.7");
    await world("resource export host web1 192.0.2.8 --hostname h2");
    await world("resource export secret key s3 --to h3 --hostname h2");
  };

  test("what is exported to a host or to everyone is collected there, and nowhere else", async () => {
    expect(await world("resource export host web1 192.0.2.7")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^exported 1, at revision [0-9]+\n$/) as string,
    });
    await exportAll();
    const { out } = await world("resource collect --hostname h3");
    expect(out).toBe(
      [
        "KIND    NAME  HOST  TO        VALUE",
        "host    web1  h1    everyone  192.0.2.7",
        "host    web1  h2    everyone  192.0.2.8",
        "secret  key   h2    h3        s3",
        "",
      ].join("\n"),
    );
    expect((await world("resources ls --hostname h3")).out).toBe(out);
    expect(await json("resource collect --kind secret")).toEqual({ items: [], revision: anyRevision });
    expect(await json("resource collect --hostname h3 --kind secret --name key --from h2")).toEqual({
      items: [{ kind: "secret", name: "key", host: "h2", to: "h3", value: "s3", modRevision: anyRevision, leased: false }],
      revision: anyRevision,
    });
    expect(await world("resource collect --from h9")).toEqual({
      code: 0,
      out: "",
      err: "note: nothing that fits is exported to h1 or to everyone\n",
    });
  });

  test("variables that somebody has for something else filter nothing", async () => {
    await exportAll();
    const { out } = await world("resource collect", {
      env: { QUORATE_NAME: "x", QUORATE_FROM: "/tmp/x", QUORATE_HOSTNAME: "h1" },
    });
    expect(out).toContain("192.0.2.7");
  });

  test("what several hosts export as the same is a conflict", async () => {
    expect(await world("resource conflicts")).toEqual({ code: 0, out: "", err: "note: there are no conflicts\n" });
    await exportAll();
    expect((await world("resource conflicts")).out.trimEnd().split("\n")).toHaveLength(3);
    expect(await json("resource conflicts --kind host")).toMatchObject({
      conflicts: [{ kind: "host", name: "web1", items: [{ host: "h1" }, { host: "h2" }] }],
    });
    expect(await json("resource conflicts --kind secret")).toMatchObject({ conflicts: [] });
  });

  test("a list comes from a file or from standard input; --replace deletes what is no longer in it, in its scope alone", async () => {
    const folder = await mkdtemp(join(tmpdir(), "quorate-world-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const file = join(folder, "list.json");
    const of = (...names: string[]): string => JSON.stringify(names.map((name) => ({ kind: "host", name, value: name })));
    await writeFile(file, of("a", "b"));
    await world("resource export host other x");
    expect((await world(`resource export --file ${file} --scope web`)).out).toMatch(/^exported 2, at revision /);
    const { out } = await world("resource export --file - --scope web --replace", input(of("b", "c")));
    expect(out).toMatch(/^exported 1, 1 unchanged, 1 deleted, at revision [0-9]+\ndeleted host a\n$/);
    const { items } = (await json("resource collect")) as { items: { name: string }[] };
    expect(items.map(({ name }) => name)).toEqual(["b", "c", "other"]);
    expect(await json(`resource export --file ${file} --scope web --replace`)).toEqual({
      items: [
        { kind: "host", name: "a", changed: true },
        { kind: "host", name: "b", changed: false },
      ],
      deleted: [{ kind: "host", name: "c" }],
      changed: true,
      revision: anyRevision,
    });
  });

  test.each([
    ["hosts", "it is not JSON"],
    ["{}", "it is not a list"],
    ["[1]", "item 1 is not an object"],
    ['[{"kind":"a","name":"b"}]', "item 1 needs kind, name and value, which are strings"],
    ['[{"kind":"a","name":"b","value":"c","too":"h2"}]', 'item 1 has "too", which no resource has'],
    ['[{"kind":"a","name":"b","value":"c","to":2}]', '"to" of item 1 is not a host name'],
  ])("the list `%s` is refused as a whole", async (list, why) => {
    const { code, err } = await world("resource export --file -", input(list));
    expect(code).toBe(2);
    expect(err).toContain(`error: Cannot use standard input: ${why}\n  hint: `);
    expect(await json("resource collect")).toMatchObject({ items: [] });
  });

  test("an empty value and a value from standard input are values", async () => {
    expect((await world(["resource", "export", "host", "a", ""])).code).toBe(0);
    expect((await world("resource export host b -", input("long"))).code).toBe(0);
    expect(await json("resource collect")).toMatchObject({ items: [{ value: "" }, { value: "long" }] });
  });

  test("del deletes what this host has exported, to that host or to everyone", async () => {
    await exportAll();
    expect((await world("resource del secret key --hostname h2")).out).toMatch(/^nothing changed: there was no secret key at /);
    expect((await world("resource del secret key --to h3 --hostname h2")).out).toMatch(/^deleted secret key for h3 at revision /);
    expect(await json("resource del host web1")).toMatchObject({ changed: true });
    expect(await json("resource collect --hostname h3")).toMatchObject({ items: [{ host: "h2", name: "web1" }] });
  });
});

describe("deploy", () => {
  test("deploys are added behind one another, and had again exactly", async () => {
    expect(await world("deploy add - --hash a1", input("one\n"))).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^added deploy 1 at revision [0-9]+\n$/) as string,
    });
    const second = await world("deploys add - --hash b2 --parent a1 --id 2 -o json", input("two"));
    expect(JSON.parse(second.out)).toEqual({ id: 2, changed: true, revision: anyRevision });
    expect(await world("deploy get 1")).toEqual({ code: 0, out: "one\n", err: "" });
    expect(await world("deploy get 2", { tty: true })).toEqual({ code: 0, out: "two\n", err: "" });
    expect(await json("deploy get 2")).toEqual({ id: 2, hash: "b2", tree: null, payload: "two", revision: anyRevision });
    expect((await world("deploy ls")).out).toBe("ID  HASH\n1   a1\n2   b2\n");
    expect(await json("deploys ls")).toEqual({
      deploys: [
        { id: 1, hash: "a1", tree: null },
        { id: 2, hash: "b2", tree: null },
      ],
      revision: anyRevision,
    });
  });

  test("a missing one exits 1, and is null for programs", async () => {
    expect(await world("deploy ls")).toEqual({ code: 0, out: "", err: "note: there are none yet\n" });
    expect(await world("deploy get 3")).toEqual({ code: 1, out: "", err: "error: Cannot read deploy 3: there is none\n" });
    expect(await json("deploy get 3")).toEqual({ id: 3, hash: null, tree: null, payload: null, revision: anyRevision });
  });

  test.each([
    ["--id 1", "error: Cannot add deploy 1: there is one of that id"],
    ["--id 7", "error: Cannot add deploy 7: there is no deploy 6"],
    ["--parent c3", 'error: Cannot add deploy 2: its parent is to be "c3", and deploy 1 has the hash "a1"'],
  ])("`deploy add %s` on a chain that does not fit exits 1 and says exactly why", async (chain, error) => {
    await world("deploy add - --hash a1", input("one"));
    const { code, err } = await world(`deploy add - ${chain}`, input("two"));
    expect(err).toContain(error);
    expect(code).toBe(1);
    expect(await json("deploy ls")).toMatchObject({ deploys: [{ id: 1 }] });
  });

  test("prune keeps the newest", async () => {
    for (const text of ["one", "two", "three"]) await world("deploy add -", input(text));
    expect((await world("deploy prune --keep 1")).out).toMatch(/^deleted 2 deploys, 1 to 2, at revision [0-9]+\n$/);
    expect((await world("deploy prune --keep 1")).out).toBe("nothing changed: there are no more than 1\n");
    expect(await json("deploy prune --keep 1")).toMatchObject({ changed: false, deleted: [] });
    expect(await json("deploy ls")).toMatchObject({ deploys: [{ id: 3, hash: null }] });
  });
});

describe("usage", () => {
  test.each([
    ["str get", "error: missing required argument 'NAME'"],
    ["str get a b", "error: too many arguments for 'get'"],
    ["str fetch a", "error: unknown command 'fetch'"],
    ["str set a b --ttl soon", 'error: Cannot use --ttl: "soon" is not a duration like 10s, 500ms or 2m'],
    ["str set a b --ttl 1", "error: Cannot use --ttl: it has to be 2s at least"],
    ["str set a b --if-revision x", 'error: Cannot use --if-revision: "x" is not a whole number'],
    ["str set a b --if-absent --if-revision 3", "error: Cannot do that: --if-absent and --if-revision exclude each other"],
    ["str get a -o xml", 'error: Cannot use --output: "xml" is not one of table, json, yaml'],
    ["str get a --namespace mgmt", 'error: Cannot use the namespace "mgmt"'],
    ["str get \ufffd", "as the name of a string: it has the mark of bytes that were not valid UTF-8"],
    [`str set ${"n".repeat(1_900)} x`, "at most 1900 are allowed"],
    ["strmap set a b --hostname a/b", '"a/b" is not a host name'],
    ["str watch ", 'error: Cannot use "" as the name of a string: it is empty'],
    ["resource export host", "error: Cannot export a resource: it needs KIND, NAME and VALUE, or --file"],
    ["resource export a b c --file x", "error: Cannot do that: --file and a resource that is typed exclude each other"],
    ["resource export --file x --to h2", "error: Cannot do that: --file and --to exclude each other"],
    ["resource export --file /absent/list", "error: Cannot read /absent/list"],
    ["resource export a b c --to x/y", 'error: Cannot use "x/y" as the host that a resource is for'],
    ["deploy get one", 'error: Cannot read deploy "one": an id is a whole number from 1 on'],
    ["deploy add /absent/deploy", "error: Cannot read /absent/deploy"],
    ["deploy prune", "error: Cannot prune the deploys: --keep has to say how many stay"],
    ["deploy prune --keep 0", "error: Cannot prune the deploys: --keep has to say how many stay"],
  ])("`world %s` exits 2, says why, and writes nothing", async (argv, error) => {
    const before = (await client.get("/x")).revision;
    const { code, out, err } = await world(argv);
    expect(err).toContain(error);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect((await client.get("/x")).revision).toBe(before);
  });

  test("a value beyond 1 MiB is refused", async () => {
    const { code, err } = await world("str set big -", input("x".repeat(1024 * 1024 + 1)));
    expect(err).toContain("the value has 1048577 bytes, at most 1048576 are allowed");
    expect(code).toBe(2);
  });

  test("every command has a help with examples, and each group shows its own", async () => {
    for (const group of ["", "str", "strmap", "resource", "deploy"]) {
      expect(await quorate(`world ${group}`.trim())).toMatchObject({ code: 2, out: "" });
    }
    for (const [group, verbs] of [
      ["str", ["get", "set", "del", "ls", "watch"]],
      ["strmap", ["get", "set", "del", "ls", "watch"]],
      ["resource", ["export", "collect", "conflicts", "del", "watch"]],
      ["deploy", ["add", "get", "ls", "watch", "prune"]],
    ] as const) {
      for (const verb of verbs) {
        const { code, out, err } = await quorate(`world ${group} ${verb} --help`);
        expect({ verb, code, err }).toEqual({ verb, code: 0, err: "" });
        expect(out).toContain(`Usage: quorate world ${group} ${verb}`);
        expect(out).toContain(`  quorate world ${group} ${verb}`);
        for (const flag of ["--endpoints", "--prefix", "--namespace", "--output", "--hostname"]) expect(out).toContain(flag);
      }
    }
    expect((await quorate("--help")).out).toContain("  world ");
  });
});

describe("where the World is", () => {
  test("reading changes nothing, not even the revision", async () => {
    await world("str set motd hello");
    const before = (await client.get("/x")).revision;
    for (const argv of ["str get motd", "str ls", "strmap ls", "resource collect", "resource conflicts", "deploy ls"]) {
      expect((await world(argv)).code).toBe(0);
    }
    expect((await client.get("/x")).revision).toBe(before);
  });

  test("endpoints, namespace and format may come from variables", async () => {
    const env = { QUORATE_ENDPOINTS: cluster.urls.join(","), QUORATE_NAMESPACE: "/other", QUORATE_OUTPUT: "json" };
    expect((await quorate("world str set motd hello", { env })).code).toBe(0);
    expect(await stored("/other/strings/motd")).toBe("hello");
    expect(JSON.parse((await quorate("world str get motd", { env })).out)).toMatchObject({ value: "hello" });
  });

  test("a cluster that does not answer is exit 3 at once, for reads, writes and watches", async () => {
    const [port] = await freePorts(1);
    for (const argv of ["str get a", "strmap set a b", "resource collect", "deploy watch", "str watch a"]) {
      const { code, out, err } = await quorate(`world ${argv} --endpoints=127.0.0.1:${port}`);
      expect({ argv, code, out }).toEqual({ argv, code: 3, out: "" });
      expect(err).toContain("error: Cannot reach the cluster: the endpoint does not answer\n");
      expect(err).toContain("  hint: start an agent with `quorate run`");
    }
  });

  test("a cluster without quorum is exit 4", async () => {
    await using two = await startEtcd(2);
    await two.nodes[1]!.kill();
    const { code, err } = await quorate(`world str set a b --endpoints=${two.urls.join(",")}`);
    expect(code).toBe(4);
    expect(err).toContain(`  cause: ${two.nodes[0]!.clientUrl}: answers`);
  });

  test("a folder without an agent is exit 2, with what to name instead", async () => {
    const { code, err } = await quorate("world str get a --prefix=/absent");
    expect(err).toContain("error: Cannot use --prefix: nothing in /absent says where its agent's cluster is\n  hint: ");
    expect(code).toBe(2);
  });

  test("what is typed counts more than a variable of the agent that runs here", async () => {
    await world("str set motd hello");
    const { code, out } = await world("str get motd", { env: { QUORATE_PREFIX: "/absent" } });
    expect({ code, out }).toEqual({ code: 0, out: "hello\n" });
  });
});
