/**
 * Growing from one voter to three, and replacing a voter that is killed, under a writer that never pauses: the longest gap between
 * acknowledged writes, and how long the cluster has only two voters, by its servers' own logs. With an empty database and a full one, on
 * every etcd that is given.
 *
 *   npm run bench -- replace [--mb 0,500] [--etcd PATH,PATH] [--times 1] [--disk] [--bare] [--trace]
 *
 * The hosts keep their data in memory (/dev/shm) where that has room for it: a disk that is slow to flush makes any etcd pause, a bare one as
 * long as ours, and the limits are about what Quorate adds. `--disk` tells the disk's figures, by the same limits; the first line says where
 * the data was. `--bare` runs an etcd of one server beside it, in the same place, that nothing happens to, and tells the longest gap of a
 * writer of its own: what the disk and the machine do to any etcd. It costs processor time, so it is for telling whose a gap is.
 * `--trace` prints what agents and servers logged around the longest gap, and around the time with two voters.
 *
 * Exits 1 beyond a limit: 250 ms between writes, 100 ms with two voters.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { availableMemory } from "node:process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock as clock } from "../src/clock.ts";
import { Fleet, base64, type AgentProcess } from "../test/support/agents.ts";
import { startEtcd } from "../test/support/etcd-process.ts";
import { startWriter, type Writer, type Written } from "../test/support/writer.ts";
import { etcdBinary, etcdVersions } from "../test/support/etcd.ts";

const never = new AbortController().signal;
const argOf = (name: string): string | undefined =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined;
const times = Number(argOf("--times") ?? 1);
const sizes = (argOf("--mb") ?? "0,500").split(",").map(Number);
/** One that is named in the environment, else all of the store that may join a cluster of the newest's kind. */
const ours = etcdVersions().filter(({ version: { major, minor } }) => major > 3 || minor >= 5);
const chosen = process.env["QUORATE_ETCD_BIN"] === undefined ? ours.map(({ binary }) => binary) : [etcdBinary()];
const binaries = argOf("--etcd")?.split(",") ?? chosen;
const hosts = ["h1", "h2", "h3", "h4"];
const limits = { gapMs: 250, windowMs: 100 };
const beyond: string[] = [];

/** Has all that is written below a folder in memory, if it has room for every host's database, its copies and its log; says where it is. */
function placeData(): string {
  const memory = "/dev/shm";
  if (process.argv.includes("--disk")) return `on the disk of ${tmpdir()}, as asked`;
  const mostMb = hosts.length * (5 * Math.max(...sizes) + 200);
  const roomMb = roomOf(memory);
  if (roomMb < mostMb) return `on the disk of ${tmpdir()}: ${memory} has room for ${roomMb} MB, and ${mostMb} MB may be needed`;
  const folder = mkdtempSync(join(memory, "quorate-bench-"));
  // What stays behind there is taken from the machine's memory.
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(1));
  process.env["TMPDIR"] = folder;
  return `in memory (${memory}); --disk has it on the disk`;
}

/** In megabytes; 0 where there is no such folder. */
function roomOf(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return Math.floor(Math.min(bavail * bsize, availableMemory()) / 1_000_000);
  } catch {
    return 0;
  }
}

function judge(what: string, told: readonly (readonly [name: string, ms: number, limitMs: number])[], more: string): void {
  const figures = told.map(([name, ms, limitMs]) => `${name} ${Math.round(ms)} ms (limit ${limitMs})`);
  console.log(`${what.padEnd(64)} ${[...figures, more].join("; ")}`);
  for (const [name, ms, limitMs] of told) if (!(ms <= limitMs)) beyond.push(`${what}: ${name}`);
}

async function until(what: string, withinMs: number, check: () => Promise<boolean>): Promise<void> {
  const untilMs = clock.nowMs() + withinMs;
  while (!(await check().catch(() => false))) {
    if (clock.nowMs() > untilMs) throw new Error(`Not within ${withinMs} ms: ${what}`);
    await clock.sleep(20, never);
  }
}

/** So many megabytes of data that do not compress. */
async function fill(fleet: Fleet, mb: number): Promise<void> {
  for (let i = 0; i < mb; i++) {
    const value = randomBytes(1_000_000).toString("base64");
    await until(`megabyte ${i}`, 30_000, async () => {
      await fleet.ask("h1", "kv/put", { key: base64(`/fill/${i}`), value });
      return true;
    });
  }
}

interface Change {
  readonly kind: string;
  readonly member: string;
  readonly atMs: number;
}

/** When each change of the configuration was applied. Only the server that was asked for it logs that, whichever the leader's is by then. */
function changes(agents: readonly AgentProcess[]): readonly Change[] {
  const lines = agents.flatMap((agent) => agent.lines);
  const found = lines.flatMap((line) => {
    const etcd = line["etcd"] as Readonly<Record<string, unknown>> | undefined;
    if (line.msg !== "applied a configuration change through raft" || etcd === undefined) return [];
    const [kind, member] = [etcd["raft-conf-change"], etcd["raft-conf-change-node-id"]].map(String) as [string, string];
    return [{ kind, member, atMs: Date.parse(String(line["time"])) }];
  });
  return found.sort((a, b) => a.atMs - b.atMs);
}

/** What agents and servers did around a gap. */
function traceGap(what: string, agents: readonly AgentProcess[], { gapAt, longestGapMs }: Written): void {
  if (!process.argv.includes("--trace")) return;
  const zeroMs = Date.parse(gapAt);
  console.log(`around the longest gap, ${what}:`);
  trace(agents, zeroMs - 100, zeroMs + longestGapMs + 50, zeroMs);
}

/** What the agents did in that time. */
function trace(agents: readonly AgentProcess[], fromMs: number, toMs: number, zeroMs: number): void {
  const told = agents.flatMap(({ place, lines }) => lines.map((line) => ({ line, host: place.hostname })));
  const at = ({ line }: (typeof told)[number]): number => Date.parse(String(line["time"]));
  for (const one of told.filter((each) => at(each) >= fromMs && at(each) <= toMs).sort((a, b) => at(a) - at(b))) {
    const { msg, time: _, level: __, pid: ___, hostname: ____, ...more } = one.line as Record<string, unknown> & { msg: string };
    console.log(`  ${String(at(one) - zeroMs).padStart(6)} ms ${one.host} ${msg} ${JSON.stringify(more).slice(0, 300)}`);
  }
}

/** A writer at an etcd that nothing happens to; undefined unless asked for. */
async function besides(fleet: Fleet, urls: readonly string[] | undefined): Promise<Writer | undefined> {
  if (urls === undefined) return undefined;
  // Outside the fleet's network: it listens on the host's own loopback.
  return fleet.keep(await startWriter({ ...fleet.network, inside: (argv) => [...argv] as [string, ...string[]] }, urls));
}

async function toldBeside(writer: Writer | undefined): Promise<string> {
  const written = await writer?.finish();
  return written === undefined ? "" : `; the bare etcd beside it: ${written.longestGapMs} ms`;
}

async function run(binary: string, mb: number): Promise<void> {
  await using bare = process.argv.includes("--bare") ? await startEtcd(1, { binary }) : undefined;
  await using fleet = await Fleet.open(["--session-ttl=2s"], binary);
  const { stdout } = await fleet.run("etcd --version", [binary, "--version"]).end(10_000);
  const version = /etcd Version: (\S+)/.exec(stdout)?.[1] ?? binary;
  const agents = await fleet.form(hosts, 1);
  await fill(fleet, mb);

  const calm = await besides(fleet, bare?.urls);
  const growth = await fleet.writer(["h1"]);
  const endpoint = `--endpoints=${(await fleet.place("h1")).clientUrl}`;
  const startMs = clock.nowMs();
  await fleet.quorate("size", "3", endpoint);
  await until("three voters", 120_000, async () => (await fleet.members("h1")).filter(({ learner }) => !learner).length === 3);
  const grownMs = clock.nowMs() - startMs;
  await fleet.settled(3, ["h1"], 60_000);
  const grown = await growth.finish();
  const what = `etcd ${version}, ${mb} MB`;
  traceGap(`1 -> 3 of ${what}`, agents, grown);
  judge(
    `${what}: 1 -> 3`,
    [["longest gap between writes", grown.longestGapMs, limits.gapMs]],
    `took ${(grownMs / 1_000).toFixed(2)} s; ${grown.acknowledged} writes, ${grown.lost.length} lost${await toldBeside(calm)}`,
  );
  if (grown.lost.length > 0) beyond.push(`${what}: writes lost while it grew`);

  // Neither the writer's host, nor the leader's, nor the raft leader's: those pauses are bench/heal's.
  const members = await fleet.members("h1");
  const { leader } = await fleet.ask<{ leader: string }>("h1", "maintenance/status");
  const raft = members.find(({ id }) => id === BigInt(leader).toString(16))?.name;
  const first = (await fleet.plan("h1"))?.leader;
  const victim =
    members.find(({ name }) => name !== "h1" && name !== raft && name !== first) ??
    members.find(({ name }) => name !== "h1" && name !== raft);
  const still = await besides(fleet, bare?.urls);
  const writer = await fleet.writer(["h1"]);
  const killedMs = clock.nowMs();
  await agents.find(({ place }) => place.hostname === victim?.name)?.kill();
  await until("the replacement", 120_000, async () => {
    const now = (await fleet.members("h1")).filter(({ learner }) => !learner);
    return now.length === 3 && !now.some(({ name }) => name === victim?.name);
  });
  const replacedMs = clock.nowMs() - killedMs;
  await fleet.settled(3, ["h1"], 60_000);
  const replaced = await writer.finish();
  traceGap(`a voter is replaced in ${what}`, agents, replaced);
  const applied = changes(agents);
  const removed = applied.find(({ kind, member }) => kind === "ConfChangeRemoveNode" && member === victim?.id);
  const promoted = applied.findLast(({ kind }) => kind === "ConfChangeAddNode");
  const windowMs = removed && promoted ? Math.max(0, promoted.atMs - removed.atMs) : Number.NaN;
  judge(
    `${what}: a voter is killed and replaced`,
    [
      ["longest gap between writes", replaced.longestGapMs, limits.gapMs],
      ["two voters for", windowMs, limits.windowMs],
    ],
    `took ${(replacedMs / 1_000).toFixed(2)} s; ${replaced.acknowledged} writes, ${replaced.lost.length} lost${await toldBeside(still)}`,
  );
  if (replaced.lost.length > 0) beyond.push(`${what}: writes lost while one was replaced`);
  if (process.argv.includes("--trace") && removed && promoted) {
    console.log("around the time with two voters:");
    trace(agents, removed.atMs - 600, promoted.atMs + 100, removed.atMs);
  }
}

console.log(`The hosts' data is ${placeData()}.`);
for (const binary of binaries) for (const mb of sizes) for (let i = 0; i < times; i++) await run(binary, mb);
if (beyond.length > 0) {
  console.log(`beyond the limit: ${beyond.join("; ")}`);
  process.exitCode = 1;
}
