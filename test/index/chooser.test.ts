import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { filter, firstValueFrom, map, merge, timeout } from "rxjs";
import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import { dynamicSize, type Agent, type AgentStatus, type Chooser } from "../../src/index.ts";
import { eventually } from "../support/eventually.ts";
import { host, start } from "./agents.ts";

const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";

function until(agents: readonly Agent[], what: (statuses: readonly AgentStatus[]) => boolean): Promise<unknown> {
  const all = merge(...agents.map((agent) => agent.status$));
  const now = (): boolean => what(agents.map((agent) => agent.status()));
  return firstValueFrom(all.pipe(map(now), filter(Boolean), timeout({ first: 40_000 }))).catch((cause: unknown) => {
    throw new Error(`The agents are ${agents.map((agent) => JSON.stringify(agent.status())).join("\n")}`, { cause });
  });
}

const voting =
  (...hosts: string[]) =>
  (statuses: readonly AgentStatus[]): boolean =>
    statuses.every(({ hostname, role }) => (role === "voter") === hosts.includes(hostname));

/** The built-in one, but for hosts that are never to have a seat where others can. */
const without = (...hosts: string[]): Chooser => ({
  name: "without",
  choose: (seen, policy) => dynamicSize.choose(seen, policy).filter((name) => !hosts.includes(name)),
});

test("a cluster is made of whom its chooser names, and the one it does not name makes way when somebody can take over", async () => {
  const chooser = without("h1");
  const one = await host("h1", { chooser, idealClusterSize: 1 });
  const agents = [start(one)];
  await agents[0]?.ready;
  agents.push(start(await host("h2", { seeds: one.clientUrls, chooser })));
  await until(agents, voting("h2"));
  expect(agents[1]?.status().problem).toBeUndefined();

  const h2 = agents[1]?.status().clientUrls ?? [];
  await using client = EtcdClient.create({ endpoints: h2, clock });
  const policy = (await client.get("/_mgmt/quorate/policy")).entry?.value;
  expect(JSON.parse(policy ?? "null")).toMatchObject({ chooser: "without" });
  const told = await eventually("the plan tells the wish", async () => {
    const plan = JSON.parse((await client.get("/_mgmt/quorate/plan")).entry?.value ?? "{}") as { wish?: object; kind?: string };
    return plan.kind === "settled" && plan;
  });
  expect(told).toMatchObject({ wish: { by: "without", seats: ["h2"] } });
});

test("whatever a chooser answers, the cluster keeps its voters, and status says what was wrong", async () => {
  let answer: (size: number) => unknown = () => ["h1", "h2", "h3"];
  const chooser: Chooser = { name: "wild", choose: ((seen) => answer(seen.idealClusterSize)) as Chooser["choose"] };
  const one = await host("h1", { chooser });
  const agents = [start(one)];
  for (const name of ["h2", "h3"]) agents.push(start(await host(name, { seeds: one.clientUrls, chooser })));
  await until(agents, voting("h1", "h2", "h3"));
  await using client = EtcdClient.create({ endpoints: one.clientUrls, clock });
  const plan = async (): Promise<{ because: string; notices: string[] }> =>
    JSON.parse((await client.get("/_mgmt/quorate/plan")).entry?.value ?? "{}") as never;
  const wild: readonly (readonly [() => unknown, RegExp])[] = [
    [() => undefined, /returned nothing, not a list of names/],
    [
      () => {
        throw new Error("boom");
      },
      /it threw "boom"/,
    ],
    [() => new Promise(() => undefined), /did not answer within 1000 ms/],
    [() => ["h9", "h1", "h1"], /1 name in it is repeated/],
    [() => [], /names nobody that is there/],
  ];
  for (const [wish, why] of wild) {
    answer = wish;
    await client.put(sizeKey, "3"); // Rings the leader.
    const seen = await eventually(`the plan says ${String(why)}`, async () => {
      const now = await plan();
      return now.notices.some((notice) => why.test(notice)) && now;
    });
    expect(seen.because).not.toMatch(/undefined/);
    expect((await client.readMembership()).members.filter(({ learner }) => !learner)).toHaveLength(3);
  }
  answer = () => ["h1", "h2", "h3"];
  await eventually("it is settled again", async () => (await plan()).notices.length === 0);
});

test("only agents that have the cluster's chooser lead; the others say so, and lead again once it is the built-in one", async () => {
  const lines: { host?: string; msg?: string }[] = [];
  const logger = pino({ level: "warn" }, { write: (line: string) => lines.push(JSON.parse(line) as object) });
  const one = await host("h1", { chooser: without(), idealClusterSize: 3 });
  const founder = start(one);
  const others = [start(await host("h2", { seeds: one.clientUrls, logger })), start(await host("h3", { seeds: one.clientUrls }))];
  await until([founder, ...others], voting("h1", "h2", "h3"));
  const why = "this host can not lead: the cluster's chooser is without, and this agent has only the built-in one";
  await until(others, (statuses) => statuses.every(({ problem }) => problem === why));
  expect(lines.map(({ msg }) => msg)).toContain(why.replace("host", "agent"));
  await using client = EtcdClient.create({ endpoints: others.flatMap((agent) => agent.status().clientUrls), clock });
  expect(
    (await client.range({ start: "/_mgmt/quorate/leader/", end: "/_mgmt/quorate/leader0" })).entries.map((e) => e.value),
  ).toEqual(["h1"]);
  const { notices } = await eventually("the leader tells who can not lead", async () => {
    const plan = JSON.parse((await client.get("/_mgmt/quorate/plan")).entry?.value ?? "{}") as { notices?: string[] };
    return plan.notices?.some((notice) => notice.includes("lead")) && plan;
  });
  expect(notices).toEqual(["h2 and h3 do not have the chooser without, so they can not lead"]);

  await founder.stop();
  await until(others, (statuses) => statuses.every(({ leader }) => leader === undefined));
  const policy = JSON.parse((await client.get("/_mgmt/quorate/policy")).entry?.value ?? "{}") as object;
  await client.put("/_mgmt/quorate/policy", JSON.stringify({ ...policy, chooser: "dynamicsize" }));
  await until(others, (statuses) => statuses.some(({ leading }) => leading));
  await until(others, (statuses) => statuses.every(({ problem }) => problem === undefined));

  // And the other way round: the leader stops leading when the chooser becomes one that it does not have.
  await client.put("/_mgmt/quorate/policy", JSON.stringify({ ...policy, chooser: "nobodys" }));
  await until(others, (statuses) => statuses.every(({ leading, leader }) => !leading && leader === undefined));
});

test("a chooser that never returns loses its session: another agent leads, and the cluster serves all the while", async () => {
  const one = await host("h1");
  const hooks = new URL("../support/typescript-hooks.mjs", import.meta.url).href;
  const program = fileURLToPath(new URL("programs/looping-chooser.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", hooks, program, JSON.stringify(one)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const gone = once(child, "exit");
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await gone;
  });
  await eventually("the founder is ready", () => said.includes("ready"), 30_000);
  const chooser: Chooser = { name: "mine", choose: (seen) => seen.volunteers.map((volunteer) => volunteer.agent) };
  const others = [
    start(await host("h2", { seeds: one.clientUrls, chooser })),
    start(await host("h3", { seeds: one.clientUrls, chooser })),
  ];
  await until(others, voting("h2", "h3"));
  expect(others.map((agent) => agent.status().leader)).toEqual(["h1", "h1"]);

  await using client = EtcdClient.create({
    endpoints: [...one.clientUrls, ...others.flatMap((a) => a.status().clientUrls)],
    clock,
  });
  await client.put(sizeKey, "2");
  await eventually("the chooser of the leader does not return", () => said.includes("looping"));
  // The agent is stuck; its server is a process of its own, and serves.
  await client.put("written while the leader loops", "1", { endpoint: one.clientUrls[0] });
  await until(others, (statuses) => statuses.some(({ leading }) => leading));
  const leader = others.find((agent) => agent.status().leading);
  await client.put(sizeKey, "3");
  await until(others, (statuses) => statuses.every((status) => status.leader === leader?.status().hostname));
  const { members } = await client.readMembership();
  expect(members.filter(({ learner }) => !learner).map(({ name }) => name)).toContain("h1");
  expect(said.match(/looping/g)).toHaveLength(1);
  expect(child.exitCode).toBeNull();
  // An etcd that is stopped waits for clients that do not answer: so this one goes before the others do.
  child.kill("SIGKILL");
  await gone;
});
