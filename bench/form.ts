/**
 * Three voters from nothing: agents that expect each other (`--expect 3`), and bare etcds that are told each other (`--initial-cluster`), as a
 * person starts them. The agents' time is from when the last of the three looks for the others (until then Node starts, which is told beside it),
 * the etcds' from the start of the first, until each of the three serves a linearizable read. One run, one machine, in turns.
 *
 * Either may need a second election, which costs 2 s, and with five rounds the median says which of them had more of these.
 *
 *   npm run bench -- form [--rounds 15]
 *
 * Exits 1 unless the median of the agents is at most 2 times that of the bare etcds.
 */
import { systemClock as clock } from "../src/clock.ts";
import { Fleet } from "../test/support/agents.ts";
import { etcdBinary } from "../test/support/etcd.ts";

const never = new AbortController().signal;
const rounds = Number(process.argv[process.argv.indexOf("--rounds") + 1] || 15) || 15;
const limit = 2;
const hosts = ["h1", "h2", "h3"];

/** Settles when each serves. */
async function untilAllServe(fleet: Fleet): Promise<void> {
  for (;;) {
    const reads = hosts.map((host) => fleet.get(host, "x"));
    const outcomes = await Promise.allSettled(reads);
    if (outcomes.every(({ status }) => status === "fulfilled")) return;
    await clock.sleep(10, never);
  }
}

interface Timed {
  /** From when they know of each other. */
  readonly ms: number;
  /** From the start of the first process. */
  readonly inAllMs: number;
}

/** `start` settles when they are there. */
async function timed(start: (fleet: Fleet) => Promise<unknown>): Promise<Timed> {
  await using fleet = await Fleet.open([]);
  for (const host of hosts) await fleet.place(host);
  const startMs = clock.nowMs();
  await start(fleet);
  const thereMs = clock.nowMs();
  await untilAllServe(fleet);
  const nowMs = clock.nowMs();
  return { ms: nowMs - thereMs, inAllMs: nowMs - startMs };
}

async function agents(fleet: Fleet): Promise<void> {
  const flags = ["--expect=3", "--ideal-cluster-size=3"];
  const started = await Promise.all(hosts.map((host) => fleet.start(host, { seeds: hosts, flags })));
  await Promise.all(started.map((agent) => agent.line("looking for the others to found a cluster with")));
}

async function bare(fleet: Fleet): Promise<void> {
  const places = await Promise.all(hosts.map((host) => fleet.place(host)));
  const cluster = places.map(({ hostname, serverUrl }) => `${hostname}=${serverUrl}`).join(",");
  for (const { hostname, clientUrl, serverUrl, prefix } of places) {
    fleet.run(`etcd ${hostname}`, [
      etcdBinary(),
      `--name=${hostname}`,
      `--data-dir=${prefix}`,
      `--listen-client-urls=${clientUrl}`,
      `--advertise-client-urls=${clientUrl}`,
      `--listen-peer-urls=${serverUrl}`,
      `--initial-advertise-peer-urls=${serverUrl}`,
      `--initial-cluster=${cluster}`,
      "--logger=zap",
    ]);
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const times = { agents: [] as number[], bare: [] as number[] };
const inAll: number[] = [];
for (let round = 0; round < rounds; round += 1) {
  const together = await timed(agents);
  times.agents.push(together.ms);
  inAll.push(together.inAllMs);
  times.bare.push((await timed(bare)).inAllMs);
  console.log(
    `round ${round + 1}: agents ${Math.round(together.ms)} ms (with the start of Node ${Math.round(together.inAllMs)} ms), bare etcds ${Math.round(times.bare.at(-1)!)} ms`,
  );
}
const ratio = median(times.agents) / median(times.bare);
console.log(
  `median of ${rounds}: agents ${Math.round(median(times.agents))} ms (with the start of Node ${Math.round(median(inAll))} ms), bare etcds ${Math.round(median(times.bare))} ms, ${ratio.toFixed(2)} times (limit: ${limit})`,
);
if (ratio > limit) {
  console.log("beyond the limit");
  process.exitCode = 1;
}
