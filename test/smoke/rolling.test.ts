import { expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

// "Rolling SIGTERM-and-start of every agent, one after the other, changes no membership and loses no acknowledged write", and "restart
// grace on SIGTERM", "raft leadership moved before the raft leader goes".

test(
  "every agent is terminated and started, one after the other: the same members, and no acknowledged write is lost",
  { timeout: 150_000 },
  async () => {
    const fleet = await Fleet.open();
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const hosts = ["h1", "h2", "h3"];
    const agents = new Map((await fleet.form(hosts)).map((agent) => [agent.place.hostname, agent]));
    const before = await fleet.members("h1");
    const writer = await fleet.writer(hosts);
    for (const host of hosts) {
      const others = hosts.filter((other) => other !== host);
      const agent = agents.get(host) as AgentProcess;
      agent.signal("SIGTERM");
      expect(await agent.end(45_000)).toMatchObject({ code: 0, signal: null });
      expect(await fleet.members(others[0] ?? "")).toEqual(before);
      const again = await fleet.start(host, { seeds: others });
      await again.line("continuing with own data");
      await again.ready();
      agents.set(host, again);
      // The next one goes when a person would see that all is well again.
      await eventually(`${host} serves`, () =>
        fleet.get(host, "/absent").then(
          () => true,
          () => false,
        ),
      );
      await fleet.settled(3, others, 60_000);
    }
    const written = await writer.finish();
    console.log(`three restarts in a row: ${written.acknowledged} writes, longest gap ${written.longestGapMs} ms`);
    expect(written).toMatchObject({ lost: [], misread: 0 });
    expect(written.longestGapMs).toBeLessThan(9_000);
    expect(await fleet.members("h1")).toEqual(before);
    for (const agent of agents.values()) {
      expect(
        agent.lines.filter(({ msg, step }) => msg === "step carried out" && /remove|add-learner/.test(JSON.stringify(step))),
      ).toEqual([]);
    }
  },
);
