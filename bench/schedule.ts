/**
 * What one change costs the scheduler: 200 namespaces, and 1,000 hosts that take part in each of them.
 *
 *   npm run bench -- schedule [--rounds 15] [--only recompute,published]
 *
 * `recompute`: one host dies, so that all 200 namespaces change; from the news to 200 decisions, for every strategy; the middle of all
 * rounds, by the processor's time, as others may use it too. `published`: one
 * change of one of 1,000 candidates (five in each namespace) in a real etcd; from its write to the result that another program hears of.
 * Exits 1 where a limit is missed.
 */
import type * as ClockModule from "../src/clock.ts";
import type * as KeysModule from "../src/keys.ts";
import type * as Wire from "../src/etcd/index.ts";
import type * as WorldModule from "../src/world/index.ts";
import type { ScheduleRules } from "../src/world/index.ts";
import type { Entry } from "../src/world/replica/index.ts";
import type * as ModelModule from "../src/world/scheduler/model.ts";
import type * as RecordsModule from "../src/world/scheduler/records.ts";
import type * as RulesModule from "../src/world/scheduler/rules.ts";
import { startEtcd } from "../test/support/etcd-process.ts";

// What is measured is what a program gets: the built package.
const built = async <T>(path: string): Promise<T> => (await import(new URL(`../dist/${path}`, import.meta.url).href)) as T;
const { systemClock: clock } = await built<typeof ClockModule>("clock.js");
const { keysUnder } = await built<typeof KeysModule>("keys.js");
const { EtcdClient } = await built<typeof Wire>("etcd/index.js");
const { openWorld } = await built<typeof WorldModule>("world/index.js");
const { Model } = await built<typeof ModelModule>("world/scheduler/model.js");
const { candidateText, defaultFacts, resultText } = await built<typeof RecordsModule>("world/scheduler/records.js");
const { readRules, rulesText } = await built<typeof RulesModule>("world/scheduler/rules.js");

const given = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};
const rounds = Number(given("rounds") ?? 15);
const only = (given("only") ?? "recompute,published").split(",");
const limitMs = 50;
const namespaces = Array.from({ length: 200 }, (_, i) => `n${i}`);
const hosts = Array.from({ length: 1_000 }, (_, i) => `host${String(i).padStart(4, "0")}.example.net`);
const keys = keysUnder("/_mgmt").scheduler;

function tell(what: string, text: string, good: boolean | undefined): void {
  if (good === false) process.exitCode = 1;
  console.log(`${what.padEnd(44)} ${text.padEnd(72)} ${good === undefined ? "" : good ? "ok" : "MISSED"}`);
}

const ms = (n: number): string => `${n.toFixed(1)} ms`;
const middle = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)]!;

let revision = 0;
const entry = (key: string, value: string, lease = "0"): Entry => {
  const at = ++revision;
  return { key, value: Buffer.from(value), createRevision: at, modRevision: at, version: 1, lease };
};

function rulesIn(rules: ScheduleRules): string {
  const read = readRules(rules);
  if ("refused" in read) throw new Error(read.refused);
  return rulesText(read.rules);
}

/** User and system time of this process, in milliseconds: what does not depend on the machine's other work. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

interface Took {
  readonly wall: number[];
  readonly cpu: number[];
}

function recompute(rules: ScheduleRules): Took {
  const model = new Model(keys, () => undefined);
  const entries = namespaces.flatMap((name) => [
    entry(keys.options(name), rulesIn(rules)),
    ...hosts.map((host, i) => {
      const labels = { zone: `z${i % 7}` };
      return entry(keys.candidate(name, host), candidateText({ ...defaultFacts, instance: "i", load: i % 13, labels }), "9");
    }),
  ]);
  model.apply({ kind: "snapshot", entries, revision });
  const publish = (names: Iterable<string>): void => {
    const put = [...names].flatMap((name) => {
      const next = model.next(name);
      if (next === undefined) return [];
      const { hosts: chosen, cursor, problem } = next.planned;
      const value = resultText({ hosts: chosen, cursor, problem, generation: next.generation, scheduler: 1 });
      return [entry(keys.result(name), value), ...chosen.map((host) => entry(keys.place(name, host), "", "9"))];
    });
    model.apply({ kind: "changes", revision, changes: put.map((one) => ({ type: "put", entry: one, previous: undefined })) });
  };
  publish(namespaces);
  const took: Took = { wall: [], cpu: [] };
  for (let round = 0; round < rounds; round++) {
    const dead = model.namespaces.get(namespaces[round]!)!.result!.hosts[0]!;
    const at = ++revision;
    const changes = namespaces
      .flatMap((name) => [keys.candidate(name, dead), keys.place(name, dead)])
      .map((key) => ({ type: "del", key, revision: at, previous: undefined }) as const);
    const [fromMs, fromCpuMs] = [clock.nowMs(), cpuMs()];
    const changed = model.apply({ kind: "changes", revision: at, changes });
    let decided = 0;
    for (const name of changed) if (model.next(name) !== undefined) decided++;
    took.cpu.push(cpuMs() - fromCpuMs);
    took.wall.push(clock.nowMs() - fromMs);
    if (changed.size !== namespaces.length || decided === 0) throw new Error(`${changed.size} changed, ${decided} decided`);
    publish(changed);
  }
  return took;
}

async function published(): Promise<void> {
  await using etcd = await startEtcd(1);
  const client = EtcdClient.create({ endpoints: etcd.urls, clock });
  const lease = (await built<typeof Wire>("etcd/index.js")).grantLease;
  const held = await lease(client, { ttlMs: 600_000, clock }, new AbortController().signal);
  await using world = await openWorld({ seeds: etcd.urls, hostname: "watcher", replica: false });
  // It takes part in something else, so that it schedules.
  const own = await world.scheduler("own", { strategy: "all" });
  await own.whenScheduled({ timeoutMs: 20_000 });
  const text = candidateText({ ...defaultFacts, instance: "i" });
  const puts = hosts.map((host, i) => ({ put: keys.candidate(namespaces[i % 200]!, host), value: text, lease: held }));
  for (let i = 0; i < puts.length; i += 100) await client.txn({ then: puts.slice(i, i + 100) });
  const took: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const name = namespaces[round]!;
    const scheduled = world.scheduled(name);
    let schedule = await scheduled.next({ timeoutMs: 20_000 });
    while (schedule.state !== "scheduled") schedule = await scheduled.next({ timeoutMs: 20_000 });
    const [first] = schedule.hosts;
    const fromMs = clock.nowMs();
    await client.txn({ then: [{ del: keys.candidate(name, first!) }] });
    while (schedule.hosts[0] === first) schedule = await scheduled.next({ timeoutMs: 20_000 });
    took.push(clock.nowMs() - fromMs);
    await scheduled.shutdown();
  }
  await client.close();
  tell("published: one of 1,000 candidates goes", `middle ${ms(middle(took))}, most ${ms(Math.max(...took))}`, undefined);
}

if (only.includes("recompute")) {
  const strategies: ScheduleRules[] = [
    { strategy: "rr" },
    { strategy: "rr", maxCount: 20 },
    { strategy: "alpha", maxCount: 3 },
    { strategy: "hrw", maxCount: 3 },
    { strategy: "least", maxCount: 3 },
    { strategy: "spread", maxCount: 3 },
    { strategy: { name: "pin", hosts: hosts.slice(0, 50) }, maxCount: 3 },
    { strategy: { name: "random", seed: 7 }, maxCount: 3 },
  ];
  for (const rules of strategies) {
    const took = recompute(rules);
    const { strategy = "rr", maxCount = 1 } = rules;
    const what = `recompute: ${typeof strategy === "string" ? strategy : strategy.name}, ${maxCount} of 1,000, 200 times`;
    const [wall, cpu] = [middle(took.wall), middle(took.cpu)];
    tell(what, `${ms(cpu)} of processor time (limit ${limitMs} ms), ${ms(wall)} on this machine now`, cpu < limitMs);
  }
}
if (only.includes("published")) await published();
