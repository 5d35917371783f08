import { expect, test } from "vitest";
import { defaultPolicy, readPolicy } from "../../src/chooser/index.ts";

test("a policy without fields is the default", () => {
  expect(readPolicy({})).toEqual({ policy: defaultPolicy, refused: [] });
});

test("what is written rules, what is not comes from the base", () => {
  const base = { ...defaultPolicy, settleMs: 3_000 };
  expect(readPolicy({ maxSeats: 5, standbys: 1, evenVoters: true }, base)).toEqual({
    policy: { ...base, maxSeats: 5, standbys: 1, evenVoters: true },
    refused: [],
  });
});

test("a field that is not what it must be keeps its value, and is named", () => {
  const given = { maxSeats: 0, standbys: 2, evenVoters: "yes", maxLag: 1.5, nomineeTimeoutMs: -1, settleMs: null };
  expect(readPolicy(given)).toEqual({
    policy: defaultPolicy,
    refused: [
      "maxSeats is not a whole number from 1 to 15",
      "standbys is not a whole number from 0 to 1",
      "evenVoters is not true or false",
      "maxLag is not a whole number from 0 to 1000000000",
      "nomineeTimeoutMs is not a whole number from 1000 to 86400000",
      "settleMs is not a whole number from 0 to 86400000",
    ],
  });
});

test("fields of a later version are ignored", () => {
  expect(readPolicy({ zonesAtLeast: 3, __proto__: { maxSeats: 1 } })).toEqual({ policy: defaultPolicy, refused: [] });
});

test.each([[null], [[]], ["maxSeats"], [7]])("%j is no policy", (given) => {
  expect(readPolicy(given)).toEqual({ policy: defaultPolicy, refused: ["it is not an object"] });
});
