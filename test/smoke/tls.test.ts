import { X509Certificate } from "node:crypto";
import { chmod, copyFile, readFile } from "node:fs/promises";
import { expect, onTestFinished, test } from "vitest";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { newAuthority } from "../support/certificates.ts";
import { etcdBinary } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";
import { slow } from "../support/full.ts";

const day = 24 * 60 * 60 * 1_000;

async function openFleet(): Promise<Fleet> {
  const fleet = await Fleet.open(["--session-ttl=2s"], etcdBinary(), "tls");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

/** What a flag of an agent is set to. */
function valueOf(flags: readonly string[], name: string): string {
  return flags.find((flag) => flag.startsWith(`--${name}=`))?.slice(name.length + 3) ?? "";
}

slow(
  "with a certificate of an authority each for clients and peers, three hosts form, a spare takes the place of one that dies, and one leaves",
  { timeout: 120_000 },
  async () => {
    const fleet = await openFleet();
    const hosts = ["h1", "h2", "h3", "h4"];
    const agents = new Map((await fleet.form(hosts, 3)).map((agent) => [agent.place.hostname, agent]));
    const agentOf = (host: string): AgentProcess => agents.get(host) as AgentProcess;
    const writer = await fleet.writer(hosts);
    const names = (await fleet.members("h1")).map(({ name }) => name);
    const [victim = "", leaver = ""] = names.filter((name) => name !== "h1");
    await agentOf(victim).kill();
    const rest = hosts.filter((host) => host !== victim);
    await eventually("the spare has the seat", async () => (await fleet.settled(3, rest)).every(({ name }) => name !== victim));

    // The command line takes the files from the environment, and an agent's folder knows them.
    const { clientUrl, prefix } = agentOf("h1").place;
    const shown = await fleet.quorate("members", "-o", "json", `--endpoints=${clientUrl}`);
    expect(JSON.parse(shown.stdout)).toHaveLength(3);
    expect(await fleet.quorate("status", "--endpoints-health", `--endpoints=${clientUrl}`)).toMatchObject({ code: 0 });
    expect(await fleet.quorate("etcdctl", "get", "/_mgmt/quorate/plan", `--endpoints=${clientUrl}`)).toMatchObject({ code: 0 });
    fleet.showNothing();
    expect(await fleet.quorate("world", "str", "set", "motd", "hello", `--prefix=${prefix}`)).toMatchObject({ code: 0 });
    const refused = await fleet.quorate("status", `--endpoints=${clientUrl}`);
    expect(refused).toMatchObject({ code: 6 });
    expect(refused.stderr).toContain(`${clientUrl} shows a certificate of an authority that is not trusted here`);

    expect(await agentOf(leaver).interrupt()).toMatchObject({ code: 0 });
    await fleet.settled(
      2,
      rest.filter((host) => host !== leaver),
    );
    expect(await writer.finish()).toMatchObject({ lost: [], misread: 0 });
  },
);

test("an agent with a stranger's certificates joins nobody, says why, and gets no seat", { timeout: 90_000 }, async () => {
  const [fleet, strangers] = [await openFleet(), await openFleet()];
  const [founder] = await fleet.form(["h1"]);
  const place = await fleet.place("h2");
  const agent = fleet.agent(place, [
    ...["--hostname=h2", `--prefix=${place.prefix}`, `--seeds=${founder!.place.clientUrl}`],
    ...[`--client-urls=${place.clientUrl}`, `--server-urls=${place.serverUrl}`],
    ...(await strangers.certificates("h2")),
  ]);
  const ended = await agent.end(30_000);
  expect(ended).toMatchObject({ code: 6 });
  expect(ended.stderr).toContain(`${founder!.place.clientUrl} shows a certificate of an authority that is not trusted here`);
  expect((await fleet.members("h1")).map(({ name }) => name)).toEqual(["h1"]);
  expect(await fleet.get("h1", "/_mgmt/volunteer/h2")).toBeUndefined();
});

test("a certificate and its key are replaced without a restart", { timeout: 90_000 }, async () => {
  const fleet = await openFleet();
  const flags = await fleet.certificates("h1");
  const agent = await fleet.start("h1", { flags });
  await agent.ready();
  const pid = agent.etcdPid();
  const shown = await fingerprint(fleet, agent);
  expect(shown).toBe(await fingerprintIn(valueOf(flags, "cert-file")));

  const renewed = await fleet.certificates("renewed");
  for (const name of ["cert-file", "key-file"]) await copyFile(valueOf(renewed, name), valueOf(flags, name));
  expect(await fingerprint(fleet, agent)).toBe(await fingerprintIn(valueOf(renewed, "cert-file")));
  expect(shown).not.toBe(await fingerprintIn(valueOf(flags, "cert-file")));
  // Whoever comes now meets the new one.
  const next = await fleet.start("h2", { seeds: ["h1"] });
  await next.ready();
  expect(agent.etcdPid()).toBe(pid);
});

test("what expires soon is said, what has expired and a key that others may read are refused", { timeout: 60_000 }, async () => {
  const fleet = await openFleet();
  const ours = await newAuthority();
  const place = await fleet.place("h1");
  const start = async (from: Date, until: Date): Promise<AgentProcess> => {
    const { certFile, keyFile } = await ours.issue("h1", undefined, { from, until });
    return fleet.agent(place, [
      ...["--hostname=h1", "--tmp-prefix", `--client-urls=${place.clientUrl}`],
      ...[`--cert-file=${certFile}`, `--key-file=${keyFile}`, `--trusted-ca-file=${ours.certFile}`],
    ]);
  };
  const soon = await start(new Date(), new Date(Date.now() + 10.5 * day));
  await soon.line(({ msg }) => msg.startsWith("the certificate of CN=h1 expires in 10 days: replace "));
  await soon.interrupt();

  const expired = await (await start(new Date(0), new Date(Date.now() - day))).end(15_000);
  expect(expired).toMatchObject({ code: 2 });
  expect(expired.stderr).toMatch(/Cannot use --cert-file: CN=h1 in .* has expired at/);

  const { keyFile } = await ours.issue("h1");
  await chmod(keyFile, 0o644);
  const open = await fleet
    .agent(place, [
      "--tmp-prefix",
      `--client-urls=${place.clientUrl}`,
      `--cert-file=${keyFile.replace("-key", "")}`,
      `--key-file=${keyFile}`,
    ])
    .end(15_000);
  expect(open).toMatchObject({ code: 2 });
  expect(open.stderr).toContain(`Cannot use --key-file: ${keyFile} has mode 0644, so that others can read it`);
});

/** Of the certificate that is shown at an agent's client URL. */
async function fingerprint(fleet: Fleet, agent: AgentProcess): Promise<string> {
  const script = `
    const [url, ca, cert, key] = process.argv.slice(1);
    const { readFileSync } = require("node:fs");
    const { hostname: host, port } = new URL(url);
    const files = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };
    const socket = require("node:tls").connect({ ...files, host, port: Number(port) }, () => {
      console.log(socket.getPeerX509Certificate().fingerprint256);
      socket.end();
    });`;
  const { caFile = "", certFile = "", keyFile = "" } = fleet.tls;
  const argv = [process.execPath, "-e", script, agent.place.clientUrl, caFile, certFile, keyFile];
  return (await fleet.run("what is shown", argv).end(10_000)).stdout.trim();
}

async function fingerprintIn(file: string): Promise<string> {
  return new X509Certificate(await readFile(file)).fingerprint256;
}
