import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient, watchRange } from "../../../src/etcd/index.ts";
import { keysUnder } from "../../../src/keys.ts";
import { resultText } from "../../../src/world/scheduler/records.ts";
import { rulesText } from "../../../src/world/scheduler/rules.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { eventually } from "../../support/eventually.ts";
import { full } from "../../support/full.ts";
import type { LogLine, Process } from "../../support/process.ts";
import { FaultyProxy } from "../../support/proxy.ts";
import { Random } from "../../support/random.ts";
import { startProgram } from "../programs.ts";
import { History, overlaps } from "./judge.ts";
import type { Belief } from "./judge.ts";

const faults = full ? 210 : 6;
const hostNames = full ? ["h1", "h2", "h3", "h4", "h5"] : ["h1", "h2", "h3"];
const names = Array.from({ length: 20 }, (_, i) => `n${i}`);
/** Seconds. */
const sessionTtl = 2;
/** For what this test asks etcd: a disk that stands still for a moment is none of its faults. */
const patient = { timeoutMs: 30_000 };
const seed = Number(process.env["SEED"] ?? Math.floor(performance.timeOrigin) % 1_000_000);

let etcd: TestCluster;
let client: EtcdClient;
beforeAll(async () => {
  etcd = await startEtcd(1);
  client = EtcdClient.create({ endpoints: etcd.urls, clock });
});
afterAll(async () => {
  await client.close();
  await etcd.stop();
});

describe("the judge", () => {
  const keys = keysUnder("/j").scheduler;
  let revision = 0;
  const put = (key: string, value = "", lease = "1") => {
    const entry = { key, value, lease, createRevision: ++revision, modRevision: revision, version: 1 };
    return [{ type: "put", entry, previous: undefined }] as const;
  };
  const del = (key: string) => [{ type: "del", key, revision: ++revision, previous: undefined }] as const;
  const published = (hosts: string[], generation: number, scheduler: number) =>
    put(keys.result("n"), resultText({ hosts, generation, scheduler, cursor: undefined, problem: undefined }));
  const begun = (): { history: History; leader: number } => {
    const history = new History(keys);
    history.take(put(keys.schedulers.key("1")));
    const leader = revision;
    history.take(published(["a"], 1, leader));
    history.take(put(keys.place("n", "a")));
    return { history, leader };
  };

  test("accepts a hand-over, and refuses a newcomer before it, a stale scheduler, a gap, and a place that nobody gave", () => {
    const { history, leader } = begun();
    history.take(published([], 2, leader));
    history.take(del(keys.place("n", "a")));
    history.take(published(["b"], 3, leader));
    history.take(put(keys.place("n", "b")));
    expect(history.wrong).toEqual([]);
    history.take(put(keys.schedulers.key("2")));
    history.take(del(keys.schedulers.key("1")));
    history.take(published(["b"], 4, leader));
    expect(history.wrong).toHaveLength(1);
    const early = begun();
    early.history.take(published(["b"], 2, early.leader));
    const gap = begun();
    gap.history.take(published(["a"], 3, gap.leader));
    const taken = begun();
    taken.history.take(put(keys.place("n", "c")));
    for (const one of [early, gap, taken]) expect(one.history.wrong).not.toEqual([]);
  });

  test("refuses whoever believes in a place after another one has begun", () => {
    const of = (host: string, at: number, atMs: number, lastMs: number): Belief => ({
      host,
      name: "n",
      revision: at,
      atMs,
      lastMs,
    });
    expect(overlaps([of("a", 1, 0, 10), of("b", 2, 11, 20)])).toEqual([]);
    expect(overlaps([of("b", 2, 11, 20), of("a", 1, 0, 12)])).toHaveLength(1);
  });
});

interface Host {
  readonly name: string;
  readonly proxy: FaultyProxy;
  program: Process;
  isWell: boolean;
}

type Fault = "kill" | "kill the scheduler" | "pause" | "cut off" | "depose" | "stop";
const kinds: readonly Fault[] = ["kill the scheduler", "depose", "pause", "cut off", "stop", "kill"];

test(
  `no scheduler that was deposed publishes, and no host believes in a place that another one has, through ${faults} faults (seed ${seed})`,
  { timeout: full ? 1_500_000 : 180_000 },
  async () => {
    const random = new Random(seed);
    const namespace = "/chaos";
    const keys = keysUnder(namespace).scheduler;
    const history = new History(keys);
    const stop = new AbortController();
    const seen = { isWhole: true, isLive: false };
    const watching = watchRange(
      client,
      keys,
      (news) => {
        if (news.kind === "changes") {
          history.take(news.changes);
          seen.isWhole &&= !news.resynced && !news.coalesced;
        } else if (news.kind === "state" && news.live) seen.isLive = true;
      },
      { clock },
      stop.signal,
    ).catch(() => undefined);
    onTestFinished(async () => {
      stop.abort(new Error("enough"));
      await watching;
    });
    await eventually("it watches", () => seen.isLive);
    const beliefs: Belief[] = [];
    const failures: LogLine[] = [];
    const programs: { readonly host: string; readonly program: Process }[] = [];
    const start = (name: string, proxy: FaultyProxy): Process => {
      const options = { seeds: [proxy.url], namespace, hostname: name, replica: false, sessionTtl, names };
      const program = startProgram("scheduled", options);
      programs.push({ host: name, program });
      return program;
    };
    const hosts: Host[] = [];
    for (const name of hostNames) {
      const proxy = await FaultyProxy.start(etcd.urls[0]!);
      onTestFinished(() => proxy[Symbol.asyncDispose]());
      hosts.push({ name, proxy, program: start(name, proxy), isWell: true });
    }
    await Promise.all(hosts.map(({ program }) => program.line("taking part", 60_000)));
    const settled = (): boolean =>
      names.every((name) => history.listed(name).length === 1 && history.active(name).join() === history.listed(name).join());
    await eventually("all is scheduled", settled, 60_000);

    const leaderKey = async (): Promise<{ readonly key: string; readonly host: string } | undefined> => {
      const { entries } = await client.range(keys.schedulers, patient);
      const [first] = entries.toSorted((a, b) => a.createRevision - b.createRevision);
      return first && { key: first.key, host: first.value };
    };
    const restart = (host: Host): void => {
      host.program = start(host.name, host.proxy);
    };
    const pauseMs = (): number => 1_000 * sessionTtl + random.between(300, 1_500);
    const strike = async (kind: Fault, host: Host): Promise<void> => {
      host.isWell = false;
      try {
        if (kind === "kill" || kind === "kill the scheduler") {
          await host.program.kill();
          restart(host);
        } else if (kind === "stop") {
          host.program.signal("SIGTERM");
          await host.program.end(20_000);
          restart(host);
        } else if (kind === "pause") {
          host.program.signal("SIGSTOP");
          await clock.sleep(pauseMs(), stop.signal);
          host.program.signal("SIGCONT");
        } else {
          host.proxy.drop();
          await clock.sleep(pauseMs(), stop.signal);
          host.proxy.cut();
          host.proxy.heal();
        }
        await host.program.line("taking part", 60_000);
      } finally {
        host.isWell = true;
      }
    };
    /** Others are to have some of the places: hosts that live are relieved, and some of those are paused or cut off. */
    const move = async (): Promise<void> => {
      const some = random.shuffled(names).slice(0, 6);
      const rules = (): string => rulesText({ strategy: { name: "pin", hosts: random.shuffled(hostNames) }, maxCount: 1 });
      await client.txn({ then: some.map((name) => ({ put: keys.options(name), value: rules() })) }, patient);
    };
    const striking = new Set<Promise<void>>();
    for (let n = 0; n < faults; n++) {
      const kind = kinds[n % kinds.length]!;
      const leader = await leaderKey();
      if (kind === "depose") {
        if (leader !== undefined) await client.txn({ then: [{ del: leader.key }] }, patient);
      } else {
        const well = await eventually(
          "somebody else is well",
          () => {
            const all = hosts.filter(({ isWell }) => isWell);
            return all.length > 1 && all;
          },
          120_000,
        );
        const scheduler = well.find(({ name }) => name === leader?.host);
        const host = (kind === "kill the scheduler" || random.chance(0.4) ? scheduler : undefined) ?? random.pick(well);
        const strikes = strike(kind, host);
        striking.add(strikes);
        void strikes.finally(() => striking.delete(strikes)).catch(() => undefined);
      }
      await clock.sleep(random.between(50, 450), stop.signal);
      await move();
      await clock.sleep(random.between(50, 450), stop.signal);
    }
    await Promise.all(striking);
    await eventually("all is scheduled again", settled, 60_000);
    for (const { program } of hosts) program.signal("SIGTERM");
    await Promise.all(hosts.map(({ program }) => program.end(30_000)));

    for (const { host, program } of programs) {
      for (const line of program.lines) {
        const { msg, name, revision } = line as LogLine & { readonly name: string; readonly revision: number };
        if (msg === "failed") failures.push(line);
        if (msg === "began") beliefs.push({ host, name, revision, atMs: Number(line["atMs"]), lastMs: Number(line["atMs"]) });
        if (msg === "ended")
          beliefs.find((one) => one.host === host && one.name === name && one.revision === revision)!.lastMs = Number(
            line["lastMs"],
          );
      }
    }
    expect(seen.isWhole, "the whole history was seen").toBe(true);
    expect(history.wrong).toEqual([]);
    expect(overlaps(beliefs)).toEqual([]);
    expect(failures).toEqual([]);
    expect(history.elected.size).toBeGreaterThan(faults / 4);
    expect(beliefs.length).toBeGreaterThan(names.length);
  },
);
