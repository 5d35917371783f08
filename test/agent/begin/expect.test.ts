import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  giveUpMs,
  holdsNothing,
  nextHeld,
  whatNow,
  type EtcdSeen,
  type Founder,
  type Held,
  type Promised,
  type Told,
} from "../../../src/agent/begin/expect.ts";
import { full } from "../../support/full.ts";

const founder = (i: number): Founder => ({
  identity: `id-${i}`,
  instance: `instance-${i}`,
  hostname: `h${i}`,
  seed: `http://h${i}:2379`,
  serverUrls: [`http://h${i}:2380`],
});

/** Agents that read one another as the order of the steps has it: what one reads may be old, never torn. */
class Hosts {
  readonly seeds: readonly string[];
  readonly expect: number;
  readonly held: Held[];
  /** When each made its promise. */
  readonly since: number[];
  /** What each has read last of each. */
  readonly seen: (Told | EtcdSeen | undefined)[][];
  /** Those that have started etcd, with what they found. */
  readonly started = new Map<number, Promised>();
  /** Those that have gone to join a cluster. */
  readonly joined = new Set<number>();
  now = 0;
  #tokens = 0;

  constructor(count: number, expect: number) {
    this.expect = expect;
    this.seeds = Array.from({ length: count }, (_, i) => founder(i).seed);
    this.held = this.seeds.map(() => holdsNothing);
    this.since = this.seeds.map(() => 0);
    this.seen = this.seeds.map(() => this.seeds.map(() => undefined));
  }

  tells(i: number): Told {
    return { schema: 1, expect: this.expect, self: founder(i), held: this.held[i]! };
  }

  reads(i: number, j: number): void {
    const founds = this.started.get(j);
    const etcd = founds && { seed: founder(j).seed, serverUrls: founds.founders.flatMap(({ serverUrls }) => serverUrls) };
    this.seen[i]![j] = etcd ?? (this.joined.has(j) ? undefined : this.tells(j));
  }

  loses(i: number, j: number): void {
    this.seen[i]![j] = undefined;
  }

  steps(i: number): void {
    if (this.started.has(i) || this.joined.has(i)) return;
    const self = founder(i);
    const held = this.held[i]!;
    const there = this.seen[i]!.filter((one, j) => one !== undefined && j !== i);
    const told = there.filter((one): one is Told => "held" in one!);
    const etcds = there.filter((one): one is EtcdSeen => !("held" in one!));
    const now = nextHeld({
      self,
      held,
      expect: this.expect,
      seeds: this.seeds,
      told,
      etcds,
      heldMs: this.now - this.since[i]!,
      newToken: () => `token-${++this.#tokens}`,
    });
    if (now.promised?.token !== held.promised?.token || now.committed !== held.committed) this.since[i] = this.now;
    this.held[i] = now;
    const what = whatNow({ self, held: now, told, etcds, heldMs: this.now - this.since[i]! });
    if (what === "found") this.started.set(i, now.promised!);
    if (what === "join") this.joined.add(i);
  }

  /** Everyone reads everyone that is up, and steps. */
  round(up: readonly number[]): void {
    for (const i of up) {
      for (const j of this.seeds.keys()) {
        if (up.includes(j)) this.reads(i, j);
        else this.loses(i, j);
      }
      this.steps(i);
    }
    this.now += 200;
  }

  /** Tokens of clusters that most of their founders have started, or may still start. */
  clusters(): string[] {
    const tokens = new Map<string, number>();
    for (const { committed, promised } of this.held) {
      if (committed && promised !== undefined) tokens.set(promised.token, (tokens.get(promised.token) ?? 0) + 1);
    }
    return [...tokens].flatMap(([token, count]) => (count > this.expect / 2 ? [token] : []));
  }
}

describe("agents that are told to expect N", () => {
  test("found one cluster of the first N that are there", () => {
    const hosts = new Hosts(3, 3);
    for (let round = 0; round < 10; round += 1) hosts.round([0, 1, 2]);
    assert.equal(hosts.clusters().length, 1);
    assert.equal(hosts.started.size, 3);
  });

  test("wait for who is late, and do without who is not needed", () => {
    const hosts = new Hosts(4, 3);
    for (let round = 0; round < 60; round += 1) hosts.round([1, 3]);
    assert.deepEqual(
      hosts.held,
      hosts.held.map(() => holdsNothing),
    );
    for (let round = 0; round < 10; round += 1) hosts.round([0, 1, 3]);
    assert.deepEqual([...hosts.started.keys()].sort(), [0, 1, 3]);
    assert.deepEqual(
      hosts.held[0]!.promised!.founders.map(({ hostname }) => hostname),
      ["h0", "h1", "h3"],
    );
  });

  test("give up on one that was promised and is gone, and found with another", () => {
    const hosts = new Hosts(4, 3);
    hosts.round([0, 1, 2]);
    for (let ms = 0; ms < 2 * giveUpMs; ms += 200) hosts.round([0, 1]);
    assert.equal(hosts.started.size, 0);
    for (let round = 0; round < 10; round += 1) hosts.round([0, 1, 3]);
    assert.deepEqual([...hosts.started.keys()].sort(), [0, 1, 3]);
  });

  test("never found two, whatever is read late or not at all, whoever stops and for how long", () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ kind: fc.constant("read" as const), i: fc.nat(6), j: fc.nat(6) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant("step" as const), i: fc.nat(6), j: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("lose" as const), i: fc.nat(6), j: fc.nat(6) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("wait" as const), i: fc.constant(0), j: fc.constant(0) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("rounds" as const), i: fc.nat(127), j: fc.nat(3) }) },
    );
    const sizes = fc
      .integer({ min: 1, max: 7 })
      .chain((count) =>
        fc.record({ count: fc.constant(count), expect: fc.integer({ min: Math.floor(count / 2) + 1, max: count }) }),
      );
    fc.assert(
      fc.property(sizes, fc.array(step, { minLength: 20, maxLength: 300 }), ({ count, expect: wanted }, steps) => {
        const hosts = new Hosts(count, wanted);
        const clusters = new Set<string>();
        for (const { kind, i, j } of steps) {
          const [a, b] = [i % count, j % count];
          if (kind === "read") hosts.reads(a, b);
          else if (kind === "lose") hosts.loses(a, b);
          else if (kind === "step") hosts.steps(a);
          else if (kind === "wait") hosts.now += giveUpMs;
          else for (let round = 0; round <= j; round += 1) hosts.round([...hosts.seeds.keys()].filter((k) => (i >> k) & 1));
          for (const token of hosts.clusters()) clusters.add(token);
          expect(clusters.size).toBeLessThanOrEqual(1);
        }
        // Whatever went before: once all are there and hear one another, there is one, or all who have not started can join it.
        for (let round = 0; round < (4 * giveUpMs) / 200; round += 1) hosts.round([...hosts.seeds.keys()]);
        for (const token of hosts.clusters()) clusters.add(token);
        expect(clusters.size, JSON.stringify(hosts.held)).toBe(1);
        for (const [i, { token }] of hosts.started) expect([...clusters], `h${i}`).toContain(token);
        expect(hosts.started.size + hosts.joined.size).toBe(count);
      }),
      { numRuns: full ? 5_000 : 300 },
    );
  });
});
