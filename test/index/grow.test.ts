import { filter, firstValueFrom, map, merge, timeout } from "rxjs";
import { expect, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { EtcdClient } from "../../src/etcd/index.ts";
import type { Agent, AgentStatus, ServerExit } from "../../src/index.ts";
import { isAlive } from "../support/etcd-server.ts";
import { host, start } from "./agents.ts";

const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";

type Role = AgentStatus["role"];

/** Until so many of the agents have each role. */
async function roles(agents: readonly Agent[], wanted: Readonly<Partial<Record<Role, number>>>): Promise<void> {
  const count = (role: string): number => agents.filter((agent) => agent.status().role === role).length;
  const fits = (): boolean => Object.entries(wanted).every(([role, n]) => count(role) === n);
  const all = merge(...agents.map((agent) => agent.status$));
  await firstValueFrom(all.pipe(map(fits), filter(Boolean), timeout({ first: 40_000 }))).catch((cause: unknown) => {
    throw new Error(`The roles are ${agents.map((agent) => JSON.stringify(agent.status())).join("\n")}`, { cause });
  });
}

test("three agents in one process form three voters, shrink to one and grow again, as the size key says", async () => {
  const one = await host("h1");
  const agents: Agent[] = [];
  const errors: unknown[] = [];
  const pids = new Map<string, number[]>();
  const exits = new Map<string, ServerExit[]>();
  for (const options of [one, await host("h2", { seeds: one.clientUrls }), await host("h3", { seeds: one.clientUrls })]) {
    const agent = start(options);
    const { hostname } = agent.status();
    agent.err$.subscribe((error) => errors.push(error));
    agent.serverReady$.subscribe(({ pid }) => pids.set(hostname, [...(pids.get(hostname) ?? []), pid]));
    agent.serverExited$.subscribe((exit) => exits.set(hostname, [...(exits.get(hostname) ?? []), exit]));
    agents.push(agent);
  }
  const [h1] = agents as [Agent];
  await Promise.all(agents.map((agent) => agent.ready));
  await roles(agents, { voter: 3 });
  const known = h1.status$.pipe(filter((status) => status.failureTolerance === 1 && status.members.length === 3));
  expect(await firstValueFrom(known)).toMatchObject({
    idealClusterSize: 3,
    members: ["h1", "h2", "h3"],
    role: "voter",
    phase: "running",
    problem: undefined,
  });
  expect(agents.filter((agent) => agent.status().leading)).toHaveLength(1);
  for (const agent of agents) expect(isAlive(agent.status().serverPid ?? 0)).toBe(true);
  expect(errors).toEqual([]);

  await using client = EtcdClient.create({ endpoints: agents.flatMap((agent) => agent.status().clientUrls), clock });
  await client.put(sizeKey, "1");
  await roles(agents, { voter: 1, spare: 2 });
  for (const agent of agents.filter((a) => a.status().role === "spare")) {
    const { hostname } = agent.status();
    expect(agent.status()).toMatchObject({ serverPid: undefined, clientUrls: [], memberId: undefined });
    expect(exits.get(hostname)).toHaveLength(1);
    for (const pid of pids.get(hostname) ?? []) expect(isAlive(pid)).toBe(false);
  }

  // Those let go are asked again at once and not passed over: each new seat is for the new, empty data.
  client.endpoints.set(agents.flatMap((agent) => agent.status().clientUrls));
  await client.put(sizeKey, "3");
  await roles(agents, { voter: 3 });
  expect([...pids.values()].map((list) => list.length).sort()).toEqual([1, 2, 2]);

  // While the first shrink is still under way it is taken back: whoever was let go already is asked again.
  client.endpoints.set(agents.flatMap((agent) => agent.status().clientUrls));
  await client.put(sizeKey, "1");
  await firstValueFrom(merge(...agents.map((agent) => agent.serverExited$)).pipe(timeout({ first: 40_000 })));
  client.endpoints.set(agents.flatMap((agent) => agent.status().clientUrls));
  await client.put(sizeKey, "3");
  await roles(agents, { voter: 3 });
  // Nobody crashed or was taken for a host that lost its data.
  expect(errors).toEqual([]);
  for (const exit of [...exits.values()].flat()) expect(exit.asked || exit.removed).toBe(true);
});
