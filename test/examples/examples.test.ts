import { readFileSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openWorld } from "../../src/world/index.ts";
import type { World } from "../../src/world/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import type { TestCluster } from "../support/etcd-process.ts";
import { ask, temporaryFolder } from "../support/etcd-server.ts";
import { eventually } from "../support/eventually.ts";
import { freePorts } from "../support/ports.ts";
import { Process, childrenOf, untilGone } from "../support/process.ts";

const examples = fileURLToPath(new URL("../../examples", import.meta.url));
const names = readdirSync(examples).filter((file) => file.endsWith(".mjs"));

let etcd: TestCluster;
let url: string;

beforeAll(async () => {
  etcd = await startEtcd(1);
  url = etcd.urls[0]!;
});

afterAll(async () => {
  await etcd.stop();
});

interface Example {
  readonly process: Process;
  /** A `^C`. It must end well, and no process of it be left. */
  interrupt(): Promise<void>;
}

/** Starts one as on a host of its own: with a home, and a cache in it, of its own. */
async function start(name: string, ...args: readonly string[]): Promise<Example> {
  return await startWith([...args, url], name);
}

async function startWith(args: readonly string[], name: string): Promise<Example> {
  const env = { ...process.env, HOME: await temporaryFolder() };
  const example = new Process(`${name} ${args.join(" ")}`, [process.execPath, join(examples, name), ...args], env);
  const feeders = (): readonly number[] => childrenOf(example.pid);
  onTestFinished(async () => {
    const left = feeders();
    await example.kill();
    await Promise.all(left.map((pid) => untilGone(pid)));
  });
  return {
    process: example,
    interrupt: async () => {
      const left = feeders();
      example.signal("SIGINT");
      const { code, signal, stderr } = await example.end(10_000);
      expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: "" });
      await Promise.all(left.map((pid) => untilGone(pid)));
    },
  };
}

/** As another program of the cluster. */
async function another(hostname: string): Promise<World> {
  const world = await openWorld({ seeds: [url], hostname, replica: false });
  onTestFinished(() => world.close());
  return world;
}

async function leases(): Promise<readonly unknown[]> {
  return (await ask<{ leases?: unknown[] }>(url, "lease/leases", {})).leases ?? [];
}

async function untilHas(file: string, text: string): Promise<void> {
  await eventually(
    `${file} holds ${JSON.stringify(text)}`,
    async () => (await readFile(file, "utf8").catch(() => "")) === text,
    20_000,
  );
}

test.each(names)("%s has under 40 lines of its user's own", (name) => {
  const lines = readFileSync(join(examples, name), "utf8").split("\n");
  const own = lines.filter((line) => line.trim() !== "" && !/^\s*(\/\/|\/\*\*|\*|import )/.test(line));
  expect(own.length).toBeLessThan(40);
});

test.each(names)("%s is in the list with its command", (name) => {
  expect(readFileSync(join(examples, "README.md"), "utf8")).toContain(`node examples/${name}`);
});

test("leader-only: one of two counts, and the other goes on where it ended", async () => {
  const world = await another("onlooker");
  const count = async (): Promise<number> => Number((await world.str.get("count")).value ?? 0);
  const first = await start("leader-only.mjs");
  await eventually("the first counts", () => first.process.stdout.includes("counted to 2"), 20_000);
  const second = await start("leader-only.mjs");
  await eventually("the second waits", () => second.process.stdout.includes("waiting to lead"), 20_000);
  await eventually("the first goes on", () => first.process.stdout.includes("counted to 4"), 20_000);
  expect(second.process.stdout).not.toContain("leading");

  await first.interrupt();
  const reached = await count();
  await eventually("the second counts", () => second.process.stdout.includes("counted to"), 20_000);
  const counted = /counted to (\d+)/.exec(second.process.stdout)?.[1];
  expect([reached, reached + 1]).toContain(Number(counted));

  await second.interrupt();
  await world.close();
  expect(await leases()).toEqual([]);
});

test("leader-only: after a kill the other leads within the session's ten seconds", async () => {
  await using own = await startEtcd(1);
  const first = await startWith(own.urls, "leader-only.mjs");
  await eventually("the first leads", () => first.process.stdout.includes("leading"), 20_000);
  const second = await startWith(own.urls, "leader-only.mjs");
  await eventually("the second waits", () => second.process.stdout.includes("waiting to lead"), 20_000);
  await first.process.kill();
  await eventually("the second leads", () => second.process.stdout.includes("leading"), 15_000);
  await second.interrupt();
});

test("live-config: the file is there at once, and follows every host that comes, changes and goes", async () => {
  const file = join(await temporaryFolder(), "backends.conf");
  const example = await start("live-config.mjs", file);
  await eventually("an empty file", async () => (await readFile(file, "utf8").catch(() => undefined)) === "", 20_000);
  const [web1, web2] = [await another("web1"), await another("web2")];
  await web2.strmap.set("backends", "192.0.2.2:80");
  await web1.strmap.set("backends", "192.0.2.1:80", { lease: "session" });
  await untilHas(file, "server 192.0.2.1:80 # web1\nserver 192.0.2.2:80 # web2\n");
  await web2.strmap.set("backends", "192.0.2.2:8080");
  await web1.close();
  await untilHas(file, "server 192.0.2.2:8080 # web2\n");
  await example.interrupt();
  await web2.close();
  expect(await leases()).toEqual([]);
});

test("hosts-file: three hosts find one another, and one that comes back with another address is there once", async () => {
  const folder = await temporaryFolder();
  const hosts = ["h1", "h2", "h3"];
  const files = hosts.map((host) => join(folder, `hosts-${host}`));
  const [first, ...others] = await Promise.all(
    hosts.map((host, i) => start("hosts-file.mjs", host, `192.0.2.${i + 1}`, files[i]!)),
  );
  for (const file of files) await untilHas(file, "192.0.2.1 h1\n192.0.2.2 h2\n192.0.2.3 h3\n");

  await first!.interrupt();
  const again = await start("hosts-file.mjs", "h1", "192.0.2.9", files[0]!);
  for (const file of files) await untilHas(file, "192.0.2.9 h1\n192.0.2.2 h2\n192.0.2.3 h3\n");
  for (const example of [again, ...others]) await example.interrupt();
  expect(await leases()).toEqual([]);
});

test("deploy-watcher: it deploys the newest there is, and then each that comes", async () => {
  const world = await another("operator");
  await world.deploy.add({ hash: "a", payload: "one" });
  await world.deploy.add({ hash: "b", parent: "a", payload: "two" });
  const file = join(await temporaryFolder(), "deployed");
  const example = await start("deploy-watcher.mjs", file);
  await untilHas(file, "two");
  await world.deploy.add({ hash: "c", parent: "b", payload: "three" });
  await untilHas(file, "three");
  await world.deploy.prune({ keep: 1 });
  await world.deploy.add({ payload: "four" });
  await untilHas(file, "four");
  // It says so once it is there.
  const said = "deployed 2 b\ndeployed 3 c\ndeployed 4 \n";
  await eventually("it says so", () => example.process.stdout.length >= said.length, 20_000);
  expect(example.process.stdout).toBe(said);
  await example.interrupt();
  await world.close();
  expect(await leases()).toEqual([]);
});

test("mgmt-resources: each host exports its address, and all see who comes and who goes", async () => {
  // What was exported without a lease stays when its program ends.
  const [key, rangeEnd] = ["/_mgmt/exported/", "/_mgmt/exported0"].map((text) => Buffer.from(text).toString("base64"));
  await ask(url, "kv/deleterange", { key, range_end: rangeEnd });
  const last = (example: Example): string | undefined => example.process.stdout.trimEnd().split("\n").at(-1);
  const first = await start("mgmt-resources.mjs", "h1", "192.0.2.1");
  await eventually("it sees itself", () => last(first) === "h1=192.0.2.1", 20_000);
  const second = await start("mgmt-resources.mjs", "h2", "192.0.2.2");
  for (const one of [first, second]) await eventually("both", () => last(one) === "h1=192.0.2.1 h2=192.0.2.2", 20_000);
  expect(second.process.stdout).toMatch(/^exported h2\n/);
  await second.interrupt();
  await eventually("the first is alone", () => last(first) === "h1=192.0.2.1", 20_000);
  await first.interrupt();
  expect(await leases()).toEqual([]);
});

test("site-files: the folder is what the tree is, and follows each commit of it", async () => {
  const world = await another("operator");
  const site = world.fs("etcdfs:///fs/site");
  await site.writeFile("/motd", "one");
  const folder = join(await temporaryFolder(), "site");
  const example = await start("site-files.mjs", folder);
  await untilHas(join(folder, "motd"), "one");
  await site.transaction(async (tx) => {
    await tx.writeFile("/motd", "two");
    await tx.mkdir("/conf");
    await tx.writeFile("/conf/new", "new");
  });
  await untilHas(join(folder, "conf/new"), "new");
  await untilHas(join(folder, "motd"), "two");
  await site.rm("/conf", { recursive: true });
  await eventually("the folder is gone", () => !readdirSync(folder).includes("conf"), 20_000);
  await example.interrupt();
  await world.close();
  expect(await leases()).toEqual([]);
});

test("an example whose cluster is out of reach says so, and ends", async () => {
  const [port] = await freePorts(1);
  const { process: example } = await startWith([`http://127.0.0.1:${port}`], "leader-only.mjs");
  const { code, stderr } = await example.end(20_000);
  expect(code).toBe(1);
  expect(stderr).toContain("Cannot open the World: the cluster is out of reach");
});
