import { existsSync } from "node:fs";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess, type Place } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";
import { agentsOf, eventsOf } from "../support/told.ts";
import { startWriter } from "../support/writer.ts";

async function open(): Promise<Fleet> {
  const fleet = await Fleet.open(undefined, undefined, "plain");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

/** The same host on other ports. */
async function elsewhere(fleet: Fleet, hostname: string): Promise<Place> {
  const [place, { clientUrl, serverUrl }] = await Promise.all([fleet.place(hostname), fleet.place(`${hostname}-elsewhere`)]);
  return { ...place, clientUrl, serverUrl };
}

/** Stops the agent in place, and starts it on the other ports. */
async function move(fleet: Fleet, agent: AgentProcess, to: Place): Promise<AgentProcess> {
  agent.signal("SIGTERM");
  expect((await agent.end(30_000)).code).toBe(0);
  const moved = fleet.agent(to, [
    `--hostname=${to.hostname}`,
    `--prefix=${to.prefix}`,
    `--client-urls=${to.clientUrl}`,
    `--server-urls=${to.serverUrl}`,
    "--session-ttl=2s",
  ]);
  await moved.line("continuing with own data");
  return moved.ready();
}

describe("an agent that is started again on other addresses", { timeout: 150_000 }, () => {
  test("keeps its member as a voter: all three, one after the other, under a writer that loses nothing", async () => {
    const fleet = await open();
    const hosts = ["h1", "h2", "h3"];
    const agents = await fleet.form(hosts);
    const before = await fleet.members("h1");
    const places = await Promise.all(hosts.map((host) => elsewhere(fleet, host)));
    const urls = [...before.flatMap(({ clientUrls }) => clientUrls), ...places.map(({ clientUrl }) => clientUrl)];
    const writer = fleet.keep(await startWriter(fleet.network, urls));

    for (const [i, place] of places.entries()) {
      await move(fleet, agents[i] as AgentProcess, place);
      const rows = await eventually(
        `etcd knows where ${place.hostname} is`,
        async () => {
          const seen = await fleet.members(place.clientUrl).catch(() => []);
          expect([0, 3]).toContain(seen.length);
          const own = seen.find(({ name }) => name === place.hostname);
          return own?.peerUrls.join() === place.serverUrl && own.clientUrls.join() === place.clientUrl && seen;
        },
        40_000,
      ).catch((error: unknown) => {
        throw new Error(`${(error as Error).message}\n${fleet.tails()}`);
      });
      expect(rows.map(({ id, learner }) => ({ id, learner }))).toEqual(before.map(({ id }) => ({ id, learner: false })));
    }
    const written = await writer.finish();
    console.log(`three voters moved: ${written.acknowledged} writes, longest gap ${written.longestGapMs} ms`);
    expect(written).toMatchObject({ lost: [], misread: 0 });
    const [{ clientUrl }] = places as [Place];
    await fleet.settled(3, [clientUrl]);
    const told = await eventsOf(fleet, clientUrl);
    expect(agentsOf(told, "update-urls")).toEqual(hosts);
    expect(agentsOf(told, "remove")).toEqual([]);
    expect(await fleet.get(clientUrl, "/_mgmt/nominated/h2")).toBe(places[1]?.serverUrl);
  });

  test("is removed and added again as a learner, and its member is never updated", async () => {
    const fleet = await open();
    const [, h2] = await fleet.form(["h1", "h2"]);
    const before = await fleet.members("h1");
    expect(before.map(({ learner }) => learner)).toEqual([false, true]);
    const place = await elsewhere(fleet, "h2");
    await move(fleet, h2 as AgentProcess, place);
    const after = await eventually(
      "the learner is there, where it is now",
      async () => {
        const seen = await fleet.members("h1");
        return seen[1]?.clientUrls.join() === place.clientUrl && seen[1].peerUrls.join() === place.serverUrl && seen;
      },
      40_000,
    ).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${fleet.tails()}`);
    });
    expect(after[0]).toEqual(before[0]);
    expect(after[1]).toMatchObject({ name: "h2", learner: true });
    expect(after[1]?.id).not.toBe(before[1]?.id);
    await fleet.settled(2, ["h1"]);
    const told = await eventsOf(fleet, "h1");
    expect(told.map(({ step }) => step)).not.toContain("update-urls");
    // Not because it was missed while it restarted.
    const removals = told.filter(({ step }) => step === "remove");
    expect(removals.map(({ because }) => because)).toEqual([expect.stringMatching(/^h2 is back at .* is added again with/)]);
  });
});

const hasIpv6 = existsSync("/proc/net/if_inet6");

test.skipIf(!hasIpv6)(
  "IPv6 literals, host names and several client URLs: agents that have them form a cluster, and each URL answers",
  { timeout: 90_000 },
  async () => {
    const fleet = await open();
    const ports = await fleet.network.ports(6);
    const [one, two] = await Promise.all(["h1", "h2"].map((host) => fleet.place(host)));
    const run = (place: Place, args: readonly string[]): AgentProcess =>
      fleet.agent(place, [`--hostname=${place.hostname}`, `--prefix=${place.prefix}`, "--session-ttl=2s", ...args]);
    const clients = [`http://[::1]:${ports[0]}`, `http://127.0.0.1:${ports[1]}`];
    const h1 = run(one!, [
      ...[`--client-urls=${clients.join(",")}`, `--server-urls=http://[::1]:${ports[2]}`],
      "--ideal-cluster-size=2",
      "--even-voters",
    ]);
    await h1.ready();
    const named = `http://localhost:${ports[3]}`;
    const h2 = run(two!, [
      ...[`--seeds=${clients[0]}`, `--client-urls=http://127.0.0.1:${ports[4]}`],
      ...[`--server-urls=http://127.0.0.1:${ports[3]}`, `--advertise-server-urls=${named}`],
    ]);
    await h2.ready();
    const members = await fleet.settled(2, [clients[1]!, `http://127.0.0.1:${ports[4]}`]);
    expect(members.map(({ name, peerUrls, clientUrls }) => ({ name, peerUrls, clientUrls }))).toEqual([
      { name: "h1", peerUrls: [`http://[::1]:${ports[2]}`], clientUrls: clients.toSorted() },
      { name: "h2", peerUrls: [named], clientUrls: [`http://127.0.0.1:${ports[4]}`] },
    ]);
    await fleet.put(clients[0]!, "/a", "1");
    for (const url of clients) expect(await fleet.get(url, "/a")).toBe("1");
    const status = await fleet.quorate("status", "--endpoints-health", `--endpoints=${clients.join(",")}`);
    expect(status).toMatchObject({ code: 0 });
  },
);
