import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { strategyOf } from "../../../src/world/scheduler/strategies/index.ts";
import type { Candidate, Choice, StrategyRule } from "../../../src/world/scheduler/strategies/index.ts";

const host = fc.integer({ min: 1, max: 40 }).map((n) => `h${n}`);
const candidate: fc.Arbitrary<Candidate> = fc.record({
  host,
  weight: fc.constantFrom(0.5, 1, 2, 3),
  load: fc.constantFrom(0, 0.1, 0.5, 1, 2, 7),
  labels: fc.oneof(
    fc.constant({}),
    fc.constantFrom("a", "b", "c").map((zone) => ({ zone })),
  ),
});
const byName = (all: readonly Candidate[]): Candidate[] => all.toSorted((a, b) => (a.host < b.host ? -1 : 1));
const candidates = fc.uniqueArray(candidate, { selector: (one) => one.host, maxLength: 25 }).map(byName);
const choice: fc.Arbitrary<Choice> = fc.record({
  name: fc.constantFrom("backup", "dns", "x/y"),
  candidates,
  places: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.constant(Infinity)),
  former: fc.uniqueArray(host, { maxLength: 12 }),
  cursor: fc.option(host, { nil: undefined }),
});

const rules: readonly StrategyRule[] = [
  { name: "rr" },
  { name: "alpha" },
  { name: "hrw" },
  { name: "all" },
  { name: "least", hysteresis: 0.25 },
  { name: "least", hysteresis: 0 },
  { name: "spread", label: "zone" },
  { name: "pin", hosts: ["h7", "h3", "h12", "h1"] },
  { name: "random", seed: 7 },
];
const named = rules.map((rule) => ({ title: JSON.stringify(rule), rule, choose: strategyOf(rule) }));

const make = (hosts: readonly string[], more: Partial<Candidate> = {}): Candidate[] =>
  hosts.toSorted().map((one) => ({ host: one, weight: 1, load: 0, labels: {}, ...more }));
const hostsTo = (n: number): string[] => Array.from({ length: n }, (_, i) => `h${String(i + 1).padStart(3, "0")}`);
const base: Choice = { name: "n", candidates: [], places: 1, former: [], cursor: undefined };

describe.each(named)("$title", ({ rule, choose }) => {
  test("schedules candidates only, each once, as many as there are places for and no more", () => {
    fc.assert(
      fc.property(choice, (given) => {
        const chosen = choose(given);
        const there = given.candidates.map((one) => one.host);
        expect(new Set(chosen).size).toBe(chosen.length);
        expect(chosen.filter((one) => !there.includes(one))).toEqual([]);
        const fitting = rule.name === "pin" ? there.filter((one) => rule.hosts.includes(one)) : there;
        expect(chosen.length).toBe(Math.min(given.places, fitting.length));
      }),
    );
  });

  test("leaves what it chose as it is, while nothing changes", () => {
    fc.assert(
      fc.property(choice, (given) => {
        const chosen = choose(given);
        expect(choose({ ...given, former: chosen, cursor: chosen.at(-1) })).toEqual(chosen);
      }),
    );
  });

  test("moves nobody else when somebody who has no place goes", () => {
    fc.assert(
      fc.property(choice, fc.nat(), (given, at) => {
        const chosen = choose(given);
        const idle = given.candidates.filter((one) => !chosen.includes(one.host));
        if (idle.length === 0) return;
        const goes = idle[at % idle.length]!;
        const rest = given.candidates.filter((one) => one !== goes);
        expect(choose({ ...given, candidates: rest, former: chosen })).toEqual(chosen);
      }),
    );
  });
});

describe.each(named.filter(({ rule }) => rule.name !== "spread"))("$title", ({ choose }) => {
  test("replaces one who goes by one other at most, and leaves the others where they are", () => {
    fc.assert(
      fc.property(choice, fc.nat(), (given, at) => {
        const chosen = choose(given);
        if (chosen.length === 0) return;
        const goes = chosen[at % chosen.length]!;
        const rest = given.candidates.filter((one) => one.host !== goes);
        const after = choose({ ...given, candidates: rest, former: chosen, cursor: chosen.at(-1) });
        expect(chosen.filter((one) => one !== goes && !after.includes(one))).toEqual([]);
        expect(after.filter((one) => !chosen.includes(one)).length).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe("rr", () => {
  const rr = strategyOf({ name: "rr" });

  test("whoever is scheduled stays, whoever comes", () => {
    fc.assert(
      fc.property(choice, candidates, (given, more) => {
        const chosen = rr(given);
        const all = [...new Map([...more, ...given.candidates].map((one) => [one.host, one])).values()];
        expect(rr({ ...given, candidates: byName(all), former: chosen }).slice(0, chosen.length)).toEqual(chosen);
      }),
    );
  });

  test("gives each host its turn before any has a second one", () => {
    const there = make(hostsTo(12));
    let [former, cursor]: [readonly string[], string | undefined] = [[], undefined];
    const turns: string[] = [];
    for (let turn = 0; turn < 36; turn++) {
      const [last] = former;
      const chosen = rr({ ...base, candidates: there.filter((one) => one.host !== last), former, cursor });
      turns.push(chosen[0]!);
      [former, cursor] = [chosen, chosen.at(-1)];
    }
    expect(turns).toEqual([...hostsTo(12), ...hostsTo(12), ...hostsTo(12)]);
  });
});

describe("hrw", () => {
  const hrw = strategyOf({ name: "hrw" });
  const names = Array.from({ length: 4_000 }, (_, i) => `name ${i}`);
  const winners = (from: readonly Candidate[]): string[] => names.map((name) => hrw({ ...base, name, candidates: from })[0]!);

  test("gives each host the share of its weight", () => {
    const from = [...make(["a", "b"]), ...make(["c"], { weight: 2 }), ...make(["d"], { weight: 4 })];
    const won = winners(from);
    const share = (of: string): number => won.filter((one) => one === of).length / won.length;
    for (const [of, weight] of [
      ["a", 1],
      ["b", 1],
      ["c", 2],
      ["d", 4],
    ] as const) {
      // Five standard deviations.
      expect(Math.abs(share(of) - weight / 8)).toBeLessThan(5 * Math.sqrt(0.25 / names.length));
    }
  });

  test("moves nothing to or from another host when one comes, and takes from all alike", () => {
    const before = winners(make(hostsTo(9)));
    const after = winners(make(hostsTo(10)));
    const moved = names.filter((_, i) => before[i] !== after[i]);
    expect(names.filter((_, i) => before[i] !== after[i] && after[i] !== "h010")).toEqual([]);
    expect(Math.abs(moved.length / names.length - 0.1)).toBeLessThan(5 * Math.sqrt(0.09 / names.length));
  });
});

describe("random", () => {
  test("each seed gives another order, and all hosts alike their share", () => {
    const there = make(hostsTo(5));
    const seeds = Array.from({ length: 3_000 }, (_, seed) => seed);
    const won = seeds.map((seed) => strategyOf({ name: "random", seed })({ ...base, candidates: there })[0]!);
    for (const one of hostsTo(5)) {
      const share = won.filter((winner) => winner === one).length / won.length;
      expect(Math.abs(share - 0.2)).toBeLessThan(5 * Math.sqrt(0.16 / seeds.length));
    }
  });
});

describe("least", () => {
  const least = strategyOf({ name: "least", hysteresis: 0.25 });
  const loaded = (loads: Readonly<Record<string, number>>, weights: Readonly<Record<string, number>> = {}): Candidate[] =>
    Object.entries(loads).map(([of, load]) => ({ host: of, load, weight: weights[of] ?? 1, labels: {} }));

  test("begins with the least loaded for its weight", () => {
    expect(least({ ...base, candidates: loaded({ a: 4, b: 3, c: 9 }, { c: 4 }), places: 2 })).toEqual(["c", "b"]);
  });

  test("whoever is scheduled stays until somebody has less by more than the hysteresis", () => {
    const of = (b: number) => least({ ...base, candidates: loaded({ a: 4, b }), former: ["a"] });
    expect(of(3)).toEqual(["a"]);
    expect(of(2.9)).toEqual(["b"]);
  });

  test("nobody who waits has less by more than the hysteresis than anybody who is scheduled", () => {
    fc.assert(
      fc.property(choice, (given) => {
        const chosen = least(given);
        const loads = new Map(given.candidates.map(({ host: of, load, weight }) => [of, load / weight]));
        const worst = Math.max(0, ...chosen.map((of) => loads.get(of)!));
        const waiting = [...loads].filter(([of]) => !chosen.includes(of)).map(([, load]) => load);
        expect(Math.min(Infinity, ...waiting)).toBeGreaterThanOrEqual(worst * 0.75);
      }),
    );
  });
});

describe("spread", () => {
  const spread = strategyOf({ name: "spread", label: "zone" });

  test("no zone has two more than another one that could have more", () => {
    fc.assert(
      fc.property(choice, (given) => {
        const chosen = new Set(spread(given));
        const zones = new Map<string, { has: number; could: number }>();
        for (const one of given.candidates) {
          const zone = one.labels["zone"] ?? "";
          const known = zones.get(zone) ?? { has: 0, could: 0 };
          zones.set(zone, { has: known.has + Number(chosen.has(one.host)), could: known.could + 1 });
        }
        for (const { has: more } of zones.values())
          for (const { has, could } of zones.values()) if (has < could) expect(more - has).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("moves no more than evenness asks for", () => {
    fc.assert(
      fc.property(choice, (given) => {
        const chosen = spread(given);
        // Whoever is not kept although a place of its own zone went to somebody new was moved for nothing.
        const zoneOf = new Map(given.candidates.map((one) => [one.host, one.labels["zone"] ?? ""]));
        const left = given.former.filter((one) => zoneOf.has(one) && !chosen.includes(one));
        const fresh = chosen.filter((one) => !given.former.includes(one));
        for (const one of left) expect(fresh.filter((other) => zoneOf.get(other) === zoneOf.get(one))).toEqual([]);
      }),
    );
  });

  test("goes by any label, and takes what has none as of one value", () => {
    const there = [...make(["a", "b"], { labels: { rack: "r1" } }), ...make(["c"], { labels: { rack: "r2" } }), ...make(["d"])];
    const byRack = strategyOf({ name: "spread", label: "rack" });
    const chosen = byRack({ ...base, candidates: there, places: 3 });
    expect(chosen).toHaveLength(3);
    expect(chosen).toContain("c");
    expect(chosen).toContain("d");
    expect(strategyOf({ name: "spread", label: "toString" })({ ...base, candidates: there, places: 2 })).toHaveLength(2);
  });
});

test("pin schedules in the order of its list, and leaves out who is not there", () => {
  const pin = strategyOf({ name: "pin", hosts: ["c", "a", "x", "b"] });
  expect(pin({ ...base, candidates: make(["a", "b", "c"]), places: 4 })).toEqual(["c", "a", "b"]);
  expect(pin({ ...base, candidates: make(["a", "b", "c"]), places: 2, former: ["b"] })).toEqual(["c", "a"]);
});

test("alpha and all go by name", () => {
  const there = make(["b", "c", "a"]);
  expect(strategyOf({ name: "alpha" })({ ...base, candidates: there, places: 2, former: ["c"] })).toEqual(["a", "b"]);
  expect(strategyOf({ name: "all" })({ ...base, candidates: there, places: Infinity })).toEqual(["a", "b", "c"]);
});
