/**
 * What may happen to a nominee, each with real agents: it dies between add and start; nobody reaches its ports, or they are
 * somebody else's; it dies just before its promotion. (One that never catches up: test/index/never-catches-up.test.ts.)
 */
import { chmod, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { etcdBinary } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";
import { agentsOf, eventsOf } from "../support/told.ts";

async function open(): Promise<Fleet> {
  const fleet = await Fleet.open(["--session-ttl=4s"]);
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

/** It has a seat, whether or not it has started. */
async function isAdded(fleet: Fleet, host: string): Promise<void> {
  const { serverUrl } = await fleet.place(host);
  const added = async (): Promise<boolean> => (await fleet.members("h1")).some(({ peerUrls }) => peerUrls.includes(serverUrl));
  await eventually(`${host} is added`, added, 30_000);
}

describe("a nominee", { timeout: 120_000 }, () => {
  test("that dies between add and start frees its seat, and another one has it", async () => {
    const fleet = await open();
    // An etcd that says its version and never serves.
    const stuck = join(fleet.folder, "stuck-etcd");
    await writeFile(stuck, `#!/bin/sh\n[ "$1" = --version ] && exec ${etcdBinary()} --version\nexec sleep 600\n`);
    await chmod(stuck, 0o755);
    await (await fleet.start("h1", { flags: ["--ideal-cluster-size=3"] })).ready();
    const h2 = await fleet.start("h2", { seeds: ["h1"], flags: [`--etcd-bin=${stuck}`] });
    const h3 = await fleet.start("h3", { seeds: ["h1"], flags: ["--priority=-1"] });
    await Promise.all([h2.ready(), h3.ready()]);
    await isAdded(fleet, "h2");
    await h2.kill();

    const h4 = await fleet.start("h4", { seeds: ["h1"] });
    await h4.ready();
    const rows = await fleet.settled(3, ["h1"], 60_000);
    expect(rows.map(({ name, learner }) => [name, learner])).toEqual([
      ["h1", false],
      ["h3", false],
      ["h4", false],
    ]);
    const told = await eventsOf(fleet, "h1");
    const removal = told.find(({ step, agent }) => step === "remove" && agent === "h2");
    expect(removal?.because).toMatch(/^learner h2 (is gone with its agent|has no agent any more|has not started in time)/);
    expect(agentsOf(told, "promote")).not.toContain("h2");
  });

  test("that stands still for longer than its session lasts, and is given up for it, has its seat soon after it is back", async () => {
    const fleet = await open();
    // An etcd that does not begin before it is told to.
    const [slow, hold] = [join(fleet.folder, "slow-etcd"), join(fleet.folder, "hold")];
    const waits = `while [ -e ${hold} ]; do sleep 0.1; done`;
    await writeFile(slow, `#!/bin/sh\n[ "$1" = --version ] || ${waits}\nexec ${etcdBinary()} "$@"\n`);
    await chmod(slow, 0o755);
    await writeFile(hold, "");
    const h1 = await fleet.start("h1", { flags: ["--ideal-cluster-size=3"] });
    await h1.ready();
    const h2 = await fleet.start("h2", { seeds: ["h1"], flags: [`--etcd-bin=${slow}`] });
    await h2.ready();
    await isAdded(fleet, "h2");
    h2.signal("SIGSTOP");
    const removed = await eventually(
      "h2 is given up",
      async () => (await eventsOf(fleet, "h1")).find(({ step, agent }) => step === "remove" && agent === "h2"),
      30_000,
    ).finally(() => h2.signal("SIGCONT"));
    expect(removed.because).toMatch(/^learner h2 (is gone with its agent|has no agent any more)/);
    await rm(hold);
    // Not before: with a spare at hand h2 would be given up for not having started, at the same time.
    const h3 = await fleet.start("h3", { seeds: ["h1"] });
    await h3.ready();

    // In less than the minute for which it would be passed over.
    const rows = await fleet.settled(3, ["h1"], 45_000);
    expect(rows.map(({ name, learner }) => [name, learner])).toEqual([
      ["h1", false],
      ["h2", false],
      ["h3", false],
    ]);
    expect(agentsOf(await eventsOf(fleet, "h1"), "pass-over")).toEqual([]);
  });

  test("whose ports nobody can reach, or that gives somebody else's address, is never added, and status says why", async () => {
    const fleet = await open();
    await (await fleet.start("h1", { flags: ["--ideal-cluster-size=3"] })).ready();
    const { serverUrl: nobody } = await fleet.place("nobody");
    const { serverUrl: ofH1, clientUrl } = await fleet.place("h1");
    const unreachable = await fleet.start("h2", { seeds: ["h1"], flags: [`--advertise-server-urls=${nobody}`] });
    const impostor = await fleet.start("h3", { seeds: ["h1"], flags: [`--advertise-server-urls=${ofH1}`] });
    await Promise.all([unreachable.ready(), impostor.ready()]);

    const said = await eventually(
      "status tells of both",
      async () => {
        const { stdout } = await fleet.quorate("status", "-o", "json", `--endpoints=${clientUrl}`);
        const { chooser } = JSON.parse(stdout) as { chooser: { blockedBy: string | null } | null };
        return chooser?.blockedBy?.includes("h2 failed") === true && chooser.blockedBy.includes("h3 failed") && chooser.blockedBy;
      },
      60_000,
    );
    expect(said).toContain(`h2 failed the pre-flight: its server URL ${nobody} does not answer this leader`);
    expect(said).toMatch(new RegExp(`h3 failed the pre-flight: (its server URL|what answers at) ${ofH1}`));
    expect((await fleet.members("h1")).map(({ name }) => name)).toEqual(["h1"]);
    const told = await eventsOf(fleet, "h1");
    expect([...agentsOf(told, "nominate"), ...agentsOf(told, "add-learner")]).toEqual([]);
  });

  test("that dies just before its promotion is not promoted, and another one is", async () => {
    const fleet = await open();
    await (await fleet.start("h1", { flags: ["--ideal-cluster-size=3", "--stabilization=6s"] })).ready();
    const agents = await Promise.all(["h2", "h3", "h4"].map((host) => fleet.start(host, { seeds: ["h1"] })));
    await Promise.all(agents.map((agent) => agent.ready()));
    // In sync, and kept waiting by the policy alone.
    const dies = await eventually(
      "a learner is in sync",
      async () => {
        const plan = await fleet.plan("h1");
        const host = /learner (h\d) has not been healthy for long enough/.exec(plan?.because ?? "")?.[1];
        return agents.find(({ place }) => place.hostname === host);
      },
      40_000,
    );
    const { hostname } = dies.place;
    await dies.kill();
    await fleet.put("h1", "/meanwhile", "written");

    const rows = await fleet.settled(3, ["h1"], 90_000);
    expect(rows.map(({ name }) => name)).not.toContain(hostname);
    expect(rows.every(({ learner }) => !learner)).toBe(true);
    const told = await eventsOf(fleet, "h1");
    expect(agentsOf(told, "promote")).not.toContain(hostname);
    expect(agentsOf(told, "remove")).toContain(hostname);
  });
});
