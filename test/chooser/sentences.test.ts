import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, test } from "vitest";
import { defaultPolicy, plan, readPolicy, type Plan } from "../../src/chooser/index.ts";
import { brief, cluster } from "../support/cluster.ts";
import { policies, snapshots } from "../support/snapshots.ts";

const file = fileURLToPath(new URL("sentences.golden.txt", import.meta.url));
const golden = readFileSync(file, "utf8");
const cases = golden.split("\n").filter((line) => /^(ideal|policy) /.test(line));

/** `policy standbys=1 | ideal 3 | ...`: a policy of its own, before the cluster. */
function planOf(line: string): Plan {
  const match = /^policy ([^|]+) \| (.*)$/.exec(line);
  if (!match) return plan(cluster(line), defaultPolicy);
  const [, fields = "", rest = ""] = match;
  const given = JSON.parse(`{${fields.replace(/(\w+)=(\w+)/g, '"$1":$2').replaceAll(" ", ",")}}`) as unknown;
  const { policy, refused } = readPolicy(given);
  expect([line, refused]).toEqual([line, []]);
  return plan(cluster(rest), policy);
}

function answer(line: string): string[] {
  const next = planOf(line);
  const { blockedBy, next: after } = "settled" in next ? next.settled : { blockedBy: undefined, next: undefined };
  const blocked = blockedBy === undefined ? [] : [`  blocked by ${blockedBy}`, `  after that ${after ?? "nothing"}`];
  const [what = ""] = brief(next).split(";");
  return [line, `  ${what}`, `  because ${next.because}`, ...blocked];
}

/** The file as it would be written now: its comments and clusters, with what is planned for each. */
function written(): string {
  return golden
    .split("\n")
    .filter((line) => !line.startsWith("  "))
    .flatMap((line) => (cases.includes(line) ? answer(line) : [line]))
    .join("\n");
}

/** A sentence without its names and numbers, in the parts it is made of. */
function partsOf(sentence: string): string[] {
  return sentence
    .replace(/\bmember (id-)?[hm][0-9]+\b|\b(id-)?[hm][0-9]+\b/g, "H")
    .replace(/\bH(, H)* and H\b/g, "HH")
    .replace(/\b[0-9]+\b/g, "N")
    .split(/; |: |, (?:and |but |so )?| and (?=there is|the chooser wishes|can only)/);
}

test("every sentence is the one in the file", () => {
  if (process.env["UPDATE"] === "1") writeFileSync(file, written());
  else expect(written()).toBe(golden);
});

test("no cluster stands in the file twice", () => {
  expect(cases.filter((line, i) => cases.indexOf(line) !== i)).toEqual([]);
  expect(cases.length).toBeGreaterThan(100);
});

test("whatever there is to be seen, it is explained in words that stand in the file", () => {
  const known = new Set(cases.flatMap((line) => partsOf(planOf(line).because)));
  fc.assert(
    fc.property(snapshots, policies, (seen, policy) => {
      const { because } = plan(seen, policy);
      for (const part of partsOf(because)) {
        if (!known.has(part)) throw new Error(`${JSON.stringify(part)} of ${JSON.stringify(because)} is not in the file`);
      }
    }),
    { numRuns: Number(process.env["RUNS"] ?? 4_000) },
  );
});

test("a sentence is one line of plain words, begins small and ends without a full stop", () => {
  for (const line of cases) {
    const { because } = planOf(line);
    expect([line, because]).toEqual([line, expect.stringMatching(/^[a-z0-9][^\n]*[^.\s]$/)]);
    expect([line, because]).not.toEqual([line, expect.stringMatching(/undefined|null|\[object|NaN| {2}/)]);
  }
});
