import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { keysUnder } from "../../src/keys.ts";
import { base64, Fleet, type AgentProcess } from "../support/agents.ts";
import { etcdctlBinary } from "../support/etcd.ts";
import { eventually } from "../support/eventually.ts";
import { full } from "../support/full.ts";
import type { LogLine, Process } from "../support/process.ts";
import { Facts, judge, untold, within, type Fact, type ToldChange, type ToldEvent } from "./judge.ts";
import { feedersFor } from "./programs.ts";

describe("the judge", () => {
  const fact = (revision: number, key: string, value?: string): Fact => ({ revision, key, value });
  const change = (key: string, previous: string | undefined, value: string | undefined): ToldChange => ({ key, value, previous });
  const event = (kind: ToldEvent["kind"], revision: number, ...changes: ToldChange[]): ToldEvent => ({ kind, revision, changes });
  const facts = [fact(2, "a", "1"), fact(3, "b", "1"), fact(5, "a", "2"), fact(5, "b"), fact(6, "a", "3")];
  const begin = event("snapshot", 3, change("a", undefined, "1"), change("b", undefined, "1"));
  const five = event("changes", 5, change("a", "1", "2"), change("b", "1", undefined));
  const six = event("changes", 6, change("a", "2", "3"));

  test("accepts what happened, and a difference where it says so", () => {
    expect(judge(facts, [begin, five, six])).toEqual([]);
    expect(judge(facts, [event("snapshot", 1), event("resynced", 4, ...begin.changes), five])).toEqual([]);
    expect(judge(facts, [begin, event("resynced", 6, change("a", "1", "3"), change("b", "1", undefined))])).toEqual([]);
    expect(untold(facts, [begin, five])).toEqual([6]);
  });

  test("refuses what was missed, told twice, told in part, told wrongly, or out of order", () => {
    const refused: readonly (readonly ToldEvent[])[] = [
      [],
      [five, six],
      [begin, begin],
      [begin, six],
      [begin, event("changes", 6, change("a", "1", "3"), change("b", "1", undefined))],
      [begin, five, five],
      [begin, event("changes", 5, change("a", "1", "2"))],
      [begin, event("changes", 5, change("a", "0", "2"), change("b", "1", undefined))],
      [begin, event("resynced", 6, change("a", "1", "3"))],
      [event("snapshot", 3, change("a", undefined, "1"))],
      [begin, five, six, event("changes", 7, change("a", "3", "4"))],
    ];
    for (const events of refused) expect(judge(facts, events)).not.toEqual([]);
  });
});

const rounds = full ? 5 : 1;
const hosts = ["h1", "h2", "h3"] as const;
type Host = (typeof hosts)[number];
const keys = keysUnder("/_mgmt");
const writer = fileURLToPath(new URL("programs/writer.mjs", import.meta.url));

/** Agents, and beside each of them a program; and what etcd's own client sees of it all. */
class Hosts {
  readonly fleet: Fleet;
  readonly facts = new Facts();
  /** One after the other, of each host: the last one runs. */
  readonly programs = new Map<Host, Process[]>();
  readonly #agents: Map<string, AgentProcess>;
  readonly #witness: Process;
  #seen = 0;

  constructor(fleet: Fleet, agents: readonly AgentProcess[], urls: readonly string[]) {
    this.fleet = fleet;
    this.#agents = new Map(agents.map((agent) => [agent.place.hostname, agent]));
    const argv = ["--endpoints", urls.join(","), "watch", "--prefix", "/_mgmt/", "--rev", "1", "--write-out", "json"];
    this.#witness = fleet.run("etcdctl watch", [etcdctlBinary(), ...argv], { ...fleet.env, ETCDCTL_API: "3" });
  }

  async startProgram(host: Host): Promise<void> {
    const { prefix } = await this.fleet.place(host);
    const started = this.fleet.run(`writer of ${host}`, [process.execPath, writer, JSON.stringify({ prefix, hosts })]);
    this.programs.set(host, [...(this.programs.get(host) ?? []), started]);
  }

  agent(host: Host): AgentProcess {
    return this.#agents.get(host)!;
  }

  running(host: Host): Process {
    return this.programs.get(host)!.at(-1)!;
  }

  async startAgent(host: Host): Promise<void> {
    const others = hosts.filter((other) => other !== host);
    const agent = await this.fleet.start(host, { seeds: others });
    this.#agents.set(host, agent);
    await agent.ready(60_000);
    await this.fleet.settled(3, others, 60_000);
  }

  /** Until every program has written ten more of everything: it goes on for all, whatever was done to them. */
  async goesOn(): Promise<void> {
    const done = hosts.map((host) => {
      const program = this.running(host);
      const from = program.lines.length;
      return async (): Promise<void> => {
        for (const of of ["entry", "string"]) {
          let left = 10;
          await program.line((line) => line.msg === "wrote" && line["of"] === of && --left === 0, 45_000, from);
        }
        await program.line("exported", 45_000, from);
      };
    });
    await Promise.all(done.map((wait) => wait()));
  }

  /** Takes over what the witness has seen since. */
  look(): Facts {
    const { lines } = this.#witness;
    for (; this.#seen < lines.length; this.#seen++) this.facts.all.push(...factsIn(lines[this.#seen]!));
    return this.facts;
  }

  /** Forgets all history that the witness has seen. */
  async compact(at: Host): Promise<void> {
    const request = { revision: String(this.look().revision), physical: true };
    await eventually("a compaction", () =>
      this.fleet.ask(at, "kv/compaction", request).then(
        () => true,
        () => false,
      ),
    );
  }
}

interface SeenByEtcdctl {
  readonly Events?: readonly { readonly type?: number; readonly kv: { key: string; value?: string; mod_revision: number } }[];
}

function factsIn(line: LogLine): Fact[] {
  const text = (bytes: string): string => Buffer.from(bytes, "base64").toString("utf8");
  return ((line as unknown as SeenByEtcdctl).Events ?? []).map(({ type, kv }) => ({
    key: text(kv.key),
    value: type === 1 ? undefined : text(kv.value ?? ""),
    revision: kv.mod_revision,
  }));
}

interface Item {
  readonly host: string;
  readonly value: string;
  readonly kind?: string;
  readonly name?: string;
  readonly to?: string;
}

interface SaidEvent {
  readonly of: string;
  readonly kind: ToldEvent["kind"];
  readonly revision: number;
  readonly items?: readonly Item[];
  readonly changes?: readonly { readonly type: "set" | "deleted"; readonly item?: Item; readonly previous?: Item }[];
  readonly value?: string;
  readonly previous?: string;
}

/** What one watch of a program was told. */
function toldOf(program: Process, of: string, keyOf: (item: Item) => string): ToldEvent[] {
  const said = program.lines.filter((line) => line.msg === "event" && line["of"] === of) as unknown as SaidEvent[];
  return said.map(({ kind, revision, items, changes, value, previous }) => {
    if (items !== undefined)
      return { kind, revision, changes: items.map((item) => ({ key: keyOf(item), value: item.value, previous: undefined })) };
    if (changes !== undefined)
      return {
        kind,
        revision,
        changes: changes.map(({ item, previous: before }) => ({
          key: keyOf((item ?? before)!),
          value: item?.value,
          previous: before?.value,
        })),
      };
    const isNothing = value === undefined && previous === undefined;
    return { kind, revision, changes: isNothing ? [] : [{ key: keyOf({ host: "", value: "" }), value, previous }] };
  });
}

interface Watched {
  readonly of: string;
  readonly follows: (key: string) => boolean;
  readonly keyOf: (item: Item) => string;
}

/** What the program of a host watches. */
function watchedBy(host: Host): Watched[] {
  const map = {
    of: "map",
    follows: within(keys.strings.map("numbers")),
    keyOf: ({ host: of }: Item) => keys.strings.entry("numbers", of),
  };
  const strings = hosts.map((of) => {
    const key = keys.strings.str(`number of ${of}`);
    return { of: `string of ${of}`, follows: (one: string) => one === key, keyOf: () => key };
  });
  const resources = {
    of: "resources",
    follows: (key: string): boolean => {
      const id = keys.exported.parse(key);
      return id !== undefined && (id.to === undefined || id.to === host);
    },
    keyOf: ({ to, host: from, kind = "", name = "" }: Item) => keys.exported.key({ to, from, kind, name }),
  };
  return [map, ...strings, resources];
}

test(
  "three programs on three hosts' replicas see one another's changes in order, once and all of them, under restarts of etcd, agents and themselves",
  { timeout: full ? 400_000 : 120_000 },
  async () => {
    const fleet = await Fleet.open(["--session-ttl=2s", "--replica"], undefined, "plain");
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const agents = await fleet.form(hosts);
    const all = new Hosts(
      fleet,
      agents,
      agents.map(({ place }) => place.clientUrl),
    );
    await Promise.all(hosts.map((host) => all.startProgram(host)));
    await all.goesOn();

    for (let round = 0; round < rounds; round++) {
      const [a, b, c] = [0, 1, 2].map((i) => hosts[(round + i) % 3]!) as [Host, Host, Host];

      await all.agent(a).kill();
      await all.compact(b);
      await all.running(b).kill();
      await Promise.all([all.startAgent(a), all.startProgram(b)]);
      await all.goesOn();

      process.kill(all.agent(c).etcdPid()!, "SIGKILL");
      await all.goesOn();

      // It does not hear what happens, and that is forgotten before it could ask.
      const folder = join((await fleet.place(b)).prefix, "world");
      const [feeder] = await eventually("a feeder", () => (feedersFor(folder).length > 0 ? feedersFor(folder) : undefined));
      process.kill(feeder!, "SIGSTOP");
      const from = all.look().revision;
      await eventually("much happens meanwhile", () => all.look().revision >= from + 30, 30_000);
      await all.compact(a);
      process.kill(feeder!, "SIGKILL");
      await all.goesOn();

      all.agent(b).signal("SIGTERM");
      await all.agent(b).end(45_000);
      await all.startAgent(b);
      await all.goesOn();
    }

    for (const host of hosts) all.running(host).signal("SIGTERM");
    await Promise.all(hosts.map((host) => all.running(host).line("stopped", 30_000)));
    const facts = all.look().all;
    const told = (program: Process, { of, keyOf }: Watched): ToldEvent[] => toldOf(program, of, keyOf);
    const missing = (): string[] =>
      hosts.flatMap((host) =>
        watchedBy(host).flatMap((watched) => {
          const revisions = untold(all.look().of(watched.follows), told(all.running(host), watched));
          return revisions.length === 0 ? [] : [`${host}, ${watched.of}: ${revisions.join()}`];
        }),
      );
    await eventually("everything is told", async () => missing().length === 0, 15_000).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${missing().join("\n")}`);
    });

    // What etcd holds at the end is what its history comes to.
    for (const range of [keys.strings, keys.exported]) {
      const request = { key: base64(range.start), range_end: base64(range.end) };
      const { kvs = [] } = await fleet.ask<{ kvs?: { key: string; value?: string }[] }>("h1", "kv/range", request);
      const text = (bytes = ""): string => Buffer.from(bytes, "base64").toString("utf8");
      const end = new Map<string, string>();
      for (const { key, value } of facts.filter(({ key: one }) => within(range)(one))) {
        if (value === undefined) end.delete(key);
        else end.set(key, value);
      }
      expect(new Map(kvs.map(({ key, value }) => [text(key), text(value)]))).toEqual(end);
      expect(end.size).toBeGreaterThan(5);
    }

    let resynced = 0;
    for (const host of hosts) {
      for (const [life, program] of all.programs.get(host)!.entries()) {
        expect(program.stderr, `stderr of life ${life} of ${host}`).toBe("");
        expect(program.lines.filter(({ msg }) => msg === "wrong")).toEqual([]);
        for (const watched of watchedBy(host)) {
          const events = told(program, watched);
          resynced += events.filter(({ kind }) => kind === "resynced").length;
          expect(judge(all.facts.of(watched.follows), events), `${watched.of} in life ${life} of ${host}`).toEqual([]);
        }
      }
      // Every number once, in order, and each where its writer was told.
      const written = all.programs.get(host)!.flatMap(({ lines }) => lines.filter(({ msg }) => msg === "wrote"));
      for (const [of, key] of [
        ["entry", keys.strings.entry("numbers", host)],
        ["string", keys.strings.str(`number of ${host}`)],
      ] as const) {
        const history = all.facts.all.filter((fact) => fact.key === key);
        expect(history.map(({ value }) => value)).toEqual(history.map((_, i) => `${i + 1}`));
        const at = new Map(history.map(({ value, revision }) => [value, revision]));
        const acknowledged = written.filter((line) => line["of"] === of);
        expect(acknowledged.length).toBeGreaterThanOrEqual(50 * rounds);
        for (const { n, revision } of acknowledged) expect(at.get(String(n)), `${key}: ${String(n)}`).toBe(revision);
      }
    }
    expect(resynced, "a gap was told as one").toBeGreaterThan(0);
  },
);
