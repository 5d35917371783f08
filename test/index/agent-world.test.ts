import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { WorldError, openWorld } from "../../src/world/index.ts";
import { eventually } from "../support/eventually.ts";
import { host, start } from "./agents.ts";

test("a program reads and writes the World of its agent; a program beside it needs the prefix and nothing else", async () => {
  const options = await host("h1");
  const agent = start(options);
  // Asked before the agent has joined: it waits for that.
  await agent.world.strmap.set("address", "192.0.2.1", { timeoutMs: 20_000 });
  expect(agent.world.hostname).toBe("h1");
  expect(agent.world.status.folder).toBe(join(options.prefix!, "world"));
  await using beside = await openWorld({ prefix: options.prefix! });
  expect(beside.hostname).toBe("h1");
  const got = await beside.strmap.get("address", { read: "linearizable", timeoutMs: 20_000 });
  expect([...got.value]).toEqual([["h1", "192.0.2.1"]]);
  expect((await agent.world.members.get()).members.map(({ name }) => name)).toEqual(["h1"]);
  expect((await beside.idealClusterSize.get()).value).toBe(3);
});

test("the World ends with its agent, and what hangs on its session with it", async () => {
  const founder = start(await host("h1", { idealClusterSize: 1 }));
  await founder.ready;
  const options = await host("h2", { seeds: founder.status().clientUrls });
  const agent = start(options);
  await agent.ready;
  const lock = await agent.world.lock("tool", { ttl: 60 });
  await agent.world.strmap.set("up", "yes", { lease: "session" });
  await agent.world.strmap.set("known", "yes");
  const watching = (async () => {
    for await (const event of agent.world.str.watch("none")) expect(event.kind).not.toBe("changes");
  })();
  const over = expect(watching).rejects.toMatchObject({ code: "CLOSED" });
  await agent.leave();
  await over;
  expect(lock.signal.reason).toMatchObject({ code: "CLOSED" });
  // Neither had to expire.
  const next = await founder.world.lock("tool", { timeoutMs: 5_000 });
  await next.release();
  expect([...(await founder.world.strmap.get("up", { read: "linearizable" })).value.keys()]).toEqual([]);
  expect([...(await founder.world.strmap.get("known")).value.keys()]).toEqual(["h2"]);
  await expect(agent.world.str.get("none")).rejects.toBeInstanceOf(WorldError);
  await expect(agent.world.str.get("none")).rejects.toMatchObject({ code: "CLOSED" });
});

test("an agent that never joins has a World that says so, and ends", async () => {
  const agent = start(await host("h1", { seeds: ["http://127.0.0.1:1"] }));
  await expect(agent.world.str.get("a", { timeoutMs: 300 })).rejects.toMatchObject({ code: "DEADLINE", outcome: "none" });
  const electing = agent.world.elect("tool");
  const over = expect(electing).rejects.toMatchObject({ code: "CLOSED" });
  await agent.stop();
  await over;
});

test("the World of an agent with a temporary prefix leaves nothing behind", async () => {
  const { prefix: _, ...options } = await host("h1");
  const agent = start({ ...options, tmpPrefix: true });
  await agent.ready;
  await agent.world.str.set("a", "1");
  await agent.world.ready({ timeoutMs: 20_000 });
  await eventually("the replica is live", () => agent.world.status.state === "live");
  expect(agent.world.str.getSync("a").value).toBe("1");
  const { folder } = agent.world.status;
  onTestFinished(() => expect(existsSync(folder!)).toBe(false));
  await agent.stop();
  expect(existsSync(folder!)).toBe(false);
});
