/**
 * What the death of hosts costs, with real agents and a writer that never pauses: kill -9 of a host of three with a spare and with a
 * standby (any host, the leader's, the raft leader's, both in one); of all five at once; a rolling restart; deaths without a spare.
 * The pause of a bare etcd whose raft leader is killed is measured in the same run.
 *
 *   npm run bench -- heal [--ttl 10] [--only TEXT] [--times 1] [--trace]
 *
 * `--only` runs the scenarios whose name has that text, such as "the raft leader's host, with a standby"; `--times` runs each so often.
 *
 * Exits 1 beyond a limit. Limits: session TTL + 3 s until there are three healthy voters again, + 1 s with a standby, + 2 s where the
 * host was the raft leader's (etcd refreshes all leases then); writes pause for less than 2 s, where it was the raft leader's for no
 * longer than a bare etcd's by half a second, which is the noise of the longest election; 5 s until all five serve again.
 */
import { systemClock as clock } from "../src/clock.ts";
import { Fleet, type AgentProcess, type Member } from "../test/support/agents.ts";
import { startEtcd } from "../test/support/etcd-process.ts";
import { openNetwork } from "../test/support/netns.ts";
import { startWriter } from "../test/support/writer.ts";

const never = new AbortController().signal;
const argOf = (name: string): string | undefined =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined;
const ttlMs = 1_000 * Number(argOf("--ttl") ?? 10);
const only = argOf("--only") ?? "";
const times = Number(argOf("--times") ?? 1);
const noiseMs = 500;
const beyond: string[] = [];

interface Status {
  readonly header: { readonly member_id: string };
  readonly leader?: string;
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`;

async function until<T>(what: string, withinMs: number, check: () => Promise<T | undefined | false>): Promise<T> {
  const untilMs = clock.nowMs() + withinMs;
  for (;;) {
    const found = await check().catch(() => undefined);
    if (found !== undefined && found !== false) return found;
    if (clock.nowMs() > untilMs) throw new Error(`Not within ${withinMs} ms: ${what}`);
    await clock.sleep(20, never);
  }
}

function judge(what: string, figures: readonly (readonly [name: string, ms: number, limitMs: number])[], more = ""): void {
  const told = figures.map(([name, ms, limitMs]) => `${name} ${seconds(ms)} (limit ${seconds(limitMs)})`);
  console.log(`${what.padEnd(58)} ${[...told, ...(more === "" ? [] : [more])].join("; ")}`);
  for (const [name, ms, limitMs] of figures) if (ms > limitMs) beyond.push(`${what}: ${name}`);
}

function expect(what: string, holds: boolean): void {
  if (!holds) beyond.push(what);
}

const idOf = (decimal: string | undefined): string => BigInt(decimal ?? 0).toString(16);
const statusOf = (fleet: Fleet, host: string): Promise<Status> => fleet.ask<Status>(host, "maintenance/status");

/** The host of the raft leader. */
async function raftHost(fleet: Fleet, members: readonly Member[]): Promise<string> {
  const { leader } = await statusOf(fleet, members[0]?.name ?? "");
  return members.find(({ id }) => id === idOf(leader))?.name ?? "";
}

async function moveRaftLeader(fleet: Fleet, members: readonly Member[], to: string): Promise<void> {
  const from = await raftHost(fleet, members);
  if (from === to) return;
  const target = members.find(({ name }) => name === to);
  await fleet.ask(from, "maintenance/transfer-leadership", { targetID: BigInt(`0x${target?.id ?? ""}`).toString() });
  await until("raft leadership to move", 10_000, async () => (await raftHost(fleet, members)) === to);
}

/** So many voters, each of which names a raft leader, and no others. */
async function healthyVoters(fleet: Fleet, at: string, voters: number, without: string): Promise<boolean> {
  const members = (await fleet.members(at)).filter(({ learner }) => !learner);
  if (members.length !== voters || members.some(({ name }) => name === without || name === "")) return false;
  const answers = await Promise.all(members.map(({ name }) => statusOf(fleet, name)));
  return answers.every(({ leader }) => leader !== undefined && leader !== "0");
}

/** The raft leader of a bare etcd is killed: how long writes pause. */
async function bareElections(rounds: number): Promise<number> {
  const gaps: number[] = [];
  await using network = await openNetwork();
  for (let i = 0; i < rounds; i++) {
    await using etcd = await startEtcd(3);
    // Outside the fleet's network: these servers listen on the host's own loopback.
    await using writer = await startWriter({ ...network, inside: (argv) => [...argv] as [string, ...string[]] }, etcd.urls);
    await clock.sleep(1_000, never);
    const statuses = await Promise.all(
      etcd.nodes.map(async (node) => {
        const answer = await fetch(`${node.clientUrl}/v3/maintenance/status`, { method: "POST", body: "{}" });
        return { node, status: (await answer.json()) as Status };
      }),
    );
    await statuses.find(({ status }) => status.leader === status.header.member_id)?.node.kill();
    await clock.sleep(4_000, never);
    gaps.push((await writer.finish()).longestGapMs);
  }
  console.log(`bare etcd, its raft leader killed: writes pause ${gaps.map(seconds).join(", ")}`);
  return Math.max(...gaps);
}

/** What the agents did since then, in order, and whom their servers elected. */
function trace(agents: readonly AgentProcess[], since: number): void {
  const told = agents.flatMap(({ place, lines }) => lines.map((line) => ({ ...line, host: place.hostname })));
  const at = (line: { readonly [field: string]: unknown }): number => Date.parse(String(line["time"])) - since;
  const tells = (line: (typeof told)[number]): boolean =>
    !("etcd" in line) || / became leader at term | lost leader /.test(line.msg);
  for (const line of told.filter((one) => at(one) >= 0 && tells(one)).sort((a, b) => at(a) - at(b))) {
    const { step, because, server, held, waiting } = line as Record<string, unknown>;
    const more = [step ?? server ?? waiting, held, because].flatMap((what) => (what === undefined ? [] : [JSON.stringify(what)]));
    console.log(`  ${String(at(line)).padStart(6)} ms ${line.host} ${line.msg} ${more.join(" ")}`);
  }
}

type Where = "a voter's host" | "the leader's host" | "the raft leader's host" | "the host of both leaders";

let bareMs: Promise<number> | undefined;

/** kill -9 of one host of three, with a fourth as spare or standby. */
async function death(where: Where, standby: boolean): Promise<void> {
  const what = `kill -9 of ${where}, with a ${standby ? "standby" : "spare"}`;
  if (!what.includes(only)) return;
  await using fleet = await Fleet.open([`--session-ttl=${ttlMs / 1_000}s`]);
  const hosts = ["h1", "h2", "h3", "h4"];
  const founder = await fleet.start("h1", { flags: ["--ideal-cluster-size=3", ...(standby ? ["--standbys=1"] : [])] });
  const agents = [founder, ...(await Promise.all(hosts.slice(1).map((host) => fleet.start(host, { seeds: ["h1"] }))))];
  await Promise.all(agents.map((agent) => agent.ready()));
  const members = await fleet.settled(standby ? 4 : 3, ["h1"]);
  const voters = members.filter(({ learner }) => !learner);
  // The fourth may lead as well: any agent can.
  const leader = (await fleet.plan("h1"))?.leader ?? "";
  const others = voters.map(({ name }) => name).filter((name) => name !== leader);
  const isRaft = where === "the raft leader's host" || where === "the host of both leaders";
  const victim = where === "the leader's host" || where === "the host of both leaders" ? leader : (others[0] ?? "");
  if (!voters.some(({ name }) => name === victim)) {
    console.log(`${what}: the leader ${leader} has no vote this time; once more`);
    await death(where, standby);
    return;
  }
  const raft = isRaft ? victim : (voters.map(({ name }) => name).find((name) => name !== victim) ?? "");
  await moveRaftLeader(fleet, members, raft);
  const writer = await fleet.writer(voters.map(({ name }) => name));
  await clock.sleep(4_000, never);
  const survivor = voters.map(({ name }) => name).find((name) => name !== victim) ?? "";
  const startMs = clock.nowMs();
  const startedAt = clock.wallTime().getTime();
  await agents.find(({ place }) => place.hostname === victim)?.kill();
  await until("three healthy voters", ttlMs + 30_000, () => healthyVoters(fleet, survivor, 3, victim)).catch((error: unknown) => {
    throw new Error(`${what}: ${(error as Error).message}\n${fleet.tails()}`);
  });
  const healedMs = clock.nowMs() - startMs;
  if (process.argv.includes("--trace")) trace(agents, startedAt);
  const { acknowledged, lost, misread, longestGapMs } = await writer.finish();
  expect(`${what}: ${lost.length} acknowledged writes lost, ${misread} misread`, lost.length === 0 && misread === 0);
  judge(
    what,
    [
      ["three healthy voters after", healedMs, ttlMs + (standby ? 1_000 : 3_000) + (isRaft ? 2_000 : 0)],
      ["writes paused", longestGapMs, isRaft ? (await (bareMs ??= bareElections(5))) + noiseMs : 2_000],
    ],
    `${acknowledged} writes, ${lost.length} lost`,
  );
}

/** kill -9 of all agents of five and a start of all, where no seed answers. */
async function powerCut(): Promise<void> {
  const what = "kill -9 of all five, and a start of all without a seed";
  if (!what.includes(only)) return;
  await using fleet = await Fleet.open([`--session-ttl=${ttlMs / 1_000}s`]);
  const hosts = ["h1", "h2", "h3", "h4", "h5"];
  const agents = await fleet.form(hosts, 5);
  const before = JSON.stringify(await fleet.members("h1"));
  await fleet.put("h1", "/kept", "before the power cut");
  await Promise.all(agents.map((agent) => agent.kill()));
  const startMs = clock.nowMs();
  await Promise.all(hosts.map((host) => fleet.start(host, { seeds: ["http://127.0.0.1:9"] })));
  const write = async (): Promise<true> => fleet.put("h1", "/after", "the power cut").then(() => true as const);
  await until("a write", 60_000, write);
  const writtenMs = clock.nowMs() - startMs;
  await Promise.all(
    hosts.map((host) => until(`${host} serving`, 60_000, async () => (await fleet.get(host, "/kept")) !== undefined)),
  );
  const allMs = clock.nowMs() - startMs;
  await fleet.settled(5, hosts, 60_000);
  expect(`${what}: the membership has changed`, JSON.stringify(await fleet.members("h1")) === before);
  judge(what, [
    ["first write after", writtenMs, 5_000],
    ["all serve after", allMs, 5_000],
  ]);
}

/** SIGTERM and start of every agent, one after the other. */
async function rolling(): Promise<void> {
  const what = "rolling SIGTERM and start of three";
  if (!what.includes(only)) return;
  await using fleet = await Fleet.open([`--session-ttl=${ttlMs / 1_000}s`]);
  const hosts = ["h1", "h2", "h3"];
  const agents = new Map<string, AgentProcess>((await fleet.form(hosts)).map((agent) => [agent.place.hostname, agent]));
  const before = JSON.stringify(await fleet.members("h1"));
  const writer = await fleet.writer(hosts);
  const startMs = clock.nowMs();
  for (const host of hosts) {
    const agent = agents.get(host);
    agent?.signal("SIGTERM");
    await agent?.end(45_000);
    await (await fleet.start(host, { seeds: hosts.filter((other) => other !== host) })).ready();
    await fleet.settled(3, [host]);
    expect(`${what}: the membership has changed with ${host}`, JSON.stringify(await fleet.members(host)) === before);
  }
  const ms = clock.nowMs() - startMs;
  const { acknowledged, lost, misread, longestGapMs } = await writer.finish();
  expect(`${what}: ${lost.length} acknowledged writes lost, ${misread} misread`, lost.length === 0 && misread === 0);
  judge(what, [["writes paused", longestGapMs, 2_000]], `took ${seconds(ms)}; ${acknowledged} writes, ${lost.length} lost`);
}

/** Deaths that nobody can replace. */
async function withoutSpare(voters: 3 | 5, dead: number, left: number): Promise<void> {
  const what = `${voters} voters, ${dead} dead, no spare`;
  if (!what.includes(only)) return;
  await using fleet = await Fleet.open([`--session-ttl=${ttlMs / 1_000}s`]);
  const hosts = ["h1", "h2", "h3", "h4", "h5"].slice(0, voters);
  const agents = await fleet.form(hosts);
  const victims = agents.slice(-dead);
  const startMs = clock.nowMs();
  await Promise.all(victims.map((agent) => agent.kill()));
  const gone = victims.map(({ place }) => place.hostname);
  if (left === voters) {
    const said = await until("the leader to see it", 60_000, async () => {
      const plan = await fleet.plan("h1");
      return plan?.kind === "waiting" && plan.because.includes("keeps its seat") && plan.because;
    });
    expect(`${what}: somebody was removed`, (await fleet.members("h1")).length === voters);
    const { stdout } = await fleet.quorate("status", `--endpoints=${(await fleet.place("h1")).clientUrl}`);
    expect(`${what}: status does not say what is missing`, stdout.includes(said) && gone.every((host) => stdout.includes(host)));
    console.log(`${what.padEnd(58)} all keep their seats; status says: ${said}`);
    return;
  }
  await until(`${left} healthy voters`, 60_000, () => healthyVoters(fleet, "h1", left, gone[0] ?? ""));
  judge(what, [[`${left} healthy voters after`, clock.nowMs() - startMs, ttlMs + 3_000 + 2_000]]);
}

async function repeat(scenario: () => Promise<void>): Promise<void> {
  for (let i = 0; i < times; i++) await scenario();
}

console.log(`session TTL ${seconds(ttlMs)}`);
for (const standby of [false, true]) {
  for (const where of ["a voter's host", "the leader's host", "the raft leader's host", "the host of both leaders"] as const) {
    await repeat(() => death(where, standby));
  }
}
await repeat(powerCut);
await repeat(rolling);
await repeat(() => withoutSpare(3, 1, 3));
await repeat(() => withoutSpare(5, 2, 3));
if (beyond.length > 0) {
  console.log(`beyond the limit: ${beyond.join("; ")}`);
  process.exitCode = 1;
}
