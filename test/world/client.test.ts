import { execFileSync } from "node:child_process";
import { Etcd3 } from "etcd3";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openWorld } from "../../src/world/index.ts";
import type { World, WorldOptions } from "../../src/world/index.ts";
import { host, start } from "../index/agents.ts";
import { etcdctlBinary } from "../support/etcd.ts";
import { startEtcd } from "../support/etcd-process.ts";
import { etcdOfWorlds, eventually, feedersOf, freshNamespace, keysOf, watchedValue, worldOf } from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

/** Closed when the test is over. */
async function on(client: World | Etcd3, options: Omit<WorldOptions, "client"> = {}): Promise<World> {
  const world = await openWorld({ client, ...options });
  onTestFinished(() => world.close());
  return world;
}

function etcd3Of(options: ConstructorParameters<typeof Etcd3>[0]): Etcd3 {
  const client = new Etcd3(options);
  onTestFinished(() => {
    client.close();
  });
  return client;
}

describe("a World on another World's connections", () => {
  test("is of that one's host and namespace unless it is told otherwise, and makes no connection of its own", async () => {
    const base = await worldOf(etcd, { replica: false, hostname: "h3" });
    await base.str.set("a", "1");
    const before = etcd.proxy.accepted;
    const same = await on(base);
    expect(same).toMatchObject({ hostname: "h3", namespace: base.namespace, uri: base.uri });
    expect((await same.str.get("a")).value).toBe("1");
    const other = await on(base, { namespace: freshNamespace(), hostname: "h4" });
    expect((await other.str.get("a")).value).toBeUndefined();
    await other.strmap.set("m", "of h4", { lease: "session" });
    const watched = watchedValue(other.str.watch("b"));
    await watched.begun();
    await other.str.set("b", "2");
    await eventually("it is told", () => watched.now.get("") === "2");
    expect([...(await other.strmap.get("m")).value]).toEqual([["h4", "of h4"]]);
    expect(other.status.because).toEqual(["no replica is wanted"]);
    expect(etcd.proxy.accepted).toBe(before);
  });

  test("when it is closed its own calls, watches and sessions end, and the other one's go on", async () => {
    const base = await worldOf(etcd, { replica: false });
    const world = await on(base, { hostname: "h2" });
    await using lock = await base.lock("tool");
    await world.strmap.set("up", "yes", { lease: "session" });
    const [kept, ended] = [watchedValue(base.str.watch("a")), watchedValue(world.str.watch("a"))];
    await Promise.all([kept.begun(), ended.begun()]);
    const pending = await on(base);
    await world.close();
    etcd.proxy.stall();
    const call = pending.str.get("a", { timeoutMs: 60_000 }).catch((error: unknown) => error);
    await pending.close();
    expect(await call).toMatchObject({ code: "CLOSED" });
    etcd.proxy.heal();
    expect(ended.failure).toMatchObject({ code: "CLOSED" });
    await base.str.set("a", "1", { fence: lock });
    await eventually("the other one's watch is told", () => kept.now.get("") === "1");
    expect([...(await base.strmap.get("up", { read: "linearizable" })).value.keys()]).toEqual([]);
    expect(kept.wrong).toEqual([]);
  });

  test("ends with that one, while etcd can still be told; and of one that is closed there is none", async () => {
    const base = await worldOf(etcd, { replica: false });
    const world = await on(base, { hostname: "h2" });
    const inner = await on(world, { hostname: "h3" });
    await world.strmap.set("up", "yes", { lease: "session" });
    const lock = await inner.lock("tool", { ttl: 60 });
    await base.close();
    expect(world.status.state).toBe("closed");
    expect(lock.signal.reason).toMatchObject({ code: "CLOSED" });
    await expect(inner.str.get("a")).rejects.toMatchObject({ code: "CLOSED" });
    const { entries } = await etcd.client.range({ start: `${base.namespace}/`, end: `${base.namespace}0` });
    expect(entries.map(({ key }) => key)).toEqual([]);
    await expect(openWorld({ client: base })).rejects.toMatchObject({ name: "WorldError", code: "CLOSED" });
  });

  test("has a replica where that one has, also of another namespace, and both go on when one is closed", async () => {
    const base = await worldOf(etcd);
    await base.str.set("a", "1");
    const world = await on(base, { hostname: "h2" });
    await world.ready({ timeoutMs: 20_000 });
    expect(world.status.folder).toBe(base.status.folder);
    expect((await world.str.get("a", { read: "linearizable", timeoutMs: 20_000 })).value).toBe("1");
    await world.close();
    await base.str.set("a", "2");
    expect((await base.str.get("a", { read: "linearizable" })).value).toBe("2");
    expect(base.status.state).toBe("live");
    expect(feedersOf(base)).toHaveLength(1);
  });

  test("of an agent that has not joined yet: it is opened at once, and what it is asked waits", async () => {
    const agent = start(await host("h1", { idealClusterSize: 1 }));
    const world = await on(agent.world, { namespace: "/mine", replica: false });
    expect(world).toMatchObject({ hostname: "h1", namespace: "/mine" });
    await world.str.set("a", "1", { timeoutMs: 30_000 });
    expect((await world.str.get("a")).value).toBe("1");
    await agent.stop();
    await expect(world.str.get("a")).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("a World on an Etcd3 of npm etcd3", () => {
  test("uses its hosts, written in any of etcd3's ways, and neither closes it nor ends with it", async () => {
    for (const hosts of [etcd.proxy.url, [etcd.proxy.url], etcd.proxy.url.replace("http://", "")]) {
      const client = etcd3Of({ hosts });
      const world = await on(client, { namespace: freshNamespace(), hostname: "h1", replica: false });
      await world.str.set("a", "1");
      await world.close();
      expect(await client.get(keysOf(world).strings.str("a")).string()).toBe("1");
      const after = await on(client, { namespace: world.namespace, replica: false });
      client.close();
      expect((await after.str.get("a")).value).toBe("1");
    }
  });

  test("logs in as it does, without a replica, which would be asked for a password by nobody", async () => {
    await using locked = await startEtcd(1, { flags: ["--bcrypt-cost", "4"] });
    const [url = ""] = locked.urls;
    for (const command of ["user add root:secret", "user grant-role root root", "auth enable"])
      execFileSync(etcdctlBinary(), ["--endpoints", url, ...command.split(" ")], { env: { ETCDCTL_API: "3" }, stdio: "pipe" });
    const client = etcd3Of({ hosts: url, auth: { username: "root", password: "secret" } });
    const world = await on(client, { hostname: "h1" });
    await world.str.set("a", "1", { timeoutMs: 20_000 });
    expect((await world.str.get("a")).value).toBe("1");
    expect(world.status).toMatchObject({ state: "direct", folder: undefined, because: [expect.stringContaining("logs in")] });
    const other = await on(world, { namespace: "/other" });
    await other.str.set("b", "2");
    await expect(openWorld({ client, replica: true })).rejects.toMatchObject({
      code: "INVALID_OPTION",
      data: { option: "replica" },
    });
    const stranger = await on(etcd3Of({ hosts: url, auth: { username: "root", password: "wrong" } }));
    await expect(stranger.str.get("a")).rejects.toMatchObject({ code: "DENIED" });
    const nobody = await on(etcd3Of({ hosts: url }), { replica: false });
    await expect(nobody.str.get("a")).rejects.toMatchObject({ code: "DENIED" });
  });

  test.each<[string, () => object, string]>([
    ["something else", () => ({}), "neither a World nor an Etcd3"],
    ["its own options", () => ({ hosts: "127.0.0.1:1" }), "neither a World nor an Etcd3"],
    ["one that uses TLS", () => etcd3Of({ hosts: "https://127.0.0.1:1" }), "TLS"],
    ["one with certificates", () => etcd3Of({ hosts: "127.0.0.1:1", credentials: { rootCertificate: Buffer.from("x") } }), "TLS"],
    ["a host with a path", () => etcd3Of({ hosts: "http://127.0.0.1:1/x" }), "not of the form"],
    ["what etcd3 calls a namespace", () => etcd3Of({ hosts: "127.0.0.1:1" }).namespace("x/"), "no connection of its own"],
  ])("refuses %s", async (_, client, message) => {
    await expect(openWorld({ client: client() as Etcd3 })).rejects.toMatchObject({
      ...{ name: "WorldError", code: "INVALID_OPTION", data: { option: "client" } },
      message: expect.stringContaining(message) as string,
    });
  });

  test("refuses seeds, ssh or a prefix beside it", async () => {
    const client = etcd3Of({ hosts: etcd.proxy.url });
    for (const more of [{ seeds: [etcd.proxy.url] }, { prefix: "/tmp" }, { ssh: { host: "h" } }])
      await expect(openWorld({ client, ...more })).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option: "client" } });
  });
});
