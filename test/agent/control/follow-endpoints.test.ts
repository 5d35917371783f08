import { expect, test } from "vitest";
import { inOrder, stillServing, type Serving } from "../../../src/agent/control/follow-endpoints.ts";

const serving = (...hosts: string[]): Serving => new Map(hosts.map((host) => [host, [`http://${host}:2379`]]));
const hosts = (known: Serving): string => [...known.keys()].join(" ");

test.each([
  ["what the keys say", "", "h1 h2 h3", "h1 h2 h3", "h1 h2 h3"],
  [
    "a voter that lost its session serves all the same: the raft leader died, and took all sessions with it",
    "h1 h2 h3",
    "h1",
    "h1 h2 h3",
    "h1 h2 h3",
  ],
  ["who has no seat any more serves nobody", "h1 h2 h3", "h1 h2", "h1 h2", "h1 h2"],
  ["who has become a learner serves nobody", "h1 h2", "h1", "h1", "h1"],
  ["where somebody deleted all keys, everybody serves who did", "h1 h2 h3", "h2", "", "h2 h1 h3"],
  ["a voter that has not published anything is not known", "h1", "h1", "h1 h2", "h1"],
])("%s", (_, before, now, voters, wanted) => {
  const words = (text: string): string[] => text.split(" ").filter(Boolean);
  expect(hosts(stillServing(serving(...words(before)), serving(...words(now)), new Set(words(voters))))).toBe(wanted);
});

test("new URLs of a host take the place of its old ones", () => {
  const moved = new Map([["h1", ["http://other:2379"]]]);
  expect([...stillServing(serving("h1"), moved, new Set(["h1"]))]).toEqual([["h1", ["http://other:2379"]]]);
});

test.each([
  ["the own server comes first where it votes", { votes: true, runs: true }, "own h2 seed"],
  ["one that is not known to vote comes last, as it may be the only one that does", { votes: false, runs: true }, "h2 seed own"],
  ["one that does not run is not asked", { votes: false, runs: false }, "h2 seed"],
])("%s", (_, how, wanted) => {
  expect(inOrder(["own", "h2"], ["seed", "own", "h2"], { urls: ["own"], ...how }).join(" ")).toBe(wanted);
});
