import { readFileSync, readdirSync } from "node:fs";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { etcdBinary } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";
import { childrenOf } from "../support/process.ts";

async function openFleet(): Promise<Fleet> {
  const fleet = await Fleet.open(["--session-ttl=2s"], etcdBinary(), "auto-tls");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

test(
  "certificates are made: three hosts form, a fourth joins when the founder is gone, and what is secret stays so",
  { timeout: 150_000 },
  async () => {
    const fleet = await openFleet();
    const hosts = ["h1", "h2", "h3"];
    const [founder, second, third] = (await fleet.form(hosts)) as [AgentProcess, AgentProcess, AgentProcess];
    const others = hosts.slice(1);
    const writer = await fleet.writer(hosts);

    // An agent whose session has just ended is waited for: a token that does not name it may name nobody who answers.
    third.signal("SIGSTOP");
    const shown = async (): Promise<boolean> => (await fleet.get("h1", "/_mgmt/quorate/agents/h3")) !== undefined;
    await eventually("its session has ended", async () => !(await shown()), 20_000);
    const making = fleet.command("token", "create", "--output=json", `--endpoints=${founder.place.clientUrl}`);
    await making.says("waiting for the agent of h3");
    third.signal("SIGCONT");
    const { urls } = JSON.parse((await making.end(20_000)).stdout) as { urls: readonly string[] };
    expect(urls).toEqual([founder, second, third].map(({ place }) => place.joinUrl));

    await founder.kill();
    const fourth = await fleet.start("h4", { seeds: others });
    await fourth.ready();
    await eventually(
      "it has the founder's seat",
      async () => (await fleet.settled(3, others, 60_000)).map(({ name }) => name).join() === "h2,h3,h4",
      60_000,
    );
    expect(await second.interrupt()).toMatchObject({ code: 0 });
    await fleet.settled(2, ["h3", "h4"], 60_000);
    expect(await writer.finish()).toMatchObject({ lost: [], misread: 0 });

    // A command of the host needs to be told nothing, a stranger is told why not.
    fleet.showNothing();
    const { clientUrl, prefix } = third.place;
    expect(await fleet.quorate("world", "str", "set", "motd", "hello", `--prefix=${prefix}`)).toMatchObject({ code: 0 });
    const stranger = await fleet.quorate("status", `--endpoints=${clientUrl}`);
    expect(stranger).toMatchObject({ code: 6 });
    expect(stranger.stderr).toContain("shows a certificate of an authority that is not trusted here");

    const secrets = await secretsOf(join(prefix, "tls"));
    const token = (await readFile(join(fleet.folder, "token of h4"), "utf8")).trim();
    const { secret } = JSON.parse(Buffer.from(token.slice("quorate-join-".length), "base64url").toString("utf8")) as {
      secret: string;
    };
    const everything = await said(fleet, [third, fourth], clientUrl);
    for (const one of [...secrets, token, secret]) {
      for (const [where, text] of everything) expect(text.includes(one), where).toBe(false);
    }
  },
);

/** Lines of what nobody else may read, all of whose files are for their owner alone. */
async function secretsOf(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of readdirSync(folder)) {
    expect((await stat(join(folder, name))).mode & 0o777, name).toBe(0o600);
    if (!/key|secret/.test(name)) continue;
    const lines = (await readFile(join(folder, name), "utf8")).split("\n");
    found.push(...lines.filter((line) => line.length > 20 && !line.startsWith("-----")));
  }
  expect(found.length).toBeGreaterThan(3);
  return found;
}

/** Command lines and environments of agents and their servers, what they said, and all of etcd. */
async function said(fleet: Fleet, agents: readonly AgentProcess[], clientUrl: string): Promise<[string, string][]> {
  const pids = agents.flatMap(({ pid }) => [pid, ...childrenOf(pid)]);
  const ofPids = pids.flatMap((pid): [string, string][] => [
    [`command line of ${pid}`, readFileSync(`/proc/${pid}/cmdline`, "utf8")],
    [`environment of ${pid}`, readFileSync(`/proc/${pid}/environ`, "utf8")],
  ]);
  const all = await fleet.etcdctl(clientUrl, "get", "", "--prefix");
  expect(all).toContain("/_mgmt/quorate/authority");
  return [
    ...ofPids,
    ...agents.map(({ place, stdout, stderr }): [string, string] => [`log of ${place.hostname}`, stdout + stderr]),
    ["keys of etcd", all],
  ];
}

test(
  "a token that was used, has expired, or is none is refused, and says so; so is a host without one",
  { timeout: 120_000 },
  async () => {
    const fleet = await openFleet();
    const [founder] = (await fleet.form(["h1"])) as [AgentProcess];
    const second = await fleet.start("h2", { seeds: ["h1"] });
    await second.ready();
    const join = async (host: string, args: readonly string[]): Promise<string> => {
      const place = await fleet.place(host);
      const own = [
        `--hostname=${host}`,
        `--prefix=${place.prefix}`,
        `--client-urls=${place.clientUrl}`,
        `--server-urls=${place.serverUrl}`,
      ];
      const agent = fleet.agent(place, [...own, `--seeds=${founder.place.clientUrl}`, "--auto-tls", ...args]);
      const ended = await agent.end(30_000);
      expect(ended.code).toBeGreaterThan(0);
      await rm(place.prefix, { recursive: true, force: true });
      return `${ended.code}: ${ended.stderr}`;
    };
    const used = `--join-token-file=${fleet.folder}/token of h2`;
    expect(await join("h3", [used])).toMatch(/^6: .*the token was used already, by another host/s);
    const short = await fleet.quorate("token", "create", "--ttl=1s", `--endpoints=${founder.place.clientUrl}`);
    expect(short.code).toBe(0);
    const { id } = JSON.parse(Buffer.from(short.stdout.trim().slice("quorate-join-".length), "base64url").toString("utf8")) as {
      id: string;
    };
    await writeFile(`${fleet.folder}/short`, short.stdout);
    await eventually("its lease ends", async () => (await fleet.get("h1", `/_mgmt/quorate/tokens/${id}`)) === undefined, 20_000);
    expect(await join("h4", [`--join-token-file=${fleet.folder}/short`])).toMatch(/^6: .*the token is unknown, or has expired/s);
    await writeFile(`${fleet.folder}/none`, "quorate-join-none");
    expect(await join("h5", [`--join-token-file=${fleet.folder}/none`])).toMatch(/^2: .*it is no token, or not all of one/s);
    expect(await join("h6", [])).toMatch(/^2: .*Cannot use --auto-tls: there are no certificates in .*quorate token create/s);
    expect((await fleet.members("h1")).map(({ name }) => name)).not.toContain("h3");
  },
);
