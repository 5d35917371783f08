import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ofTheLeader, ofThePlan } from "../mutants/list.mjs";
import { Player } from "../mutants/players.mjs";

const all = [...ofThePlan, ...ofTheLeader];
const lineOf = ({ file, breaks }: (typeof all)[number]): string => `${file}: ${breaks}`;
const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

test("every mutant changes exactly one place of the source as it is, and has a line of its own", () => {
  const stale = all.filter(({ file, from, to }) => read(file).split(from).length !== 2 || from === to);
  expect(stale.map(lineOf)).toEqual([]);
  expect(all.filter((mutant, i) => all.findIndex((other) => lineOf(other) === lineOf(mutant)) !== i).map(lineOf)).toEqual([]);
});

test("what is remembered of a mutant is a file that there is, and none is remembered that there is not", () => {
  const caughtBy = JSON.parse(read("test/mutants/caught.json")) as Readonly<Record<string, string>>;
  const isThere = (path: string): boolean =>
    path === "the simulation's lives" || existsSync(new URL(`../../${path}`, import.meta.url));
  expect(Object.values(caughtBy).filter((path) => !isThere(path))).toEqual([]);
  expect(Object.keys(caughtBy).filter((line) => !all.some((mutant) => lineOf(mutant) === line))).toEqual([]);
});

test("a player is told of the test that fails with a mutant, sees the tree as it is after it, and ends one that waits for ever", async () => {
  const path = "test/chooser/target.test.ts";
  const mutant = ofThePlan.find(({ breaks }) => breaks === "target: no upper limit");
  const player = new Player();
  try {
    const clean = { tests: expect.any(Number) as number };
    expect(await player.play(path)).toEqual(clean);
    expect(await player.play(path, mutant)).toMatchObject({ failed: expect.any(String) as string });
    expect([...player.sawFail]).toEqual([path]);
    expect(await player.play(path)).toEqual(clean);

    // A file that cannot be loaded says nothing of the rule.
    const file = mutant?.file ?? "";
    const broken = { breaks: "it cannot be loaded", file, from: "export function targetOf", to: "export function (" };
    const crashed = await player.play(path, broken);
    expect(crashed).toEqual({ crashed: expect.any(String) as string, tests: 0 });

    const forEver = {
      breaks: "it waits for ever",
      file,
      from: "export function targetOf",
      to: "for (;;);\nexport function targetOf",
    };
    expect(await player.play(path, forEver, 3_000)).toBe("late");
    expect(await player.play(path)).toEqual(clean);
  } finally {
    await player.end();
  }
});
