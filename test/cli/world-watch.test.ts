import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { host, start } from "../index/agents.ts";
import { quorate } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";

const launcher = fileURLToPath(new URL("../../bin/quorate.js", import.meta.url));
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
  await client.txn({ then: [{ del: "/_mgmt/", end: "/_mgmt0" }] });
});

/** A process of its own: it is ended by a signal. */
function watch(argv: string) {
  const child = spawn(process.execPath, [launcher, "world", ...argv.split(" "), endpoints, "--hostname=h1"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const said = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said.out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said.err += text));
  const exit = once(child, "exit") as Promise<[number | null]>;
  return {
    said,
    child,
    exit,
    shows: (what: string) => eventually(`${what} in ${said.out}${said.err}`, () => said.out.includes(what), 20_000),
    /** Of the table: its lines without revisions and columns. */
    lines: () =>
      said.out
        .trimEnd()
        .split("\n")
        .slice(1)
        .map((line) => line.replace(/^[0-9]+ +/, "").replace(/ +/g, " ")),
    documents: () =>
      said.out
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    async interrupt(): Promise<number | null> {
      child.kill("SIGINT");
      return (await exit)[0];
    },
  };
}

const revision = expect.any(Number) as number;
const modRevision = revision;

describe("world str watch", () => {
  test("shows what there is, then each change once, on a line each, and ends on ^C with 0", async () => {
    const watching = watch("str watch motd");
    await watching.shows("absent");
    await client.put("/_mgmt/strings/motd", "one\ntwo\u001b[2J");
    await client.put("/_mgmt/strings/motd", "three");
    await client.put("/_mgmt/strings/other", "x");
    await client.del("/_mgmt/strings/motd");
    await watching.shows("deleted");
    expect(watching.said.out.split("\n")[0]).toBe("REVISION  EVENT    VALUE");
    expect(watching.lines()).toEqual(["absent", "set one two\u00b7[2J", "set three", "deleted"]);
    expect(await watching.interrupt()).toBe(0);
    expect(watching.said.err).toBe("");
  });

  test("in JSON is one document a line, and what there is none of is null", async () => {
    const watching = watch("strs watch motd -o json");
    await watching.shows("snapshot");
    await client.put("/_mgmt/strings/motd", "one");
    await client.del("/_mgmt/strings/motd");
    await watching.shows('"previous":"one"');
    expect(watching.documents()).toEqual([
      { kind: "snapshot", value: null, modRevision: 0, revision },
      { kind: "changes", value: "one", previous: null, modRevision, revision },
      { kind: "changes", value: null, previous: "one", modRevision: 0, revision },
    ]);
    expect(await watching.interrupt()).toBe(0);
  });

  test("goes on after etcd was away, and says on standard error that it was", async () => {
    const watching = watch("str watch motd");
    await watching.shows("absent");
    await client.put("/_mgmt/strings/motd", "one");
    await watching.shows("one");
    await cluster.nodes[0]!.stop();
    try {
      await eventually("the note", () => watching.said.err.includes("note: the connection is lost; going on"), 20_000);
    } finally {
      await cluster.nodes[0]!.restart();
    }
    const put = (): Promise<boolean> =>
      client.put("/_mgmt/strings/motd", "two").then(
        () => true,
        () => false,
      );
    await eventually("it serves", put, 20_000);
    await watching.shows("two");
    expect(watching.lines()[0]).toBe("absent");
    expect(watching.lines()[1]).toBe("set one");
    expect(await watching.interrupt()).toBe(0);
  });

  test("ends quietly when nobody reads it any more", async () => {
    const watching = watch("str watch motd");
    await watching.shows("absent");
    watching.child.stdout.destroy();
    const put = (): Promise<boolean> => client.put("/_mgmt/strings/motd", `${process.hrtime.bigint()}`).then(() => false);
    await eventually("the end", async () => watching.child.exitCode !== null || (await put()), 20_000);
    expect(watching.child.exitCode).toBe(0);
    expect(watching.said.err).toBe("");
  });
});

test("world strmap watch shows the entries of all hosts, and their changes", async () => {
  await client.put("/_mgmt/strings/address/h2", "b");
  await client.put("/_mgmt/strings/address/h1", "a");
  const watching = watch("strmap watch address");
  const documents = watch("strmap watch address -o json");
  await Promise.all([watching.shows("h2"), documents.shows("snapshot")]);
  await client.put("/_mgmt/strings/address/h3", "c");
  await client.del("/_mgmt/strings/address/h1");
  await Promise.all([watching.shows("deleted"), documents.shows("deleted")]);
  expect(watching.lines()).toEqual(["is h1 a", "is h2 b", "set h3 c", "deleted h1 a"]);
  expect(documents.documents()).toMatchObject([
    { kind: "snapshot", items: [{ host: "h1" }, { host: "h2" }] },
    { kind: "changes", changes: [{ type: "set", item: { host: "h3", value: "c" }, previous: null }] },
    { kind: "changes", changes: [{ type: "deleted", previous: { host: "h1", value: "a" } }] },
  ]);
  expect(await watching.interrupt()).toBe(0);
  expect(await documents.interrupt()).toBe(0);
});

test("world resource watch shows what collect with the same filters would, and no more", async () => {
  await client.put("/_mgmt/exported/*/h2/host/web1", "a");
  const watching = watch("resource watch --kind host");
  await watching.shows("web1");
  await client.put("/_mgmt/exported/*/h2/secret/key", "x");
  await client.put("/_mgmt/exported/h9/h2/host/web2", "x");
  await client.put("/_mgmt/exported/h1/h2/host/web3", "b");
  await watching.shows("web3");
  expect(watching.lines()).toEqual(["is host web1 h2 everyone a", "set host web3 h2 h1 b"]);
  expect(await watching.interrupt()).toBe(0);
});

test("world deploy watch shows the deploys without payloads, as YAML documents too", async () => {
  const watching = watch("deploy watch");
  const documents = watch("deploys watch -o yaml");
  await Promise.all([watching.shows("REVISION"), documents.shows("snapshot")]);
  const payload = { input: () => Promise.resolve(Buffer.from("secret payload")) };
  expect((await quorate(`world deploy add - --hash a1 ${endpoints}`, payload)).code).toBe(0);
  await Promise.all([watching.shows("a1"), documents.shows("a1")]);
  expect(watching.lines()).toEqual(["set 1 a1"]);
  expect(documents.said.out).toMatch(/^---\nkind: snapshot\nitems: \[\]\nrevision: [0-9]+\n---\nkind: changes\n/);
  expect(documents.said.out).not.toContain("secret");
  expect(await watching.interrupt()).toBe(0);
  expect(await documents.interrupt()).toBe(0);
});

test("the folder of an agent on this host says where its cluster is and who it is, and nothing else is needed", async () => {
  const options = await host("h7", { idealClusterSize: 1 });
  const agent = start(options);
  await agent.ready;
  const here = `--prefix=${options.prefix}`;
  expect(await quorate(`world strmap set address 192.0.2.7 ${here}`)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^set address of h7 at revision /) as string,
  });
  expect([...(await agent.world.strmap.get("address", { read: "linearizable", timeoutMs: 20_000 })).value]).toEqual([
    ["h7", "192.0.2.7"],
  ]);
  // So does its variable.
  const env = { QUORATE_PREFIX: options.prefix! };
  expect((await quorate("world strmaps get address -o json", { env })).out).toContain('"host": "h7"');
  expect((await quorate(`world strmap set address x --hostname h8 ${here}`)).out).toContain("of h8");
  // Endpoints beside it are more addresses of its cluster: what answers there for another cluster is not asked.
  await client.put("/_mgmt/strings/address/other", "x");
  const both = await quorate(`world strmap get address -o json ${endpoints} ${here}`);
  expect(both.code).toBe(0);
  expect((JSON.parse(both.out) as { entries: { host: string }[] }).entries.map((entry) => entry.host)).toEqual(["h7", "h8"]);
});
