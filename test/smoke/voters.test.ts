/**
 * What may happen to a voter, each with real agents: its agent's session expires while its server is healthy; it is wiped under its id,
 * also with its raft leader gone; it returns while its replacement catches up; a founder is restarted empty on its old address.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet, mode, type AgentProcess, type Member } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";
import { agentsOf, eventsOf } from "../support/told.ts";

const three = ["h1", "h2", "h3"] as const;

async function formed(
  hosts: readonly string[] = three,
  size: number = hosts.length,
  founder: readonly string[] = [],
): Promise<{ fleet: Fleet; agents: AgentProcess[] }> {
  const fleet = await Fleet.open(["--session-ttl=4s", ...founder]);
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  const [first = "", ...others] = hosts;
  const head = await fleet.start(first, { flags: [`--ideal-cluster-size=${size}`] });
  const agents = [head, ...(await Promise.all(others.map((host) => fleet.start(host, { seeds: [first] }))))];
  await Promise.all(agents.map((agent) => agent.ready(60_000)));
  await fleet.settled(size, [first], 60_000);
  return { fleet, agents };
}

function agentOf(agents: readonly AgentProcess[], host: string): AgentProcess {
  const found = agents.find(({ place }) => place.hostname === host);
  if (!found) throw new Error(`There is no agent ${host}`);
  return found;
}

/** The member list as the first host with a server tells it: who has one changes while a seat is given anew. */
async function anyMembers(fleet: Fleet): Promise<readonly Member[]> {
  for (const host of three) {
    const seen = await fleet.members(host).catch(() => undefined);
    if (seen !== undefined) return seen;
  }
  return [];
}

/** The host of the raft leader, as another one sees it. */
async function raftLeaderOf(fleet: Fleet, at: string): Promise<string | undefined> {
  const { leader = "0" } = await fleet.ask<{ leader?: string }>(at, "maintenance/status");
  const id = BigInt(leader).toString(16);
  return (await fleet.members(at)).find((row) => row.id === id)?.name;
}

describe("a voter", { timeout: 150_000 }, () => {
  test("whose agent stood still past its session keeps its seat, as its server is healthy; the agent shows itself again", async () => {
    const { fleet, agents } = await formed();
    const before = await fleet.members("h1");
    const leader = (await fleet.plan("h1"))?.leader ?? "";
    const [other = ""] = three.filter((host) => host !== leader);
    const record = (): Promise<string | undefined> => fleet.get(other, `/_mgmt/quorate/agents/${leader}`);
    const stopped = agentOf(agents, leader);
    const etcd = stopped.etcdPid();
    stopped.signal("SIGSTOP");
    try {
      await eventually("its session is over", async () => (await record()) === undefined, 30_000);
      await eventually("another agent leads", async () => {
        const now = (await fleet.plan(other))?.leader;
        return now !== undefined && now !== leader;
      });
      await fleet.put(other, "/meanwhile", "written");
    } finally {
      stopped.signal("SIGCONT");
    }
    await eventually("it is back", async () => (await record()) !== undefined, 30_000);
    await eventually(
      "it volunteers again",
      async () => (await fleet.get(other, `/_mgmt/volunteer/${leader}`)) !== undefined,
      20_000,
    );
    await fleet.settled(3, [other]);
    expect(await fleet.members(other)).toEqual(before);
    expect(stopped.etcdPid()).toBe(etcd);
    expect(agentsOf(await eventsOf(fleet, other), "remove")).toEqual([]);
  });

  test.each([
    ["", false],
    [", also when the raft leader that remembers it is gone", true],
  ])(
    "that was wiped is never started under its id again: it is replaced, and nothing is forgotten%s",
    async (_also, changeLeader) => {
      const { fleet, agents } = await formed();
      const before = await fleet.members("h1");
      for (let i = 0; i < 20; i++) await fleet.put("h1", `/kept/${i}`, "acknowledged");
      const first = (await raftLeaderOf(fleet, "h1")) ?? "";
      const wiped = agents.find(({ place }) => place.hostname !== first && place.hostname !== "h1") as AgentProcess;
      const { hostname, prefix } = wiped.place;
      const [at = ""] = three.filter((host) => host !== hostname && host !== first);
      await wiped.kill();
      await rm(join(prefix, "server"), { recursive: true });
      if (changeLeader) {
        const etcd = agentOf(agents, first).etcdPid() ?? 0;
        process.kill(etcd, "SIGKILL");
        // Two voters are up again before there can be a raft leader.
        await eventually(
          "the cluster commits again",
          () =>
            fleet.put(at, "/again", "yes").then(
              () => true,
              () => false,
            ),
          30_000,
        );
      }

      const again = await fleet.start(hostname, { seeds: [at] });
      await again.ready(60_000);
      const rows = await eventually(
        "it has another seat",
        async () => {
          const seen = await anyMembers(fleet);
          const own = seen.find(({ name }) => name === hostname);
          return (
            own !== undefined &&
            !own.learner &&
            seen.length === 3 &&
            own.id !== before.find(({ name }) => name === hostname)?.id &&
            seen
          );
        },
        60_000,
      ).catch((error: unknown) => {
        throw new Error(`${(error as Error).message}\n${fleet.tails()}`);
      });
      expect(rows).toHaveLength(3);
      const after = await fleet.settled(3, three, 60_000);
      expect(after.map(({ name }) => name)).toEqual([...three]);
      // Nobody else is let go meanwhile.
      const others = (all: readonly Member[]): readonly Member[] => all.filter(({ name }) => name !== hostname);
      expect(others(after)).toEqual(others(before));
      for (let i = 0; i < 20; i++) expect(await fleet.get(hostname, `/kept/${i}`)).toBe("acknowledged");
      const old = before.find(({ name }) => name === hostname)?.id;
      const started = again.lines
        .filter(({ msg }) => msg === "server state")
        .map((line) => line["server"] as { memberId?: string; kind: string });
      expect(started.filter(({ kind, memberId }) => memberId === old && (kind === "starting" || kind === "serving"))).toEqual([]);
    },
  );

  test("that is back while its replacement catches up keeps its seat, and the replacement goes again", async () => {
    const { fleet, agents } = await formed(["h1", "h2", "h3", "h4"], 3);
    const before = await fleet.members("h1");
    // A learner that has to be healthy for long is what one with much to catch up is.
    const endpoints = `--endpoints=${agentOf(agents, "h1").place.clientUrl}`;
    expect((await fleet.quorate("policy", "set", "--stabilization=45s", endpoints)).code).toBe(0);
    const leader = (await fleet.plan("h1"))?.leader;
    const dead = before.map(({ name }) => name).find((name) => name !== "h1" && name !== leader) ?? "";
    await agentOf(agents, dead).kill();
    await eventually(
      "a replacement is there as a learner",
      async () => (await fleet.members("h1")).some(({ learner }) => learner),
      60_000,
    );

    const again = await fleet.start(dead, { seeds: ["h1"] });
    await again.line("continuing with own data");
    const rows = await fleet.settled(3, ["h1"], 60_000);
    expect(rows).toEqual(before);
    const told = await eventsOf(fleet, "h1");
    expect(agentsOf(told, "remove")).not.toContain(dead);
    expect(agentsOf(told, "promote")).toHaveLength(2);
  });
});

describe("a founder", { timeout: 120_000 }, () => {
  test("that is started again empty on its old address founds no second cluster: it is known there, and says so", async () => {
    const { fleet, agents } = await formed();
    await fleet.put("h1", "/kept", "yes");
    const before = await fleet.members("h2");
    const founder = agentOf(agents, "h1");
    fleet.showAs(agentOf(agents, "h2").place);
    await founder.kill();
    await rm(founder.place.prefix, { recursive: true });

    const empty = await fleet.start("h1");
    const ended = await empty.end(60_000);
    expect(ended.code).toBe(6);
    // Where its certificates are made it has made an authority of its own, which nobody knows.
    const by =
      mode === "auto-tls" || mode === "auth" ? "servers that do not trust its certificates" : "members of another cluster";
    expect(ended.stderr).toContain(`error: Cannot found a cluster: ${by} know this host by its server URL`);
    expect(ended.stderr).toContain("join that cluster with --seeds");
    expect(await fleet.members("h2")).toEqual(before);
    expect(await fleet.get("h2", "/kept")).toBe("yes");

    await rm(founder.place.prefix, { recursive: true });
    await (await fleet.start("h1", { seeds: ["h2"] })).ready(60_000);
    const idOf = (rows: readonly Member[]): string | undefined => rows.find(({ name }) => name === "h1")?.id;
    await eventually(
      "it has a new seat",
      async () => {
        const id = idOf(await fleet.members("h2"));
        return id !== undefined && id !== idOf(before);
      },
      60_000,
    );
    await fleet.settled(3, ["h2"], 60_000);
    expect(await fleet.get("h1", "/kept")).toBe("yes");
  });
});
