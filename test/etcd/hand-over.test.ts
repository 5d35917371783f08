import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { openWatch } from "../../src/etcd/index.ts";
import type { Change } from "../../src/etcd/index.ts";
import { startEtcd } from "../support/etcd-process.ts";
import { eventually } from "../support/eventually.ts";
import { full } from "../support/full.ts";
import type { FaultyProxy } from "../support/proxy.ts";
import { clientOf, proxyTo } from "./follower.ts";

const never = new AbortController().signal;
const names = Array.from({ length: 50 }, (_, i) => `${i}`);
const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

const started = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of started) child.kill("SIGKILL");
});

class Host {
  readonly name: string;
  readonly #proxy: FaultyProxy;
  #child!: ChildProcess;

  constructor(name: string, proxy: FaultyProxy) {
    this.name = name;
    this.#proxy = proxy;
    this.start();
  }

  start(): void {
    const program = ["--import", path("../support/typescript-hooks.mjs"), path("programs/contend.ts")];
    const args = [...program, this.#proxy.url, this.name, names.join(",")];
    this.#child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
    started.add(this.#child);
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
    started.delete(this.#child);
  }

  /** Has it lose everything it holds. Returns how that ends. */
  async harm(how: "kill" | "pause" | "cut"): Promise<() => void> {
    if (how === "kill") {
      await this.kill();
      return () => this.start();
    }
    if (how === "pause") {
      this.#child.kill("SIGSTOP");
      return () => void this.#child.kill("SIGCONT");
    }
    this.#proxy.drop();
    return () => {
      this.#proxy.heal();
      // What was lost on the way leaves those connections broken.
      this.#proxy.cut();
    };
  }
}

/** Who holds what, by etcd's own order of events, and everything that contradicts it. */
class Judge {
  readonly wrong: string[] = [];
  handOvers = 0;
  refused = 0;
  /** Host that said so last, by name. */
  readonly holders = new Map<string, string>();
  readonly #saying = new Map<string, number>();
  /** Create revisions of those who hold or wait, by name and key. */
  readonly #waiting = new Map<string, Map<string, number>>();

  take(change: Change): void {
    const key = change.type === "put" ? change.entry.key : change.key;
    const [, what, name] = key.split("/") as [string, string, string];
    if (what === "refused") this.refused++;
    else if (what === "held") {
      const waiting = this.#waiting.get(name) ?? new Map<string, number>();
      this.#waiting.set(name, waiting);
      if (change.type === "put") waiting.set(key, change.entry.createRevision);
      else waiting.delete(key);
    } else if (change.type === "put") {
      const [revision, host] = change.entry.value.split(" ") as [string, string];
      const first = Math.min(...(this.#waiting.get(name)?.values() ?? []));
      const at = `${name} at revision ${change.entry.modRevision}`;
      if (Number(revision) !== first) this.wrong.push(`${host} held ${at} with ${revision}, but ${first} was first`);
      const before = this.#saying.get(name);
      if (before !== undefined && before > Number(revision)) this.wrong.push(`${host} held ${at} after ${before}`);
      if (before !== undefined && before < Number(revision)) this.handOvers++;
      this.#saying.set(name, Number(revision));
      this.holders.set(name, host);
    }
  }
}

test(
  "50 locks and elections side by side, their holders killed, paused and cut off: never two holders, by the revisions in etcd",
  { timeout: full ? 900_000 : 120_000 },
  async () => {
    await using etcd = await startEtcd(1);
    const direct = clientOf(etcd.urls);
    const judge = new Judge();
    const stop = new AbortController();
    const watch = openWatch(
      direct,
      { start: "/", end: "0" },
      (news) => {
        if (news.kind !== "changes") return;
        if (news.resynced || news.coalesced) judge.wrong.push("the judge has missed something");
        for (const change of news.changes) judge.take(change);
      },
      { clock },
      stop.signal,
    );
    const hosts = await Promise.all(["h1", "h2", "h3"].map(async (name) => new Host(name, await proxyTo(etcd.urls[0]!))));
    onTestFinished(async () => {
      stop.abort(new Error("the test is over"));
      await watch.over.catch(() => undefined);
      await Promise.all(hosts.map((host) => host.kill()));
    });
    await eventually("everything is held", () => judge.holders.size === names.length, 30_000);
    const goal = full ? 1_000 : 100;
    const kinds = ["pause", "cut", "kill"] as const;
    for (let round = 0; judge.handOvers < goal; round++) {
      const holds = (host: Host): number => [...judge.holders.values()].filter((name) => name === host.name).length;
      const victim = hosts.toSorted((a, b) => holds(b) - holds(a))[0]!;
      const how = kinds[round % kinds.length]!;
      const undo = await victim.harm(how);
      try {
        await eventually(`others hold what ${victim.name} held (${how})`, () => holds(victim) === 0, 30_000);
      } finally {
        undo();
      }
      // It has to come back, or nobody is left to take over.
      await clock.sleep(full ? 300 : 50, never);
    }
    expect(judge.wrong).toEqual([]);
    expect(judge.handOvers).toBeGreaterThanOrEqual(goal);
  },
);
