import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findProgram } from "../../scripts/programs.mjs";
import { Fleet, type AgentProcess } from "../support/agents.ts";
import { etcdBinary } from "../support/etcd.ts";
import { full, slow } from "../support/full.ts";
import { Lan } from "../support/lan.ts";

// Of all the ways to begin `npm test` plays one: by agreement.
const sizeKey = "/_mgmt/chooser/dynamicsize/idealclustersize";
const probe = await Lan.open();
if (typeof probe !== "string") await probe[Symbol.asyncDispose]();

async function openFleet(): Promise<Fleet> {
  const fleet = await Fleet.open(undefined, undefined, "plain");
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  return fleet;
}

/** `h1=URL,h2=URL` of these hosts. */
async function initialCluster(fleet: Fleet, hosts: readonly string[]): Promise<string> {
  const places = await Promise.all(hosts.map((host) => fleet.place(host)));
  return places.map(({ hostname, serverUrl }) => `${hostname}=${serverUrl}`).join(",");
}

/** The loop that follows every boot: two volunteers more, then the size key rules. */
async function growsAndShrinks(
  fleet: Fleet,
  founders: readonly string[],
  start = (host: string, seed: string) => fleet.start(host, { seeds: [seed] }),
): Promise<void> {
  const more = ["h8", "h9"];
  const agents = await Promise.all(more.map((host) => start(host, founders[0] ?? "")));
  await Promise.all(agents.map((agent) => agent.ready()));
  await fleet.put(founders[0] ?? "", sizeKey, "5");
  await fleet.settled(5, founders, 60_000);
  await fleet.put(founders[0] ?? "", sizeKey, "1");
  await fleet.settled(1, [...founders, ...more], 60_000);
}

slow(
  "static: three hosts that name each other are one cluster, each with its seat, which the size key rules from then on",
  { timeout: 200_000 },
  async () => {
    const fleet = await openFleet();
    const hosts = ["h1", "h2", "h3"];
    const flags = [`--initial-cluster=${await initialCluster(fleet, hosts)}`, "--ideal-cluster-size=3"];
    const [h1, h2, h3] = await Promise.all(hosts.map((host) => fleet.start(host, { flags })));
    await Promise.all([h1!, h2!, h3!].map((agent) => agent.ready()));
    const members = await fleet.settled(3, hosts);
    assert.deepEqual(
      members.map(({ name }) => name),
      hosts,
    );
    assert.deepEqual(
      members.map(({ learner }) => learner),
      [false, false, false],
    );
    const shown = await fleet.quorate("members", "-o", "json", `--endpoints=${h1!.place.clientUrl}`);
    const seats = JSON.parse(shown.stdout) as { hostname: string; role: string }[];
    assert.deepEqual(
      seats.map(({ hostname, role }) => `${hostname} ${role}`).sort(),
      hosts.map((host) => `${host} voter`),
    );

    // The same command line after a crash: it continues.
    await h3!.kill();
    const again = await fleet.start("h3", { flags });
    await again.line("--initial-cluster is ignored: this host belongs to a cluster already");
    await again.ready();
    await fleet.settled(3, hosts);
    await growsAndShrinks(fleet, hosts);
  },
);

slow("static: a host that has lost its data joins as a new one, and is no member twice", { timeout: 200_000 }, async () => {
  const fleet = await openFleet();
  const hosts = ["h1", "h2", "h3"];
  const flags = [`--initial-cluster=${await initialCluster(fleet, hosts)}`, "--ideal-cluster-size=3"];
  const agents = await Promise.all(hosts.map((host) => fleet.start(host, { flags })));
  await Promise.all(agents.map((agent) => agent.ready()));
  const before = await fleet.settled(3, hosts);
  await agents[2]!.kill();
  await rm(agents[2]!.place.prefix, { recursive: true });
  const again = await fleet.start("h3", { flags });
  await again.line("the cluster is there and has had this host, whose data is gone: it joins as a new one");
  await again.ready(60_000);
  const after = await fleet.settled(3, hosts, 60_000);
  const idOf = (members: typeof before): string | undefined => members.find(({ name }) => name === "h3")?.id;
  assert.notEqual(idOf(after), idOf(before));
});

slow("static: `existing` joins those that are there, by their server URLs", { timeout: 120_000 }, async () => {
  const fleet = await openFleet();
  const founder = await fleet.start("h1", { flags: ["--ideal-cluster-size=3"] });
  await founder.ready();
  const flags = [`--initial-cluster=${await initialCluster(fleet, ["h1"])}`, "--initial-cluster-state=existing"];
  const agents = await Promise.all(["h2", "h3"].map((host) => fleet.start(host, { flags })));
  await Promise.all(agents.map((agent) => agent.ready()));
  await fleet.settled(3, ["h1"]);
});

test("an initial cluster without this host, or with another URL for it, is refused", async () => {
  const fleet = await openFleet();
  const list = await initialCluster(fleet, ["h1", "h2"]);
  const other = await fleet.start("h3", { flags: [`--initial-cluster=${list}`] });
  const ended = await other.end(20_000);
  expect(ended).toMatchObject({ code: 2 });
  expect(ended.stderr).toContain("it does not name this host, h3");
  const wrong = await fleet.start("h1", { flags: ["--initial-cluster=h1=http://127.0.0.1:1"] });
  const also = await wrong.end(20_000);
  expect(also).toMatchObject({ code: 2 });
  expect(also.stderr).toContain("it has http://127.0.0.1:1 for h1, which advertises");
});

for (const version of ["v2", "v3"] as const) {
  const v2 = version === "v2" ? ["--enable-v2"] : [];
  slow(
    `discovery by a token of ${version}: three found a cluster, a fourth joins it; a token serves once`,
    { timeout: 200_000 },
    async () => {
      const fleet = await openFleet();
      const service = await fleet.plainEtcd("discovery", v2);
      const created = await fleet.quorate("discovery", "create", "--size=3", `--url=${service}`, "-o", "json");
      expect(created).toMatchObject({ code: 0 });
      const { kind, flags: told } = JSON.parse(created.stdout) as { kind: string; flags: string[] };
      assert.equal(kind, version);
      const flags = [...told, "--ideal-cluster-size=3"];
      const hosts = ["h1", "h2", "h3"];
      const agents = await Promise.all(hosts.map((host) => fleet.start(host, { flags })));
      await Promise.all(agents.map((agent) => agent.ready()));
      const members = await fleet.settled(3, hosts);
      assert.deepEqual(
        members.map(({ name }) => name),
        hosts,
      );

      const fourth = await fleet.start("h4", { flags });
      await fourth.ready();
      assert.deepEqual(begun([fourth]), ["h4 join"]);
      const shown = await fleet.quorate("status", "-o", "json", `--endpoints=${agents[0]!.place.clientUrl}`);
      expect(shown.stdout).toContain('"h4"');

      // One of them anew, on another disk, while it runs: the token has had it, and so has the cluster.
      const [client, server] = (await fleet.network.ports(2)).map((port) => `http://127.0.0.1:${port}`) as [string, string];
      const urls = [`--client-urls=${client}`, `--server-urls=${server}`];
      const again = fleet.agent(await fleet.place("h1"), ["--hostname=h1", "--tmp-prefix", ...urls, ...told]);
      expect(await again.end(60_000)).toMatchObject({ code: 6 });
      const missing = told.map((flag) => flag.replace(/[0-9a-f]{12}$/, "000000000000"));
      const none = await (await fleet.start("h5", { flags: missing })).end(60_000);
      expect(none.stderr).toContain("there is no token at");
      await growsAndShrinks(fleet, hosts);
    },
  );
}

/** Which of these agents founded, and which joined. */
function begun(agents: readonly AgentProcess[]): string[] {
  return agents.flatMap(({ place, lines }) =>
    lines.flatMap((line) => (line["begins"] === undefined ? [] : [`${place.hostname} ${line["begins"] as string}`])),
  );
}

test("expect: three of four seeds found one cluster; the fourth, which comes later, joins it", { timeout: 200_000 }, async () => {
  const fleet = await openFleet();
  const hosts = ["h1", "h2", "h3", "h4"];
  const flags = ["--expect=3", "--ideal-cluster-size=5"];
  const agents = [await fleet.start("h2", { seeds: hosts, flags }), await fleet.start("h3", { seeds: hosts, flags })];
  for (const agent of agents) await agent.line("looking for the others to found a cluster with");
  agents.push(await fleet.start("h4", { seeds: hosts, flags }));
  await Promise.all(agents.map((agent) => agent.ready()));
  const members = await fleet.settled(3, ["h2"]);
  assert.deepEqual(
    members.map(({ name }) => name),
    ["h2", "h3", "h4"],
  );
  assert.deepEqual(begun(agents).sort(), ["h2 found", "h3 found", "h4 found"]);

  const late = await fleet.start("h1", { seeds: hosts, flags });
  await late.ready();
  assert.deepEqual(begun([late]), ["h1 join"]);
  const four = await fleet.settled(4, ["h2"]);
  assert.deepEqual(
    four.map(({ name }) => name),
    ["h1", "h2", "h3", "h4"],
  );
});

slow("expect: a founder that dies before it has served is replaced by one that comes later", { timeout: 200_000 }, async () => {
  const fleet = await openFleet();
  const hosts = ["h1", "h2", "h3", "h4"];
  const flags = ["--expect=3", "--ideal-cluster-size=3"];
  const agents = await Promise.all(["h1", "h2", "h3"].map((host) => fleet.start(host, { seeds: hosts, flags })));
  await agents[2]!.line("agreed on the founders");
  await agents[2]!.kill();
  // The two others have agreed with it by then, or have to give it up.
  const fourth = await fleet.start("h4", { seeds: hosts, flags });
  await Promise.all([...agents.slice(0, 2), fourth].map((agent) => agent.ready(60_000)));
  const members = await fleet.settled(3, ["h1"], 90_000);
  assert.deepEqual(
    members.map(({ name }) => name),
    ["h1", "h2", "h4"],
  );
});

test("expect: too few seeds, or none of them this host, is refused", async () => {
  const fleet = await openFleet();
  const few = await (await fleet.start("h1", { seeds: ["h1", "h2", "h3", "h4"], flags: ["--expect=2"] })).end(20_000);
  expect(few).toMatchObject({ code: 2 });
  expect(few.stderr).toContain("2 is not more than half of the 4 seeds");
  const none = await (await fleet.start("h5", { seeds: ["h1", "h2", "h3"], flags: ["--expect=2"] })).end(20_000);
  expect(none).toMatchObject({ code: 2 });
  expect(none.stderr).toContain("none of the seeds is a client URL of this host");
});

(full ? test.skipIf(typeof probe === "string") : () => undefined)(
  "expect: one command line on every host, one of them 10 s late, one seed dead",
  { timeout: 240_000 },
  async () => {
    const lan = await Lan.open();
    if (typeof lan === "string") throw new Error(lan);
    const fleet = Fleet.on(lan, ["--session-ttl=2s"], etcdBinary());
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const places = await Promise.all(["h1", "h2", "h3", "h4"].map((host) => fleet.place(host)));
    const seeds = places.map(({ clientUrl }) => clientUrl).join(",");
    const args = ["--expect=3", `--seeds=${seeds}`, "--session-ttl=2s", "--ideal-cluster-size=3", "--insecure"];
    // Who a host is says its environment, as its own name and disk would.
    const start = (i: number): AgentProcess =>
      fleet.agent(places[i]!, args, { QUORATE_HOSTNAME: places[i]!.hostname, QUORATE_PREFIX: places[i]!.prefix });
    const [h1, h2] = [start(0), start(1)];
    for (const agent of [h1, h2]) {
      // 10 s after it began to look.
      await agent.line("still waiting: fewer than expected are there, or they cannot agree", 40_000);
    }
    const h4 = start(3);
    await Promise.all([h1, h2, h4].map((agent) => agent.ready()));
    const members = await fleet.settled(3, ["h1"]);
    assert.deepEqual(
      members.map(({ name }) => name),
      ["h1", "h2", "h4"],
    );
    if (full) await growsAndShrinks(fleet, ["h1", "h2", "h4"]);
  },
);

/** What `dnsmasq` answers in that domain: of each host an address of this machine, and the services that etcd looks for. */
function zone(domain: string, hosts: ReadonlyMap<string, string>, clients: readonly string[]): string[] {
  return [
    ...[...hosts].map(([host, address]) => `--address=/${host}.${domain}/${address}`),
    ...[...hosts.keys()].map((host) => `--srv-host=_etcd-server._tcp.${domain},${host}.${domain},2380`),
    ...clients.map((host) => `--srv-host=_etcd-client._tcp.${domain},${host}.${domain},2379`),
  ];
}

const dnsmasq = findProgram("dnsmasq");

(full ? test.skipIf(typeof probe === "string" || dnsmasq === undefined) : () => undefined)(
  "DNS: the hosts that SRV records name are one cluster, whoever joins finds it by them, and a host they do not name is refused",
  { timeout: 200_000 },
  async () => {
    const fleet = await openFleet();
    const domain = "cluster.test";
    const addresses = new Map(["h1", "h2", "h3"].map((host, i) => [host, `127.0.0.${11 + i}`]));
    const resolver = join(fleet.folder, "resolv.conf");
    await writeFile(resolver, "nameserver 127.0.0.1\noptions timeout:1\n");
    const server = fleet.run(
      "dnsmasq",
      [
        ...[dnsmasq ?? "", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--log-facility=-"],
        ...["--no-resolv", "--no-hosts", "--no-daemon", "--listen-address=127.0.0.1", "--bind-interfaces"],
        ...zone(domain, addresses, ["h1", "h2", "h3"]),
      ],
      { ...fleet.env, LD_LIBRARY_PATH: dirname(dnsmasq ?? "") },
    );
    await server.says("started");
    /** With that resolver, and no other's. */
    const inside = (argv: readonly string[]): [string, ...string[]] =>
      fleet.network.inside([
        "unshare",
        "--mount",
        "--",
        "sh",
        "-ec",
        'mount --bind "$0" /etc/resolv.conf; exec "$@"',
        resolver,
        ...argv,
      ]);
    const run = async (host: string, args: readonly string[]): Promise<AgentProcess> => {
      const place = { ...(await fleet.place(host)), inside };
      return fleet.agent(place, [`--hostname=${host}`, `--prefix=${place.prefix}`, "--session-ttl=2s", "--insecure", ...args]);
    };
    const start = (host: string, urls: readonly string[], more: readonly string[] = []): Promise<AgentProcess> =>
      run(host, [`--discovery-srv=${domain}`, ...urls, ...more]);
    const founder = (host: string, address: string): Promise<AgentProcess> =>
      start(host, [
        ...[`--client-urls=http://${address}:2379`, `--server-urls=http://${address}:2380`],
        ...[`--advertise-server-urls=http://${host}.${domain}:2380`, "--ideal-cluster-size=3"],
      ]);
    const agents = await Promise.all([...addresses].map(([host, address]) => founder(host, address)));
    await Promise.all(agents.map((agent) => agent.ready()));
    const urls = [...addresses.values()].map((address) => `http://${address}:2379`);
    const members = await fleet.settled(3, urls);
    assert.deepEqual(
      members.map(({ name, peerUrls }) => `${name} ${peerUrls.join()}`),
      [...addresses.keys()].map((host) => `${host} http://${host}.${domain}:2380`),
    );

    const stranger = await start("h6", ["--client-urls=http://127.0.0.16:2379", "--server-urls=http://127.0.0.16:2380"]);
    const refused = await stranger.end(30_000);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain("none of their targets is a peer URL of h6");
    const joiner = await start(
      "h4",
      ["--client-urls=http://127.0.0.14:2379", "--server-urls=http://127.0.0.14:2380"],
      ["--initial-cluster-state=existing"],
    );
    await joiner.ready();
    assert.deepEqual(begun([joiner]), ["h4 join"]);
    await growsAndShrinks(fleet, urls, async (host, seed) => {
      const { clientUrl, serverUrl } = await fleet.place(host);
      return run(host, [`--seeds=${seed}`, `--client-urls=${clientUrl}`, `--server-urls=${serverUrl}`]);
    });
  },
);
