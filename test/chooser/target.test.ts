import { expect, test } from "vitest";
import { defaultPolicy } from "../../src/chooser/index.ts";
import { targetOf } from "../../src/chooser/target.ts";

test.each([
  [1, 9, 1, 1],
  [2, 9, 2, 1],
  [3, 9, 3, 3],
  [4, 9, 4, 3],
  [5, 4, 4, 3],
  [5, 2, 2, 1],
  [9, 9, 7, 7],
  [3, 0, 1, 1],
])("ideal %i with %i eligible: %i seats, %i voters", (ideal, eligible, seats, voters) => {
  expect(targetOf(ideal, eligible, defaultPolicy)).toEqual({ seats, voters });
});

test("an even target is voters only where the policy says so", () => {
  expect(targetOf(4, 9, { ...defaultPolicy, evenVoters: true })).toEqual({ seats: 4, voters: 4 });
});
