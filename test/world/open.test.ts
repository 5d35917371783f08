import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { hostname as machineName } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openWorld } from "../../src/world/index.ts";
import type { World, WorldOptions } from "../../src/world/index.ts";
import { host, start } from "../index/agents.ts";
import { runProgram, untilGone } from "../support/etcd-server.ts";
import { freePorts } from "../support/ports.ts";
import { FaultyProxy } from "../support/proxy.ts";
import { etcdOfWorlds, eventually, feedersOf, freshNamespace, keysOf, temporaryFolder, ways, worldOf } from "./fixture.ts";
import type { WorldEtcd } from "./fixture.ts";
import { replicaFolder } from "./programs.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

/** Closed when the test is over, with its feeder. */
async function opened(options: WorldOptions): Promise<World> {
  const world = await openWorld(options);
  onTestFinished(async () => {
    const feeders = feedersOf(world);
    await world.close();
    await Promise.all(feeders.map((pid) => untilGone(pid)));
  });
  return world;
}

/** The user's folders are in a home of the test's own. */
async function ownHome(): Promise<string> {
  const before = process.env["HOME"];
  const home = await temporaryFolder();
  process.env["HOME"] = home;
  onTestFinished(() => {
    process.env["HOME"] = before;
  });
  return home;
}

async function deadUrl(): Promise<string> {
  const [port] = await freePorts(1);
  return `http://127.0.0.1:${port}`;
}

describe("openWorld()", () => {
  test.each<[string, object, string]>([
    ["neither seeds nor a prefix", {}, "seeds"],
    ["no seed at all", { seeds: [] }, "seeds"],
    ["a seed without a scheme", { seeds: ["127.0.0.1:2379"] }, "seeds"],
    ["a seed with a path", { seeds: ["http://a:1/x"] }, "seeds"],
    ["a seed of another scheme", { seeds: ["ftp://a:1"] }, "seeds"],
    ["a seed that is no string", { seeds: [1] }, "seeds"],
    ["a hostname with a slash", { hostname: "a/b" }, "hostname"],
    ["an empty hostname", { hostname: "" }, "hostname"],
    ["a hostname that is everyone", { hostname: "*" }, "hostname"],
    ["a namespace without a slash", { namespace: "x" }, "namespace"],
    ["a namespace with a slash at its end", { namespace: "/x/" }, "namespace"],
    ["a session without time", { sessionTtl: 0 }, "ttl"],
    ["a session of no number", { sessionTtl: Number.NaN }, "ttl"],
    ["a group that is not there", { worldGroup: "no-such-group" }, "worldGroup"],
  ])("refuses %s", async (_, options, option) => {
    const seeds = option === "seeds" ? {} : { seeds: [etcd.proxy.url] };
    await expect(openWorld({ ...seeds, ...options })).rejects.toMatchObject({
      ...{ name: "WorldError", code: "INVALID_OPTION", outcome: "none", retryable: false, data: { option } },
      message: expect.stringMatching(/^Cannot /) as string,
    });
  });

  test("fails as retryable where nobody answers and no copy is known; without a replica each call does", async () => {
    await ownHome();
    const dead = await deadUrl();
    const expected = { code: expect.stringMatching(/^(UNAVAILABLE|DEADLINE)$/) as string, retryable: true, outcome: "none" };
    await expect(openWorld({ seeds: [dead] })).rejects.toMatchObject(expected);
    const world = await opened({ seeds: [dead], replica: false });
    await expect(world.str.get("a", { timeoutMs: 500 })).rejects.toMatchObject(expected);
    await expect(world.str.set("a", "1", { timeoutMs: 500 })).rejects.toMatchObject(expected);
  });

  test("needs one seed that answers, is the machine by default, and reads an etcd that knows nothing of Quorate", async () => {
    const home = await ownHome();
    const namespace = freshNamespace();
    const world = await opened({ seeds: [await deadUrl(), `${etcd.proxy.url}/`], namespace });
    expect(world).toMatchObject({ hostname: machineName(), namespace });
    await world.str.set("a", "1", { timeoutMs: 20_000 });
    expect((await world.str.get("a", { timeoutMs: 20_000 })).value).toBe("1");
    expect(world.status.folder).toContain(home);
    expect((await opened({ seeds: [etcd.url], hostname: "h7", replica: false })).hostname).toBe("h7");
  });

  test("finds the copy that it has of a cluster that does not answer", async () => {
    await ownHome();
    const namespace = freshNamespace();
    const first = await openWorld({ seeds: [etcd.proxy.url], namespace });
    await first.str.set("a", "1");
    await first.str.get("a", { read: "linearizable", timeoutMs: 20_000 });
    await eventually("there is a copy", () => first.status.state === "live", 20_000);
    const feeders = feedersOf(first);
    await first.close();
    await Promise.all(feeders.map((pid) => untilGone(pid)));
    etcd.gone();
    onTestFinished(() => {
      etcd.back();
    });
    const second = await opened({ seeds: [etcd.proxy.url], namespace });
    expect(await second.str.get("a", { read: "local", timeoutMs: 20_000 })).toMatchObject({ value: "1" });
    etcd.back();
    await second.str.set("a", "2", { timeoutMs: 20_000 });
    expect((await second.str.get("a", { timeoutMs: 20_000 })).value).toBe("2");
  });
});

describe("a prefix", () => {
  test.each([{ replica: false }, { replica: true }])(
    "of a running agent, $replica that it keeps a replica, is all that is needed",
    async ({ replica }) => {
      const options = await host("h1", { idealClusterSize: 1, replica });
      const agent = start(options);
      await agent.ready;
      const prefix = options.prefix!;
      const beside = await opened({ prefix });
      const other = await opened({ prefix, hostname: "tool" });
      expect([beside.hostname, other.hostname]).toEqual(["h1", "tool"]);
      await beside.str.set("a", "1", { timeoutMs: 20_000 });
      expect((await other.str.get("a", { read: "linearizable", timeoutMs: 20_000 })).value).toBe("1");
      expect([beside.status.folder, other.status.folder]).toEqual([join(prefix, "world"), join(prefix, "world")]);
      expect(beside.status.because).toEqual([]);
      const direct = await opened({ prefix, replica: false });
      expect((await direct.str.get("a", { timeoutMs: 20_000 })).value).toBe("1");
      await agent.leave();
      expect((await other.str.get("a", { read: "local" })).value).toBe("1");
    },
  );

  test("whose state nobody can read is refused; one without a state needs seeds", async () => {
    for (const text of ["{", "null", "", '"text"x']) {
      const prefix = await temporaryFolder();
      await writeFile(join(prefix, "state.json"), text);
      await expect(openWorld({ prefix }), text).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option: "prefix" } });
    }
    const folder = await temporaryFolder();
    await mkdir(join(folder, "state.json"));
    await expect(openWorld({ prefix: folder })).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option: "prefix" } });
    const empty = await temporaryFolder();
    await expect(openWorld({ prefix: empty })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    await expect(openWorld({ prefix: join(empty, "none") })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    const world = await opened({ prefix: empty, seeds: [etcd.proxy.url], namespace: freshNamespace() });
    await world.str.set("a", "1", { timeoutMs: 20_000 });
    expect(world.hostname).toBe(machineName());
    expect(world.status.folder).toBe(join(empty, "world"));
  });

  test("whose state has other things in it than ours is used as far as it goes", async () => {
    const prefix = await temporaryFolder();
    await writeFile(join(prefix, "state.json"), JSON.stringify({ hostname: 1, clusterId: [], endpoints: [1, etcd.proxy.url] }));
    const world = await opened({ prefix, replica: false, namespace: freshNamespace() });
    expect(world.hostname).toBe(machineName());
    await world.str.set("a", "1");
  });
});

describe("close()", () => {
  test.each([
    { how: "close", replica: true },
    { how: "using", replica: false },
  ])("a program that used everything ends by itself at once (by $how, replica: $replica)", async ({ how, replica }) => {
    const namespace = freshNamespace();
    const folder = replica ? { folder: await replicaFolder() } : {};
    const options = { seeds: [etcd.url], namespace, replica, how, ...folder };
    const program = runProgram(new URL("programs/use-and-close.ts", import.meta.url), [JSON.stringify(options)]);
    const exited = once(program.child, "exit");
    expect(await program.line()).toBe("closed");
    const closedMs = performance.now();
    expect(await exited).toEqual([0, null]);
    expect(performance.now() - closedMs).toBeLessThan(2_000);
    // What hung on its sessions went with them.
    const left = await etcd.client.range({ start: `${namespace}/`, end: `${namespace}0` });
    expect(left.entries.filter(({ lease }) => lease !== "0").map(({ key }) => key)).toEqual([
      `${namespace}/strings/m/${machineName()}`,
    ]);
  });

  test.each(ways)(
    "$way, settles every call that is under way, leaves no connection, and may be called again",
    async ({ replica }) => {
      await using proxy = await FaultyProxy.start(etcd.url);
      const world = await worldOf({ proxy }, { replica });
      await world.str.set("warm", "1");
      const calls = Array.from({ length: 100 }, (_, i) => [
        world.str.set(`s${i}`, "v"),
        world.str.get(`s${i}`, { read: "linearizable" }),
        world.resource.export([{ kind: "k", name: `n${i}`, value: "v" }]),
        world.deploy.list({ read: "direct" }),
        world.members.get(),
      ]).flat();
      const settled = Promise.allSettled(calls);
      await Promise.all([world.close(), world.close(), world[Symbol.asyncDispose]()]);
      for (const one of await settled) {
        if (one.status === "rejected") {
          expect(one.reason).toMatchObject({ code: expect.stringMatching(/^(CLOSED|OUTCOME_UNKNOWN)$/) as string });
        }
      }
      await eventually("no connection is left", () => proxy.open === 0);
      expect(world.status.state).toBe("closed");
      await world.close();
      // What was told to be written is.
      const { entries } = await etcd.client.range(keysOf(world).strings);
      const written = (await settled).filter(({ status }, i) => i % 5 === 0 && status === "fulfilled").length;
      expect(entries.length - 1).toBeGreaterThanOrEqual(written);
    },
  );

  test("of a World that was opened and never used leaves no connection either", async () => {
    await ownHome();
    await using proxy = await FaultyProxy.start(etcd.url);
    const world = await openWorld({ seeds: [proxy.url], namespace: freshNamespace() });
    expect(proxy.open).toBe(1);
    await world.close();
    await eventually("no connection is left", () => proxy.open === 0);
  });

  test("of one of two Worlds of a program leaves the other as it was", async () => {
    const namespace = freshNamespace();
    const folder = await replicaFolder();
    const [one, two] = [await worldOf(etcd, { namespace, folder }), await worldOf(etcd, { namespace, folder, hostname: "h2" })];
    await one.close();
    await two.str.set("a", "1");
    expect((await two.str.get("a")).value).toBe("1");
    expect(two.status.state).toBe("live");
  });
});
