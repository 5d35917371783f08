import { rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

// Of "the agent's life": an agent that left and comes back without seeds (never founds a second cluster); a lost or corrupt data dir
// (gone, without its WAL, with a database that is cut short); a server whose WAL is missing.

async function open(flags?: readonly string[]): Promise<Fleet> {
  const fleet = await Fleet.open(flags);
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

async function clusterIdAt(fleet: Fleet, host: string): Promise<string> {
  return (await fleet.ask<{ header: { cluster_id: string } }>(host, "cluster/member/list")).header.cluster_id;
}

const lostData = ({ msg, server }: { readonly msg: string; readonly [field: string]: unknown }): boolean =>
  msg === "server state" && (server as { kind: string }).kind === "lost-data";

describe("an agent that left and comes back without seeds", { timeout: 90_000 }, () => {
  test("never founds a second cluster: it asks the first one, says who had the data where that is down, and joins it", async () => {
    const fleet = await open();
    const [h1, h2, h3] = (await fleet.form(["h1", "h2", "h3"])) as [AgentProcess, AgentProcess, AgentProcess];
    const clusterId = await clusterIdAt(fleet, "h1");
    await fleet.put("h1", "/kept", "before");
    expect(await h3.interrupt()).toMatchObject({ code: 0, stderr: expect.stringContaining("this host has left") as string });
    // A voter and a learner are left: the learner alone is nothing to start from.
    await fleet.settled(2, ["h1", "h2"]);
    await Promise.all([h1.kill(), h2.kill()]);

    const again = await fleet.start("h3");
    await again.line("joining a cluster");
    const said = await again.line("no seed answers; trying for ever");
    expect(said["hint"]).toMatch(/^start h\d.*, which had the data last; or found another cluster with --new-cluster/);
    expect(again.etcdPid()).toBeUndefined();

    await fleet.start("h1");
    await fleet.start("h2");
    await again.ready();
    await fleet.settled(3, ["h1", "h2"], 60_000);
    for (const host of ["h1", "h2", "h3"]) expect(await clusterIdAt(fleet, host)).toBe(clusterId);
    expect(await fleet.get("h3", "/kept")).toBe("before");
    expect(again.lines.some(({ msg }) => msg === "founding a cluster")).toBe(false);
  });
});

/** Who is killed is back before it counts as dead, also on a busy machine. */
const lasting = ["--session-ttl=15s"];

describe("a voter whose data is not what it was", { timeout: 120_000 }, () => {
  test.each([
    ["gone", async (dataDir: string): Promise<void> => rm(dataDir, { recursive: true })],
    ["without its log (WAL)", async (dataDir: string): Promise<void> => rm(join(dataDir, "member", "wal"), { recursive: true })],
  ])("%s: it does not start under its old id, and comes back as a new member with all keys", async (_, spoil) => {
    const fleet = await open(lasting);
    const agents = await fleet.form(["h1", "h2", "h3"]);
    const h2 = agents[1] as AgentProcess;
    const before = await fleet.members("h1");
    const idOf = (rows: typeof before): string | undefined => rows.find(({ name }) => name === "h2")?.id;
    await fleet.put("h1", "/kept", "before");
    await h2.kill();
    await spoil(join(h2.place.prefix, "server"));

    const again = await fleet.start("h2", { seeds: ["h1", "h3"] });
    await again.line("joining a cluster");
    await again.line(lostData);
    await again.ready();
    const rows = await eventually(
      "h2 is a voter under a new id",
      async () => {
        const now = await fleet.members("h1").catch(() => []);
        const row = now.find(({ name }) => name === "h2");
        return row !== undefined && row.id !== idOf(before) && !row.learner && now;
      },
      60_000,
    );
    expect(rows).toHaveLength(3);
    await fleet.settled(3, ["h1"]);
    expect(await fleet.get("h2", "/kept")).toBe("before");
    // The same agent in etcd's member list, and no other seat has changed hands.
    for (const host of ["h1", "h3"]) {
      expect(rows.find(({ name }) => name === host)?.id).toBe(before.find(({ name }) => name === host)?.id);
    }
  });

  test("with a database cut short: its server fails, a spare takes over, and it volunteers again with its data put aside", async () => {
    const fleet = await open(lasting);
    const hosts = ["h1", "h2", "h3", "h4"];
    const agents = await fleet.form(hosts, 3);
    const before = (await fleet.members("h1")).map(({ name }) => name);
    const spare = hosts.find((host) => !before.includes(host)) ?? "";
    const leader = (await fleet.plan("h1"))?.leader;
    const victim = agents.find(
      ({ place: { hostname } }) => before.includes(hostname) && hostname !== "h1" && hostname !== leader,
    );
    const host = victim?.place.hostname ?? "";
    await fleet.put("h1", "/kept", "before");
    await victim?.kill();
    const { prefix } = await fleet.place(host);
    await truncate(join(prefix, "server", "member", "snap", "db"), 6_000);

    const again = await fleet.start(host, { seeds: ["h1"] });
    await again.line("continuing with own data");
    await again.line("server ended");
    await eventually(
      `${spare} has the seat of ${host}`,
      async () => (await fleet.members("h1")).some(({ name, learner }) => name === spare && !learner),
      60_000,
    );
    const kept = await again.line("data of the removed member kept", 60_000);
    expect(kept["archive"]).toContain(`${prefix}/server.removed-`);
    const settled = await fleet.settled(3, ["h1"]);
    expect(settled.map(({ name }) => name)).not.toContain(host);
    expect(await fleet.get(spare, "/kept")).toBe("before");
  });
});
