import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ofTheLeader, ofThePlan } from "../mutants/list.mjs";

test("every mutant changes exactly one place of the source as it is", () => {
  const stale = [...ofThePlan, ...ofTheLeader].filter(({ file, from, to }) => {
    const places = readFileSync(new URL(`../../${file}`, import.meta.url), "utf8").split(from).length - 1;
    return places !== 1 || from === to;
  });
  expect(stale.map(({ file, breaks }) => `${file}: ${breaks}`)).toEqual([]);
});
