import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

// Of "the agent's life": "restart grace on SIGTERM" (it waits up to 20 s while its stop would break quorum), and "raft leadership moved
// before the raft leader goes".

const hosts = ["h1", "h2", "h3"];

async function open(): Promise<{ fleet: Fleet; agents: ReadonlyMap<string, AgentProcess>; leads: string; follow: string[] }> {
  const fleet = await Fleet.open();
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  const agents = new Map((await fleet.form(hosts)).map((agent) => [agent.place.hostname, agent]));
  const { leader } = await fleet.ask<{ leader: string }>("h1", "maintenance/status");
  const members = await fleet.members("h1");
  const leads = members.find(({ id }) => id === BigInt(leader).toString(16))?.name ?? "";
  expect(hosts).toContain(leads);
  return { fleet, agents, leads, follow: hosts.filter((host) => host !== leads) };
}

function agentOf(agents: ReadonlyMap<string, AgentProcess>, host: string | undefined): AgentProcess {
  const agent = agents.get(host ?? "");
  if (!agent) throw new Error(`There is no ${host}`);
  return agent;
}

describe("an agent that is terminated", { timeout: 90_000 }, () => {
  test("waits while another voter restarts, and goes when that one is back: no write fails for longer than an election", async () => {
    const { fleet, agents, follow } = await open();
    const [first = "", second = ""] = follow;
    const before = await fleet.members(second);
    const writer = await fleet.writer(hosts);
    agentOf(agents, first).signal("SIGTERM");
    expect(await agentOf(agents, first).end(15_000)).toMatchObject({ code: 0 });

    const waiting = agentOf(agents, second);
    waiting.signal("SIGTERM");
    const said = await waiting.line(({ msg }) => msg.startsWith("waiting for"), 10_000);
    expect(said).toMatchObject({
      msg: `waiting for ${first} before this server stops: there is no quorum without it and them`,
      missing: [first],
    });
    expect(waiting.etcdPid()).toBeDefined();
    const back = await fleet.start(first, { seeds: [second] });
    await back.line("continuing with own data");
    expect(await waiting.end(25_000)).toMatchObject({ code: 0 });
    expect(waiting.lines.map(({ msg }) => msg)).not.toContain(
      "stopping although that costs the quorum: nobody came back in time",
    );
    await fleet.start(second, { seeds: [first] });
    await fleet.settled(3, [first], 40_000);
    const { longestGapMs, lost } = await writer.finish();
    console.log(`one restart while another one waits: longest gap between writes ${longestGapMs} ms`);
    expect(lost).toEqual([]);
    expect(await fleet.members(first)).toEqual(before);
  });

  test("does not wait for who stops as well, nor after a second signal", async () => {
    const { agents, leads, follow } = await open();
    const [first = "", second = ""] = follow;
    agentOf(agents, first).signal("SIGTERM");
    await agentOf(agents, first).end(15_000);
    const waiting = agentOf(agents, second);
    waiting.signal("SIGTERM");
    await waiting.line(({ msg }) => msg.startsWith("waiting for"), 10_000);
    // Nobody would be left to keep the quorum for.
    const last = agentOf(agents, leads);
    last.signal("SIGTERM");
    const ends = await Promise.all([waiting.end(12_000), last.end(12_000)]);
    expect(ends).toMatchObject([{ code: 0 }, { code: 0 }]);
  });

  test("hurries at the second signal, and keeps its seat", async () => {
    const { fleet, agents, leads, follow } = await open();
    const [first = "", second = ""] = follow;
    await agentOf(agents, first).kill();
    const waiting = agentOf(agents, second);
    waiting.signal("SIGTERM");
    await waiting.line(({ msg }) => msg.startsWith("waiting for"), 10_000);
    // Another signal than the first: the same one at once is taken for its echo.
    waiting.signal("SIGINT");
    expect(await waiting.end(8_000)).toMatchObject({ code: 0 });
    await (await fleet.start(second, { seeds: [leads] })).line("continuing with own data");
    await eventually("a write is acknowledged", () =>
      fleet.put(leads, "/after", "yes").then(
        () => true,
        () => false,
      ),
    );
    expect((await fleet.members(leads)).map(({ name }) => name)).toContain(second);
  });

  test("hands raft leadership over before its server goes, so that writes pause for no election", async () => {
    const { fleet, agents, leads, follow } = await open();
    const writer = await fleet.writer(follow);
    const agent = agentOf(agents, leads);
    agent.signal("SIGTERM");
    expect(await agent.end(15_000)).toMatchObject({ code: 0 });
    const moved = agent.lines.findIndex(({ msg }) => msg === "raft leadership handed over before this server stops");
    expect(moved).toBeGreaterThan(0);
    expect(follow).toContain(agent.lines[moved]?.["to"]);
    const { longestGapMs, lost } = await writer.finish();
    console.log(`the raft leader's agent is terminated: longest gap between writes ${longestGapMs} ms`);
    expect(lost).toEqual([]);
    // An election takes 1 s at the least.
    expect(longestGapMs).toBeLessThan(1_000);
  });
});
