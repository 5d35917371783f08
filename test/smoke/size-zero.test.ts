import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";
import { slow } from "../support/full.ts";
import type { Ended } from "../support/process.ts";

// "Size 0 (`quorate size 0` asks, or `--yes`, and names the host to start first; so does each agent's last line) and waking up again
// at the former size", and "size 0 stops everything with exit 0 and the data intact; starting one agent again serves all keys again".

const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";

async function open(): Promise<Fleet> {
  const fleet = await Fleet.open();
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

interface Event {
  readonly what: string;
  readonly because: string;
}

async function eventsAt(fleet: Fleet, host: string): Promise<readonly Event[]> {
  const { clientUrl } = await fleet.place(host);
  return JSON.parse((await fleet.quorate("events", "-o", "json", `--endpoints=${clientUrl}`)).stdout) as Event[];
}

/** Waits until all agents have ended; the host that their last lines name. */
async function allEnded(agents: readonly AgentProcess[], withinMs = 60_000): Promise<{ last: string; ends: readonly Ended[] }> {
  const ends = await Promise.all(agents.map((agent) => agent.end(withinMs)));
  expect(ends.map(({ code, signal }) => ({ code, signal }))).toEqual(ends.map(() => ({ code: 0, signal: null })));
  const named = ends.map(({ stderr }) => /start (\S+) first/.exec(stderr.trimEnd().split("\n").at(-1) ?? "")?.[1]);
  expect(new Set(named).size).toBe(1);
  return { last: named[0] ?? "", ends };
}

async function write(fleet: Fleet, host: string): Promise<Map<string, string>> {
  const written = new Map(Array.from({ length: 50 }, (_, i) => [`/kept/${i}`, `value ${i}`]));
  for (const [key, value] of written) await fleet.put(host, key, value);
  return written;
}

async function expectAll(fleet: Fleet, host: string, written: ReadonlyMap<string, string>): Promise<void> {
  for (const [key, value] of written) expect([key, await fleet.get(host, key)]).toEqual([key, value]);
}

describe("size 0 shuts the cluster down, and the host that ended last opens it again", { timeout: 150_000 }, () => {
  test("all three agents end with 0 and name it; a follower that is started first founds nothing and waits for it", async () => {
    const fleet = await open();
    const hosts = ["h1", "h2", "h3"];
    const agents = await fleet.form(hosts);
    const written = await write(fleet, "h1");
    const { clientUrl } = await fleet.place("h1");
    const endpoints = `--endpoints=${clientUrl}`;

    const foretold = await fleet.quorate("plan", "--size", "0", endpoints);
    expect(foretold.stdout).toContain("if the size were 0:");
    expect(foretold.stdout).toMatch(/close the cluster: every agent ends, h\d last/);
    const refused = await fleet.quorate("size", "0", endpoints);
    expect(refused).toMatchObject({ code: 6, stderr: expect.stringContaining("add --yes if that is meant") as string });
    expect(await fleet.get("h1", sizeKey)).toBe("3");

    const asked = await fleet.quorate("size", "0", "--yes", endpoints);
    expect(asked.code).toBe(0);
    expect(asked.stderr).toContain("`quorate size 3` takes it back");
    expect(asked.stderr).toMatch(/h\d will have the data, as things are: start it first/);
    const status = await eventually("status says what it waits for", async () => {
      const { stdout } = await fleet.quorate("status", endpoints);
      return stdout.includes("waiting: the size is 0") && stdout;
    });
    expect(status).toContain("once that has stood for 10 s; `quorate size 3` takes it back");

    const { last, ends } = await allEnded(agents);
    for (const [i, { stderr }] of ends.entries()) {
      const own = hosts[i] === last;
      expect(stderr).toContain(
        own ? "this host keeps its data" : `the cluster is shut down; start ${last} first: it has the data`,
      );
    }
    expect(agents.map((agent) => agent.etcdPid())).toEqual(hosts.map(() => undefined));
    const { prefix } = await fleet.place(last);
    const snapshots = await readdir(join(prefix, "snapshots"));
    expect(snapshots).toEqual([expect.stringMatching(/^\d{8}T\d{6}\.\d{3}Z\.db$/)]);

    const [follower = "", other = ""] = hosts.filter((host) => host !== last);
    const early = await fleet.start(follower);
    await early.line("joining a cluster");
    const said = await early.line("no seed answers; trying for ever");
    expect(said["hint"]).toMatch(
      new RegExp(`^start ${last}, which had the data last; or found another cluster with --new-cluster`),
    );
    expect(early.etcdPid()).toBeUndefined();

    const first = await fleet.start(last);
    await first.line("continuing with own data");
    await first.ready();
    await early.ready();
    await expectAll(fleet, last, written);
    await eventually("the size is the former one", async () => (await fleet.get(last, sizeKey)) === "3");
    expect(await fleet.get(last, "/_mgmt/quorate/closed")).toBeUndefined();
    await (await fleet.start(other)).ready();
    await fleet.settled(3, [last], 60_000);
    await expectAll(fleet, follower, written);

    const told = (await eventsAt(fleet, last)).map(({ what }) => what);
    const at = (start: string): number => told.findIndex((what) => what.startsWith(start));
    expect(at("the size is 0: the cluster is to be shut down")).toBeGreaterThan(at("the size is"));
    expect(at("closed the cluster")).toBeGreaterThan(at("removed h"));
    expect(at("the cluster goes on: the size is 3 again")).toBeGreaterThan(at("closed the cluster"));
    expect(told.findLastIndex((what) => what.startsWith("promoted"))).toBeGreaterThan(at("the cluster goes on"));
  });

  slow("a leader killed in the middle of it is followed by one that goes on; all five come back to all keys", async () => {
    const fleet = await open();
    const hosts = ["h1", "h2", "h3", "h4", "h5"];
    const agents = await fleet.form(hosts);
    const written = await write(fleet, "h1");
    const { clientUrl } = await fleet.place("h1");
    expect((await fleet.quorate("size", "0", "--yes", `--endpoints=${clientUrl}`)).code).toBe(0);
    // The first removal is done: four are left, or fewer.
    const leader = await Promise.any(
      agents.map(async (agent) => {
        await agent.line(({ msg, step }) => msg === "step carried out" && (step as { kind: string }).kind === "remove", 40_000);
        return agent;
      }),
    );
    await leader.kill();
    const { last } = await allEnded(
      agents.filter((agent) => agent !== leader),
      90_000,
    );
    expect(last).not.toBe(leader.place.hostname);

    await (await fleet.start(last)).ready();
    await expectAll(fleet, last, written);
    const others = hosts.filter((host) => host !== last);
    await Promise.all(others.map(async (host) => (await fleet.start(host, { seeds: [last] })).ready()));
    await fleet.settled(5, [last], 60_000);
    for (const host of others) await expectAll(fleet, host, written);
  });

  test("it can be taken back within 10 s, and nobody is removed", async () => {
    const fleet = await open();
    const agents = await fleet.form(["h1", "h2", "h3"]);
    const before = await fleet.members("h1");
    // As any program may write it.
    await fleet.put("h1", sizeKey, "0");
    await eventually("the leader waits", async () => (await fleet.plan("h1"))?.because.startsWith("the size is 0") === true);
    const { clientUrl } = await fleet.place("h1");
    expect((await fleet.quorate("size", "3", "--wait", `--endpoints=${clientUrl}`)).code).toBe(0);
    await fleet.settled(3, ["h1"]);
    expect(await fleet.members("h1")).toEqual(before);
    for (const agent of agents) expect(agent.lines.some(({ msg }) => msg === "the cluster is closed; ending")).toBe(false);
    const told = await eventsAt(fleet, "h1");
    const asked = told.find(({ what }) => what.startsWith("the size is 0"));
    expect(asked).toMatchObject({ because: "the size key says so" });
    expect(told.map(({ what }) => what)).toContain("the size is 3 again: the shutdown is taken back");
  });
});
