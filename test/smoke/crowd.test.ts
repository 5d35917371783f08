import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";

// Of "the agent's life": ten agents that start in the same second; ideal size changed every 100 ms.

const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";

async function open(): Promise<Fleet> {
  const fleet = await Fleet.open();
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

test(
  "ten agents that start in the same second are one cluster of five voters and five spares",
  { timeout: 150_000 },
  async () => {
    const fleet = await open();
    const hosts = Array.from({ length: 10 }, (_, i) => `h${i + 1}`);
    const agents = await Promise.all(
      hosts.map((host, i) => fleet.start(host, i === 0 ? { flags: ["--ideal-cluster-size=5"] } : { seeds: ["h1"] })),
    );
    await Promise.all(agents.map((agent) => agent.ready(90_000)));
    const rows = await fleet.settled(5, ["h1"], 90_000);
    expect(rows.every(({ learner }) => !learner)).toBe(true);
    expect(new Set(agents.map((agent) => agent.lines.find(({ msg }) => msg === "founding a cluster")?.["host"])).size).toBe(2);
    const seated = rows.map(({ name }) => name);
    for (const { place, etcdPid } of agents.map((agent) => ({ place: agent.place, etcdPid: agent.etcdPid() }))) {
      expect([place.hostname, etcdPid !== undefined]).toEqual([place.hostname, seated.includes(place.hostname)]);
    }
  },
);

test(
  "a size that changes every 100 ms loses no acknowledged write, and settles at the last one",
  { timeout: 150_000 },
  async () => {
    const fleet = await open();
    const hosts = ["h1", "h2", "h3", "h4", "h5"];
    const agents = await fleet.form(hosts, 3);
    const writer = await fleet.writer(hosts);
    // A fixed order, so that a failure can be played again. It never stands still for long enough to be reached.
    const sizes = [5, 1, 4, 2, 5, 3, 1, 7, 2, 5, 1, 3];
    let written = 0;
    const endAt = performance.now() + 5_000;
    for (let i = 0; performance.now() < endAt; i++) {
      for (const host of hosts) {
        const done = await fleet.put(host, sizeKey, String(sizes[i % sizes.length])).then(
          () => true,
          () => false,
        );
        if (!done) continue;
        written += 1;
        break;
      }
      await delay(100);
    }
    expect(written).toBeGreaterThan(10);
    let asked = false;
    for (const host of hosts)
      asked ||= await fleet.put(host, sizeKey, "3").then(
        () => true,
        () => false,
      );
    expect(asked).toBe(true);
    const rows = await fleet.settled(3, hosts, 90_000);
    expect(rows.every(({ learner }) => !learner)).toBe(true);
    const result = await writer.finish();
    console.log(`${written} sizes in 5 s: ${result.acknowledged} writes, longest gap ${result.longestGapMs} ms`);
    expect(result).toMatchObject({ lost: [], misread: 0 });
    for (const agent of agents) expect(agent.lines.some(({ msg }) => msg === "a part of the agent failed")).toBe(false);
  },
);
