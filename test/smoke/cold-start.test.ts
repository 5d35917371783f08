import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";
import { full } from "../support/full.ts";

// Of "the agent's life": cold restart from own data before any seed is contacted; all agents stopped by `^C` in the same second.
// And: "Kill -9 of all agents of a 5-cluster and a restart of all, with no seed reachable: serving within 5 s, membership unchanged".

async function open(): Promise<Fleet> {
  const fleet = await Fleet.open();
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

const five = ["h1", "h2", "h3", "h4", "h5"];
const nobody = { seeds: ["http://127.0.0.1:9"] };

test(
  "after a power cut of five hosts all serve again from their own data, with no seed to be reached",
  { timeout: 90_000 },
  async () => {
    const fleet = await open();
    const agents = await fleet.form(five);
    const before = await fleet.members("h1");
    for (let i = 0; i < 100; i++) await fleet.put("h3", `/kept/${i}`, String(i));
    await Promise.all(agents.map((agent) => agent.kill()));

    const startedAt = performance.now();
    const again = await Promise.all(five.map((host) => fleet.start(host, nobody)));
    await eventually(
      "a write is acknowledged",
      () =>
        fleet.put("h2", "/after", "yes").then(
          () => true,
          () => false,
        ),
      30_000,
    );
    const servingMs = performance.now() - startedAt;
    // That it takes 5 s at most is measured by `npm run bench -- heal`, with the machine to itself: ten processes start at once here.
    console.log(`5 agents started from their own data: writes after ${Math.round(servingMs)} ms`);
    await Promise.all(again.map((agent) => agent.ready()));
    for (const agent of again) expect(agent.lines.map(({ msg }) => msg)).toContain("continuing with own data");
    await fleet.settled(5, ["h1"]);
    expect(await fleet.members("h1")).toEqual(before);
    // An agent is ready once it is connected, through any of them: its own server may take longer.
    for (const host of five)
      await eventually(
        `${host} serves`,
        () =>
          fleet.get(host, "/after").then(
            (value) => value === "yes",
            () => false,
          ),
        30_000,
      );
    for (let i = 0; i < 100; i++) expect(await fleet.get(five[i % 5] ?? "", `/kept/${i}`)).toBe(String(i));
  },
);

describe("all agents stopped by ^C in the same second", { timeout: 120_000 }, () => {
  const groups: readonly (readonly [string, readonly string[]])[] = [
    ["three", ["h1", "h2", "h3"]],
    ["five", five],
  ];
  test.each(full ? groups : groups.slice(0, 1))(
    "%s: all end with 0 and keep their data, and started again they serve, without seeds",
    async (_, hosts) => {
      const fleet = await open();
      const agents = await fleet.form(hosts);
      await fleet.put("h1", "/kept", "before");
      const ends = await Promise.all(agents.map((agent) => agent.interrupt(60_000)));
      expect(ends.map(({ code }) => code)).toEqual(hosts.map(() => 0));
      const stayed = hosts.filter((_host, i) => !ends[i]?.stderr.includes("this host has left"));
      expect(stayed.length).toBeGreaterThan(0);
      // Whoever ends last names everybody who has to be started for the cluster to serve again.
      for (const [i, { stderr }] of ends.entries()) {
        expect([hosts[i], stderr.trimEnd().split("\n").at(-1)]).toEqual([
          hosts[i],
          expect.stringMatching(/start (h\d|it|them)\b.* first/),
        ]);
      }

      const again = await Promise.all(hosts.map((host) => fleet.start(host)));
      await Promise.all(again.map((agent) => agent.ready(60_000)));
      await fleet.settled(hosts.length, stayed, 60_000);
      for (const host of hosts) expect(await fleet.get(host, "/kept")).toBe("before");
      for (const agent of again) expect(agent.lines.some(({ msg }) => msg === "founding a cluster")).toBe(false);
    },
  );
});
