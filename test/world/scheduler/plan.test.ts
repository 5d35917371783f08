import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { keysUnder } from "../../../src/keys.ts";
import type { Entry, ReplicaNews } from "../../../src/world/replica/index.ts";
import { eligibleOf } from "../../../src/world/scheduler/eligible.ts";
import { Model } from "../../../src/world/scheduler/model.ts";
import { plan } from "../../../src/world/scheduler/plan.ts";
import type { Planned, Seen } from "../../../src/world/scheduler/plan.ts";
import { candidateText, defaultFacts, parseCandidate, parseResult, resultText } from "../../../src/world/scheduler/records.ts";
import { differences, parseRules, readRules, resolveRules, rulesText } from "../../../src/world/scheduler/rules.ts";
import type { StoredRules } from "../../../src/world/scheduler/rules.ts";
import type { ScheduleRules } from "../../../src/world/index.ts";

interface Case {
  readonly rules?: ScheduleRules;
  readonly candidates: string;
  readonly drained?: string;
  readonly former?: string;
  readonly active?: string;
  readonly cursor?: string;
}

const words = (text = ""): string[] => text.split(" ").filter((word) => word !== "");

function rulesOf(given: ScheduleRules): StoredRules {
  const read = readRules(given);
  if ("refused" in read) throw new Error(`${read.option} ${read.refused}`);
  return read.rules;
}

function seenOf({ rules = {}, candidates, drained, former, active, cursor }: Case): Seen {
  const drain = new Set(words(drained));
  const resolved = resolveRules(rulesOf(rules));
  const all = words(candidates).map((host) => ({ ...defaultFacts, host, instance: "i", drain: drain.has(host) }));
  return {
    name: "n",
    rules: resolved,
    candidates: new Map(all.map((one) => [one.host, one])),
    eligible: eligibleOf(all, resolved),
    former: { hosts: words(former), cursor, problem: undefined },
    active: new Set(words(active)),
  };
}

const planned = (of: Case): string => plan(seenOf(of)).hosts.join(" ");

describe("a hand-over", () => {
  test("takes the host that is drained off first, and puts the next one in its place once it has let go", () => {
    const drain = { candidates: "a b", drained: "a", cursor: "a" };
    expect(plan(seenOf({ ...drain, former: "a", active: "a" }))).toMatchObject({ hosts: [], cursor: "a", proofs: [] });
    expect(planned({ ...drain, former: "", active: "a" })).toBe("");
    expect(plan(seenOf({ ...drain, former: "", active: "" }))).toMatchObject({ hosts: ["b"], cursor: "b" });
  });

  test("is one step where the host has gone, or had not begun, and that is a condition of the publication", () => {
    expect(plan(seenOf({ candidates: "b", former: "a", active: "" }))).toMatchObject({ hosts: ["b"], proofs: ["a"] });
    expect(plan(seenOf({ candidates: "a b", drained: "a", former: "a" }))).toMatchObject({ hosts: ["b"], proofs: ["a"] });
  });

  test("of one of several leaves the others where they are", () => {
    const three = { rules: { maxCount: 3 }, candidates: "a b c d", drained: "b", cursor: "c" };
    expect(planned({ ...three, former: "a b c", active: "a b c" })).toBe("a c");
    expect(planned({ ...three, former: "a c", active: "a b c" })).toBe("a c");
    expect(planned({ ...three, former: "a c", active: "a c" })).toBe("a c d");
  });

  test("keeps nobody waiting where places are free anyway", () => {
    const free = { rules: { maxCount: 3 }, candidates: "a b c", drained: "a" };
    expect(planned({ ...free, former: "a", active: "a" })).toBe("b c");
    expect(planned({ rules: { strategy: "all" }, candidates: "a b c", drained: "a", former: "a", active: "a" })).toBe("b c");
  });

  test("is proved of so many at once as a transaction takes, and the others keep their places for another round", () => {
    const gone = Array.from({ length: 30 }, (_, i) => `g${i}`).join(" ");
    const fresh = Array.from({ length: 30 }, (_, i) => `n${i}`).join(" ");
    const { hosts, proofs } = plan(seenOf({ rules: { maxCount: 30 }, candidates: fresh, former: gone }));
    expect({ hosts: hosts.length, proofs: proofs.length }).toEqual({ hosts: 20, proofs: 20 });
    expect(plan(seenOf({ rules: { maxCount: 30 }, candidates: fresh, former: hosts.join(" ") })).hosts).toHaveLength(30);
  });
});

test("never are more hosts listed or active than there are places, and who is listed has one already or takes a free one", () => {
  const host = fc.constantFrom<string>("a", "b", "c", "d", "e", "f");
  const some = fc.uniqueArray(host, { maxLength: 6 });
  const strategy = fc.constantFrom<ScheduleRules>(
    { strategy: "rr" },
    { strategy: "alpha" },
    { strategy: "hrw" },
    { strategy: "least" },
    { strategy: "spread" },
    { strategy: { name: "pin", hosts: ["f", "a", "c"] } },
    { strategy: { name: "random", seed: 3 } },
  );
  const of = fc.record({
    strategy,
    maxCount: fc.integer({ min: 1, max: 4 }),
    maxMoves: fc.option(fc.integer({ min: 1, max: 2 })),
  });
  fc.assert(
    fc.property(of, some, some, some, some, ({ strategy: rule, maxCount, maxMoves }, there, drained, former, active) => {
      const rules = { ...rule, maxCount, ...(maxMoves === null ? {} : { maxMoves }) };
      const listed = former.slice(0, maxCount);
      const seen = seenOf({
        rules,
        candidates: there.join(" "),
        drained: drained.join(" "),
        former: listed.join(" "),
        active: active.join(" "),
      });
      const { hosts, proofs } = plan(seen);
      expect(new Set(hosts).size).toBe(hosts.length);
      expect(hosts.filter((one) => !there.includes(one))).toEqual([]);
      const coming = hosts.filter((one) => !listed.includes(one));
      // Whoever is taken off and is not proved to be gone holds its place.
      const held = new Set([
        ...hosts,
        ...active,
        ...listed.filter((one) => !proofs.includes(one) && !hosts.includes(one) && coming.length > 0),
      ]);
      if (coming.some((one) => !active.includes(one))) expect(held.size).toBeLessThanOrEqual(maxCount);
      expect(coming.filter((one) => drained.includes(one))).toEqual([]);
    }),
    { numRuns: 2_000 },
  );
});

describe("maxMoves", () => {
  const one: Case = { rules: { strategy: { name: "pin", hosts: ["d", "e", "f"] }, maxMoves: 1 }, candidates: "a b c d e f" };

  test("relieves so many living hosts at a time, the lowest first, and goes on when those that came have begun", () => {
    expect(planned({ ...one, former: "a b c", active: "a b c" })).toBe("a b");
    expect(planned({ ...one, former: "a b", active: "a b c" })).toBe("a b");
    expect(planned({ ...one, former: "a b", active: "a b" })).toBe("d a b");
    expect(planned({ ...one, former: "d a b", active: "a b" })).toBe("d a b");
    expect(planned({ ...one, former: "d a b", active: "a b d" })).toBe("d a");
  });

  test("holds nobody up in place of one that has died", () => {
    expect(planned({ ...one, candidates: "b c d e f", former: "a b c", active: "b c" })).toBe("d b c");
    expect(planned({ rules: { maxCount: 3, maxMoves: 1 }, candidates: "c d e", former: "a b c", active: "c" })).toBe("c d e");
  });

  test("lets those go first that may not be scheduled any more", () => {
    expect(
      planned({ rules: { maxCount: 3, maxMoves: 1 }, candidates: "a b c d", drained: "a b", former: "a b c", active: "a b c" }),
    ).toBe("c a");
  });
});

describe("who may be scheduled", () => {
  test("are those that the filter names, that have all labels of the selector, that have a weight and are not drained", () => {
    const rules = resolveRules(rulesOf({ hostsFilter: ["a", "b", "c", "d"], selector: { disk: "ssd" } }));
    const all = ["e", "d", "c", "b", "a"].map((host) => {
      const labels: Record<string, string> = host === "b" ? { disk: "hdd" } : { disk: "ssd", zone: "z" };
      return { ...defaultFacts, host, instance: "i", labels, weight: host === "c" ? 0 : 1, drain: host === "d" };
    });
    expect(eligibleOf(all, rules).map(({ host }) => host)).toEqual(["a"]);
    expect(planned({ rules: { strategy: "all", hostsFilter: [] }, candidates: "a b" })).toBe("");
    expect(planned({ rules: { strategy: "all", selector: { toString: "x" } }, candidates: "a b" })).toBe("");
  });
});

describe("options", () => {
  test("that nobody can read leave those in their places that live, and say why", () => {
    const seen: Seen = { ...seenOf({ candidates: "b c", former: "a b" }), rules: { refused: "why" } };
    expect(plan(seen)).toEqual<Planned>({ hosts: ["b"], cursor: undefined, problem: "why", proofs: [] });
  });

  test("come back as they were stored, whatever they are", () => {
    const given: ScheduleRules[] = [
      {},
      { strategy: "least", maxCount: 3 },
      { strategy: { name: "pin", hosts: ["b", "a", "b"] }, persist: { grace: 60 }, reuseLease: true },
      {
        strategy: { name: "random", seed: -1 },
        hostsFilter: ["z", "a"],
        selector: { b: "2", a: "1" },
        sessionTtl: 5,
        maxMoves: 2,
      },
    ];
    for (const one of given) {
      const rules = rulesOf(one);
      expect(parseRules(rulesText(rules))).toEqual({ rules });
      expect(differences(rules, rules)).toEqual([]);
    }
    expect(rulesOf({ strategy: "least" })).toEqual({ strategy: { name: "least", hysteresis: 0.25 } });
  });

  test("contradict only where what was named is something else, and not where a default says the same", () => {
    const stored = rulesOf({ strategy: "alpha", maxCount: 2 });
    expect(differences(rulesOf({}), stored)).toEqual([]);
    expect(differences(rulesOf({ maxCount: 2 }), stored)).toEqual([]);
    expect(differences(rulesOf({ maxCount: 1, strategy: "rr", reuseLease: false }), stored)).toEqual(["strategy", "maxCount"]);
    expect(differences(rulesOf({ maxCount: 1 }), rulesOf({}))).toEqual([]);
    expect(differences(rulesOf({ hostsFilter: ["a", "b"] }), rulesOf({ hostsFilter: ["b", "a"] }))).toEqual([]);
  });

  test("that are none are refused by their names", () => {
    const wrong: Record<string, unknown[]> = {
      strategy: [
        "fifo",
        "pin",
        "random",
        { name: "pin", hosts: [] },
        { name: "least", hysteresis: 1 },
        { name: "rr", x: 1 },
        7,
        null,
      ],
      maxCount: [0, -1, 1.5, "2", Number.NaN],
      hostsFilter: ["h1", [7], ["no host name"]],
      selector: [[], { a: 7 }, "a"],
      sessionTtl: [0, -1, "10", Infinity],
      reuseLease: ["yes", 1],
      persist: [7, { grace: 0 }, { grace: 1, more: 2 }, {}],
      maxMoves: [0, 0.5],
    };
    for (const [option, values] of Object.entries(wrong))
      for (const value of values)
        expect(readRules({ [option]: value }), `${option} ${JSON.stringify(value)}`).toMatchObject({ option });
  });

  test("and records of strangers are parsed or refused, and nothing throws", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.object().map((one) => JSON.stringify(one)),
        ),
        (text) => {
          parseRules(text);
          parseCandidate(text, "h");
          parseResult(text);
        },
      ),
    );
    expect(parseRules('{"strategy":{"name":"rr"},"colour":"blue"}')).toMatchObject({
      refused: expect.stringContaining("colour") as string,
    });
    for (const text of ["[]", "7", "null", "x"]) expect(parseRules(text)).toHaveProperty("refused");
  });
});

describe("the model", () => {
  const keys = keysUnder("/m").scheduler;
  let revision = 0;
  const entry = (key: string, value: string, lease = "0"): Entry => ({
    key,
    value: Buffer.from(value),
    lease,
    createRevision: ++revision,
    modRevision: revision,
    version: 1,
  });
  const put = (...entries: Entry[]): ReplicaNews => ({
    kind: "changes",
    revision,
    changes: entries.map((one) => ({ type: "put", entry: one, previous: undefined })),
  });
  const made = (): { model: Model; malformed: string[] } => {
    const malformed: string[] = [];
    return { model: new Model(keys, (key) => malformed.push(key)), malformed };
  };
  const candidate = (host: string, name = "n"): Entry =>
    entry(keys.candidate(name, host), candidateText({ ...defaultFacts, instance: "i" }), "9");
  const result = (hosts: string[], generation: number): Entry =>
    entry(keys.result("n"), resultText({ hosts, generation, cursor: hosts.at(-1), scheduler: 1, problem: undefined }));

  test("says what is to be published of what has changed, and nothing of what has not", () => {
    const { model } = made();
    expect([...model.apply(put(candidate("a"), candidate("b"), candidate("b", "m")))].sort()).toEqual(["m", "n"]);
    expect(model.next("n")).toMatchObject({ generation: 1, planned: { hosts: ["a"] } });
    expect(model.next("other")).toBeUndefined();
    expect([...model.apply(put(result(["a"], 1)))]).toEqual(["n"]);
    expect(model.next("n")).toBeUndefined();
  });

  test("comes to the same whatever the order in which candidates came, went and changed", () => {
    const host = fc.constantFrom("a", "b", "c", "d", "e", "f", "g");
    const strategies: ScheduleRules["strategy"][] = ["rr", "alpha", "hrw", "least", "spread", "all", { name: "random", seed: 5 }];
    fc.assert(
      fc.property(
        fc.constantFrom(...strategies),
        fc.uniqueArray(host),
        fc.array(fc.tuple(host, fc.boolean()), { maxLength: 20 }),
        (strategy, order, turmoil) => {
          const options = entry(keys.options("n"), rulesText(rulesOf({ ...(strategy && { strategy }), maxCount: 3 })));
          const [inOrder, troubled] = [made().model, made().model];
          inOrder.apply(put(options, ...order.toSorted().map((one) => candidate(one))));
          for (const [one, comes] of turmoil) {
            if (comes) troubled.apply(put(candidate(one)));
            else {
              const change = { type: "del", key: keys.candidate("n", one), revision: ++revision, previous: undefined } as const;
              troubled.apply({ kind: "changes", revision, changes: [change] });
            }
          }
          const gone = [...new Set(turmoil.map(([one]) => one))].filter((one) => !order.includes(one));
          troubled.apply(put(...order.map((one) => candidate(one)), options, ...gone.map((one) => candidate(one))));
          for (const one of gone) {
            const change = { type: "del", key: keys.candidate("n", one), revision: ++revision, previous: undefined } as const;
            troubled.apply({ kind: "changes", revision, changes: [change] });
          }
          expect(troubled.next("n")?.planned).toEqual(inOrder.next("n")?.planned);
        },
      ),
    );
  });

  test("publishes that there is nobody, once", () => {
    const { model } = made();
    model.apply(put(entry(keys.options("n"), "{}")));
    expect(model.next("n")).toMatchObject({ generation: 1, planned: { hosts: [] } });
    model.apply(put(result([], 1)));
    expect(model.next("n")).toBeUndefined();
  });

  test("goes on counting where somebody has written over a result, and puts it right", () => {
    const { model, malformed } = made();
    model.apply(put(candidate("a"), result(["a"], 41)));
    model.apply(put(entry(keys.result("n"), "h1,h3")));
    expect(model.next("n")).toMatchObject({ generation: 42, planned: { hosts: ["a"] } });
    expect(malformed).toEqual([keys.result("n")]);
  });

  test("passes over what nobody can read, and a place that hangs on no lease", () => {
    const { model, malformed } = made();
    const [bad, strange, place] = [keys.candidate("n", "x"), `${keys.start}y`, keys.place("n", "x")];
    model.apply(
      put(entry(bad, "?"), entry(strange, ""), entry(place, ""), candidate("a"), entry(keys.schedulers.key("1f"), "h1", "31")),
    );
    const impostor = candidate("no host, but a name");
    model.apply(put(impostor));
    expect(malformed).toEqual([bad, strange, impostor.key]);
    expect(model.next("n")).toMatchObject({ planned: { hosts: ["a"] } });
  });

  test("counts a candidate that nobody can read any more as none", () => {
    const { model } = made();
    model.apply(put(candidate("a"), candidate("b"), result(["a"], 1)));
    model.apply(put(entry(keys.candidate("n", "a"), "?", "9")));
    expect(model.next("n")).toMatchObject({ planned: { hosts: ["b"], proofs: ["a"] } });
  });
});

test("keys of the scheduler come back as they were, whatever the names", () => {
  const keys = keysUnder("/k").scheduler;
  const name = fc.string({ minLength: 1, unit: "grapheme" }).filter((one) => one.isWellFormed() && !one.includes("\ufffd"));
  const host = fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}$/);
  fc.assert(
    fc.property(name, host, (one, of) => {
      expect(keys.parse(keys.options(one))).toEqual({ of: "options", name: one });
      expect(keys.parse(keys.result(one))).toEqual({ of: "result", name: one });
      expect(keys.parse(keys.candidate(one, of))).toEqual({ of: "candidate", name: one, host: of });
      expect(keys.parse(keys.place(one, of))).toEqual({ of: "place", name: one, host: of });
      expect(keys.parse(`${keys.place(one, of)}/x`)).toBeUndefined();
    }),
  );
  const strangers = [keys.candidate("n", "no host"), keys.place("n", "a,b")];
  for (const key of [
    ...strangers,
    keys.schedulers.key("1f"),
    `${keys.start}results/`,
    `${keys.start}candidates/h1`,
    "/elsewhere",
  ])
    expect(keys.parse(key)).toBeUndefined();
});
