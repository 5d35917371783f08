import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { Agent, AgentDeps, AgentOptions } from "../../src/index.ts";
import { systemClock as clock, raced, type Clock } from "../../src/clock.ts";
import { keysUnder } from "../../src/keys.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { Random } from "../support/random.ts";
import { host, start } from "./agents.ts";

/** Three times the goal. */
const agreedWithinMs = 3_000;
const keys = keysUnder("/_mgmt");
const never = new AbortController().signal;

/** One that agents without a server share, each test in a namespace of its own. */
let etcd: TestCluster;
let cluster: EtcdClient;
beforeAll(async () => {
  etcd = await startEtcd(1);
  cluster = EtcdClient.create({ endpoints: etcd.urls, clock });
});
afterAll(async () => {
  await cluster.close();
  await etcd.stop();
});

/** Three agents, each started with the first as its seed. */
async function three(): Promise<readonly Agent[]> {
  const first = await host("h1");
  const others = await Promise.all(["h2", "h3"].map((name) => host(name, { seeds: first.clientUrls })));
  return [first, ...others].map((options) => start(options));
}

/** What is written below /converged, past every agent. */
async function written(agent: Agent): Promise<Record<string, string>> {
  await using client = EtcdClient.create({ endpoints: agent.status().endpoints, clock });
  const { entries } = await client.range(keys.converged);
  return Object.fromEntries(entries.map(({ key, value }) => [key, value]));
}

const isConverged = async (agent: Agent): Promise<boolean> =>
  (await agent.world.converger.get({ read: "linearizable", timeoutMs: 20_000 })).converged;

test("three agents with parts that flip at random agree with the truth after the last flip, and one that ends counts no more", async () => {
  const seed = 60_602;
  const random = new Random(seed);
  const agents = await three();
  await Promise.all(agents.map((agent) => agent.ready));
  await Promise.all(agents.map(({ world }) => world.ready({ timeoutMs: 45_000 })));
  await eventually("all are converged by themselves", () => isConverged(agents[0]!), 30_000);
  expect(await written(agents[0]!)).toEqual({
    "/_mgmt/converged/h1": "true",
    "/_mgmt/converged/h2": "true",
    "/_mgmt/converged/h3": "true",
  });
  const parts = agents.flatMap(({ world }) => ["a", "b"].map((name) => world.converger.register(name)));
  const hooked = agents.map((): boolean[] => []);
  for (const [i, { world }] of agents.entries()) world.converger.onChange(({ converged }) => void hooked[i]!.push(converged));
  await eventually("every hook is called with what is so", () => hooked.every((told) => told.length > 0), 30_000);
  for (let round = 0; round < 6; round++) {
    for (let flip = random.between(5, 40); flip > 0; flip--) {
      random.pick(parts).set(random.chance(0.5));
      if (random.chance(0.3)) await clock.sleep(random.between(0, 10), never);
    }
    if (round % 2 === 1) for (const part of parts) part.set(true);
    const truth = parts.every(({ converged }) => converged);
    const agree = async (): Promise<boolean> => {
      const got = await Promise.all(agents.map(({ world }) => world.converger.get()));
      return (
        got.every(({ hosts, converged }) => hosts.length === 3 && converged === truth) &&
        hooked.every((told) => told.at(-1) === truth)
      );
    };
    await eventually(`all say ${truth} (seed ${seed}, round ${round})`, agree, agreedWithinMs);
  }
  expect(agents[1]!.world.converger.here.parts.map(({ name }) => name)).toEqual([
    ...["a", "agent/agent", "agent/cluster", "agent/seat", "agent/server", "b"],
  ]);
  agents[2]!.world.converger.register("never");
  await eventually("h3 is not", async () => !(await isConverged(agents[0]!)));
  await agents[2]!.leave();
  await eventually("h3 is gone, and the others are", () => isConverged(agents[0]!), 20_000);
  expect(Object.keys(await written(agents[0]!))).toEqual(["/_mgmt/converged/h1", "/_mgmt/converged/h2"]);
});

/** An agent without a server of its own: it founds nothing, and so takes no time to be sure of that. */
async function client(hostname: string, more: Partial<AgentOptions> = {}, deps: AgentDeps = {}): Promise<Agent> {
  const { clientUrls: _, serverUrls: __, ...options } = await host(hostname, { seeds: etcd.urls, server: false, ...more });
  return start(options, deps);
}

test("agents that end once all are converged wait for the last of them, and all end with 0; the status file has said so", async () => {
  const folder = await mkdtemp(join(tmpdir(), "quorate-converged-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = (hostname: string): string => join(folder, hostname);
  const ends = { namespace: "/ends", convergedTimeoutMs: 200, convergedExit: true };
  const names = ["h1", "h2", "h3"];
  const agents = await Promise.all(names.map((name) => client(name, { ...ends, convergedStatusFile: file(name) })));
  // Before anything else happens: whoever is the first would be alone, and converged.
  const gates = agents.map(({ world }) => world.converger.register("gate"));
  const say = async (said: string): Promise<string> =>
    eventually(said, async () => {
      const { entries } = await cluster.range(keysUnder(ends.namespace).converged);
      return entries.map(({ value }) => value).join() === said && said;
    });
  await say("false,false,false");
  for (const gate of gates.slice(1)) gate.set(true);
  await say("false,true,true");
  expect(await readFile(file("h1"), "utf8")).toBe("false\n");
  gates[0]!.set(true);
  for (const [i, exit] of (await Promise.all(agents.map(({ exited }) => exited))).entries()) {
    expect(exit, names[i]).toEqual({ exitCode: 0, error: undefined, how: "stopped", notice: "all hosts are converged" });
    expect(await readFile(file(names[i]!), "utf8"), names[i]).toBe("false\ntrue\n");
  }
});

test("an agent that has not seen the moment at which all were converged ends by the word of one that did", async () => {
  const { converged, restarting } = keysUnder("/missed");
  await cluster.put(converged.key("h9"), "false");
  const agent = await client("h1", { namespace: "/missed", convergedTimeoutMs: 0, convergedExit: true });
  const gate = agent.world.converger.register("gate");
  await agent.ready;
  const h2Ends = (reason: string): Promise<unknown> => cluster.put(restarting.key("h2"), JSON.stringify({ reason }));
  // It has not said yet that it is converged: so that was not about this agent.
  await h2Ends("converged");
  gate.set(true);
  await eventually("it says that it is", async () => (await cluster.get(converged.key("h1"))).entry?.value === "true");
  await h2Ends("stopped in place");
  expect(agent.status().phase).toBe("running");
  await h2Ends("converged");
  expect(await agent.exited).toMatchObject({ exitCode: 0, how: "stopped" });
});

test("what an earlier life has said of an agent does not end the one that is started again", async () => {
  const { converged } = keysUnder("/again");
  await cluster.put(converged.key("h1"), "true");
  const agent = await client("h1", { namespace: "/again", convergedTimeoutMs: 60_000, convergedExit: true });
  await agent.ready;
  await eventually("it speaks for itself", async () => (await cluster.get(converged.key("h1"))).entry?.value === "false");
  expect(agent.status().phase).toBe("running");
});

test("what an agent says of itself is said again where somebody deletes it or writes over it", async () => {
  const agent = await client("h1", { namespace: "/deleted" });
  await agent.ready;
  const key = keysUnder("/deleted").converged.key("h1");
  const says = async (value: string): Promise<boolean> => (await cluster.get(key)).entry?.value === value;
  await eventually("it is converged", () => says("true"));
  await cluster.del(key);
  await eventually("it is there again", () => says("true"), 5_000);
  await cluster.put(key, "perhaps");
  await eventually("it is true again", () => says("true"), 5_000);
});

test("an agent ends after the time it was to run, as SIGTERM ends it: in place, or by leaving; also before it has joined", async () => {
  const maxRuntimeMs = 3_600_000;
  const ends = async (more: Partial<AgentOptions>, joined: boolean): Promise<unknown> => {
    const time = new AbortController();
    const hurried: Clock = {
      ...clock,
      sleep: (ms, signal) => (ms === maxRuntimeMs ? untilFired(time.signal, signal) : clock.sleep(ms, signal)),
    };
    const agent = await client("h1", { namespace: "/ends", maxRuntimeMs, ...more }, { clock: hurried });
    if (joined) await agent.ready;
    time.abort();
    return agent.exited;
  };
  const notice = "it has run for 3600 s, as it was to";
  expect(await ends({}, true)).toEqual({ exitCode: 0, error: undefined, how: "stopped", notice });
  expect(await ends({ leaveOnTerminate: true }, true)).toEqual({ exitCode: 0, error: undefined, how: "left", notice });
  expect(await ends({ seeds: ["http://127.0.0.1:1"] }, false)).toMatchObject({ exitCode: 0, how: "stopped" });
});

/** Resolves when the first fires, and rejects when the second one does. */
async function untilFired(first: AbortSignal, second: AbortSignal): Promise<void> {
  await raced(new Promise<void>((resolve) => first.addEventListener("abort", () => resolve())), second);
}

test("a status file that cannot be written is said before anything is started", async () => {
  const agent = await client("h1", { convergedStatusFile: "/nowhere/converged" });
  await expect(agent.ready).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option: "convergedStatusFile" } });
  expect(await agent.exited).toMatchObject({ exitCode: 2, how: "failed" });
});
