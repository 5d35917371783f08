/**
 * How soon three agents agree with the truth: parts on all of them flip at random, and from the last flip on it is measured until each
 * agent's own watch says of the whole cluster what is so.
 *
 *   npm run bench -- converge [--rounds 200] [--seed 1]
 *
 * Exits 1 where one agent of one round takes more than 1 s.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as Quorate from "../src/index.ts";
import type { Agent } from "../src/index.ts";
import { etcdBinary } from "../test/support/etcd.ts";
import { eventually } from "../test/support/eventually.ts";
import { freePorts } from "../test/support/ports.ts";
import { Random } from "../test/support/random.ts";

// What is measured is what a program gets: the built package.
const { startAgent, systemClock: clock } = (await import(new URL("../dist/index.js", import.meta.url).href)) as typeof Quorate;

const limitMs = 1_000;
const given = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(name);
  return at >= 0 ? Number(process.argv[at + 1]) : otherwise;
};
const rounds = given("--rounds", 200);
const seed = given("--seed", 1);
const never = new AbortController().signal;

const folder = await mkdtemp(join(tmpdir(), "quorate-bench-converge-"));
const agents: Agent[] = [];
for (const hostname of ["h1", "h2", "h3"]) {
  const [client, server] = await freePorts(2);
  agents.push(
    startAgent({
      hostname,
      clientUrls: [`http://127.0.0.1:${client}`],
      serverUrls: [`http://127.0.0.1:${server}`],
      prefix: join(folder, hostname),
      idealClusterSize: 3,
      etcdBin: etcdBinary(),
      seeds: agents[0]?.status().clientUrls ?? [],
    }),
  );
  await agents.at(-1)!.ready;
}

/** What each agent's watch has said last, and when. */
const over = new AbortController();
const said = agents.map(() => ({ converged: undefined as boolean | undefined, atMs: 0 }));
for (const [i, { world }] of agents.entries()) {
  world.converger.watch({ signal: over.signal }).subscribe((event) => {
    if (event.kind !== "state") said[i] = { converged: event.value?.converged, atMs: clock.nowMs() };
  });
}

try {
  await eventually("all are converged by themselves", () => said.every(({ converged }) => converged === true), 60_000);
  const random = new Random(seed);
  const parts = agents.flatMap(({ world }) => ["a", "b", "c"].map((name) => world.converger.register(name, { converged: true })));
  const tookMs: number[] = [];
  let flips = 0;
  for (let round = 0; round < rounds; round++) {
    for (let left = random.between(1, 40); left > 0; left--) {
      random.pick(parts).set(random.chance(0.5));
      flips++;
      if (random.chance(0.5)) await clock.sleep(random.between(0, 10), never);
    }
    // Half of the rounds end converged: by chance that would be one in 512.
    if (random.chance(0.5)) for (const part of random.shuffled(parts)) part.set(true);
    const flippedMs = clock.nowMs();
    const truth = parts.every(({ converged }) => converged);
    await eventually(
      `all say ${truth} (seed ${seed}, round ${round})`,
      () => said.every(({ converged }) => converged === truth),
      30_000,
    );
    // What comes late, and is wrong, is a miss too: the last word is what counts.
    await clock.sleep(20, never);
    for (const { converged, atMs } of said) {
      if (converged !== truth)
        throw new Error(`an agent says ${converged} after it has said ${truth} (seed ${seed}, round ${round})`);
      tookMs.push(Math.max(0, atMs - flippedMs));
    }
  }
  tookMs.sort((a, b) => a - b);
  const at = (share: number): string =>
    `${tookMs[Math.min(tookMs.length - 1, Math.floor(share * tookMs.length))]!.toFixed(1)} ms`;
  const longestMs = tookMs.at(-1)!;
  if (longestMs > limitMs) process.exitCode = 1;
  console.log(
    `three agents agree with the truth: ${rounds} rounds, ${flips} flips; after the last flip ${at(0.5)} (median), ${at(0.99)} (99 %), ${at(1)} (longest)   ${longestMs > limitMs ? "MISSED" : "ok"} at most ${limitMs} ms`,
  );
} finally {
  over.abort();
  for (const agent of agents) agent.hurry();
  await Promise.all(agents.map(({ exited }) => exited));
  await rm(folder, { recursive: true, force: true });
}
