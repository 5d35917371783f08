import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  defaultClusterPolicy,
  describeChange,
  differingFlags,
  policyChanges,
  policyFieldNames,
  policySeen,
  readClusterPolicy,
  showDuration,
  showPolicyValue,
} from "../../../src/agent/control/policy.ts";

const text = (fields: object): string => JSON.stringify({ schema: 1, ...defaultClusterPolicy, ...fields });

describe("reading a policy", () => {
  test("what is written rules, and fields of a later version are ignored", () => {
    const written = text({ maxSeats: 5, standbys: 1, restartGraceMs: 60_000, zonesAtLeast: 3 });
    expect(readClusterPolicy(written)).toEqual({
      policy: { ...defaultClusterPolicy, maxSeats: 5, standbys: 1, restartGraceMs: 60_000 },
      refused: [],
    });
  });

  test("a field that an older version did not write keeps the value it had", () => {
    const base = { ...defaultClusterPolicy, nomineeTimeoutMs: 5_000 };
    expect(readClusterPolicy('{"schema":1,"maxSeats":3}', base).policy).toEqual({ ...base, maxSeats: 3 });
  });

  test("one bad field does not spoil the others, and is named with what it may be", () => {
    const { policy, refused } = readClusterPolicy(text({ maxSeats: 99, evenVoters: "yes", standbys: 1, chooser: "a b" }));
    expect(policy).toEqual({ ...defaultClusterPolicy, standbys: 1 });
    expect(refused).toEqual([
      "maxSeats is not a whole number from 1 to 15",
      "evenVoters is not true or false",
      "chooser is not a name",
    ]);
  });

  test.each([
    ["no JSON", "banana", '"banana" is not JSON'],
    ["no object", "[1]", "it is not an object"],
    ["nothing", "null", "it is not an object"],
    ["another schema", '{"schema":2,"maxSeats":3}', "its schema is not 1"],
    ["a megabyte", "x".repeat(1_000_000), "it has 1000000 characters, at most 10000 are allowed"],
  ])("%s leaves everything as it was", (_, value, why) => {
    const base = { ...defaultClusterPolicy, maxSeats: 3 };
    expect(readClusterPolicy(value, base)).toEqual({ policy: base, refused: [why] });
  });

  test("whatever is written, what comes of it can be written again", () => {
    const value = fc.oneof(
      fc.string(),
      fc.json(),
      fc.dictionary(fc.constantFrom("schema", ...policyFieldNames), fc.jsonValue()).map(text),
    );
    fc.assert(
      fc.property(value, (written) => {
        const { policy } = readClusterPolicy(written);
        expect(readClusterPolicy(text(policy))).toEqual({ policy, refused: [] });
      }),
    );
  });
});

describe("the policy in force", () => {
  test("is the default where nobody wrote one, and says that nobody did", () => {
    expect(policySeen(undefined, undefined)).toEqual({
      inForce: defaultClusterPolicy,
      written: false,
      last: undefined,
      refused: [],
    });
  });

  test("is the last good one where somebody wrote garbage over it, or deleted it", () => {
    const last = { ...defaultClusterPolicy, maxSeats: 5 };
    expect(policySeen("banana", text(last))).toMatchObject({ inForce: last, written: true, refused: ['"banana" is not JSON'] });
    expect(policySeen(undefined, text(last))).toMatchObject({ inForce: last, written: false });
    expect(policySeen(text({ maxSeats: 0, standbys: 1 }), text(last)).inForce).toEqual({ ...last, standbys: 1 });
  });

  test("is the default where there was never a good one", () => {
    expect(policySeen("banana", undefined).inForce).toEqual(defaultClusterPolicy);
    expect(policySeen("banana", "junk").inForce).toEqual(defaultClusterPolicy);
  });
});

test("flags that differ are one sentence that names each once, with its hosts", () => {
  const given = new Map([
    ["h3", { maxSeats: 5 }],
    ["h2", { maxSeats: 3, standbys: 1, evenVoters: false }],
    ["h1", {}],
  ] as const);
  expect(differingFlags(given, defaultClusterPolicy)).toBe(
    "the cluster's policy rules, not the flags that differ: --max-seats of h2 and h3, --standbys of h2",
  );
  expect(differingFlags(given, { ...defaultClusterPolicy, standbys: 1 })).toContain("differ: --max-seats of h2 and h3");
});

test("flags that say what the policy says are none that differ, and flags that were not given never are", () => {
  expect(differingFlags(new Map([["h2", { maxSeats: 7, restartGraceMs: 300_000 }]]), defaultClusterPolicy)).toBeUndefined();
  expect(differingFlags(new Map([["h2", { maxSeats: undefined }]]), { ...defaultClusterPolicy, maxSeats: 3 })).toBeUndefined();
});

test("a change is told as flags are typed", () => {
  const to = { ...defaultClusterPolicy, maxSeats: 5, restartGraceMs: 90_000, evenVoters: true };
  expect(policyChanges(defaultClusterPolicy, to).map(describeChange)).toEqual([
    "max-seats 7 -> 5",
    "even-voters false -> true",
    "restart-grace 5m -> 90s",
  ]);
  expect(policyChanges(to, {})).toEqual([]);
});

test.each([
  [0, "0s"],
  [1, "1ms"],
  [1_500, "1500ms"],
  [10_000, "10s"],
  [90_000, "90s"],
  [300_000, "5m"],
  [86_400_000, "24h"],
])("%d ms is %s", (ms, shown) => {
  expect(showDuration(ms)).toBe(shown);
  expect(showPolicyValue("stabilizationMs", ms)).toBe(shown);
});
