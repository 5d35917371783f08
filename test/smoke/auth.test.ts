import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { etcdBinary } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";

interface Seat {
  readonly hostname: string;
  readonly role: string;
}

test(
  "a cluster that runs is closed to everybody who does not log in, once all its agents do, and then heals and shrinks as before",
  { timeout: 180_000 },
  async () => {
    const fleet = await Fleet.open(["--session-ttl=2s"], etcdBinary(), "auto-tls");
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const hosts = ["h1", "h2", "h3", "h4"];
    const agents = new Map((await fleet.form(hosts, 3)).map((agent) => [agent.place.hostname, agent]));
    const agentOf = (host: string): AgentProcess => agents.get(host) as AgentProcess;
    const passwords = join(fleet.folder, "passwords");
    const endpoints = `--endpoints=${[...agents.values()].map(({ place }) => place.clientUrl).join(",")}`;
    const as = (who: string, user = `quorate-${who}`): string[] => [`--user=${user}`, `--password-file=${join(passwords, who)}`];

    const early = await fleet.quorate("auth", "init", `--passwords=${passwords}`, endpoints);
    expect(early).toMatchObject({ code: 6 });
    expect(early.stderr).toContain("Cannot turn authentication on: h1, h2, h3, h4 would be shut out");
    expect((await stat(join(passwords, "agent"))).mode & 0o777).toBe(0o600);
    const password = (await readFile(join(passwords, "agent"), "utf8")).trim();
    expect(password.length).toBeGreaterThan(20);

    for (const host of hosts) {
      agentOf(host).signal("SIGTERM");
      await agentOf(host).end(45_000);
      const seeds = hosts.filter((other) => other !== host);
      const again = await fleet.start(host, { seeds, flags: as("agent") });
      await again.ready();
      agents.set(host, again);
    }
    await fleet.settled(3, hosts);
    expect(await fleet.quorate("auth", "init", `--passwords=${passwords}`, endpoints)).toMatchObject({ code: 0 });
    const again = await fleet.quorate("auth", "init", `--passwords=${passwords}`, endpoints);
    expect(again.stderr).toContain("authentication is on already");

    const nobody = await fleet.quorate("status", endpoints);
    expect(nobody).toMatchObject({ code: 1 });
    // It has a certificate, which says of no user that it is theirs.
    expect(nobody.stderr).toContain("permission denied");
    expect(await fleet.quorate("world", "str", "set", "motd", "hello", ...as("world"), endpoints)).toMatchObject({ code: 0 });
    const told = await fleet.quorate("world", "str", "get", "motd", ...as("world"), endpoints);
    expect(told.stdout).toContain("hello");
    const seatsOfOthers = await fleet.quorate("policy", "set", "--max-seats=1", ...as("world"), endpoints);
    expect(seatsOfOthers).toMatchObject({ code: 1 });
    expect(seatsOfOthers.stderr).toContain("permission denied");

    const seats = async (): Promise<readonly Seat[]> => {
      const shown = await fleet.quorate("members", "-o", "json", ...as("root", "root"), endpoints);
      return shown.code === 0 ? (JSON.parse(shown.stdout) as Seat[]) : [];
    };
    const voters = async (): Promise<readonly string[]> =>
      (await seats()).filter(({ role }) => role === "voter").map(({ hostname }) => hostname);
    const victim = (await voters()).at(-1) ?? "";
    await agentOf(victim).kill();
    await eventually(
      `the spare takes the seat of ${victim}`,
      async () => {
        const now = await voters();
        return now.length === 3 && !now.includes(victim);
      },
      60_000,
    );
    const leaver = (await voters())[0] ?? "";
    expect(await agentOf(leaver).interrupt()).toMatchObject({ code: 0 });
    await eventually("two are left", async () => (await seats()).length === 2, 60_000);

    // Nobody was told a secret that is not theirs to keep.
    for (const agent of agents.values()) {
      expect(agent.stdout).not.toContain(password);
      expect(agent.stderr).not.toContain(password);
    }
  },
);
