import { describe, expect, test } from "vitest";
import { say } from "../support/cluster.ts";

describe("who gets a seat first", () => {
  test.each([
    ["the zone least represented", "h3@a^9#0 h4@b#9"],
    ["then the higher priority", "h3@b^1#0 h4@b^2#9"],
    ["then the longest stable", "h3@b#9 h4@b#8"],
    ["then the hostname", "h5@b h4@b"],
  ])("%s", (_, spares) => {
    expect(say(`ideal 3 | voters h1@a h2@a | spares ${spares}`)).toBe("nominate h4");
  });
  test("a zone whose voter is dead counts as less represented", () => {
    expect(say("ideal 3 | voters h1@a h2@b h3!@c | spares h4@a h5@c")).toBe("nominate h5");
  });
  test("a zone whose voter leaves counts as less represented", () => {
    expect(say("ideal 3 | voters h1@a h2@b h3@c | spares h4@a h5@c | leaving h3")).toBe("nominate h5");
  });
});

describe("who loses its seat first", () => {
  test.each([
    ["the one that does not take part", "h1@a h2@a^-9#9 h3?@b h4@b h5@c"],
    ["then one of the most crowded zone", "h1@a^9 h2@b^9 h3@c^9#0 h4@c^9#0 h5@d^-9#9", "h4"],
    ["then the lower priority", "h1^2#9 h2^2#9 h3^1#0 h4^2#9 h5^2#9"],
    ["then not the raft leader, and the youngest", "h1#1 h2#2 h3#3 h4*#4 h5#2"],
    ["then the hostname", "h1* h2 h3", "h3"],
  ])("%s", (_, voters, name = "h3") => {
    expect(say(`ideal 1 | voters ${voters}`)).toBe(`remove ${name} surplus`);
  });
  test("raft leadership goes to the voter that would be let go last", () => {
    expect(say("ideal 1 | voters h1*^-9 h2^1 h3^2")).toBe("move-leader h1 h3");
  });
  test("raft leadership does not go to one that is about to restart", () => {
    expect(say("ideal 1 | voters h1*^-9 h2^1 h3^2 | restarting h3")).toBe("move-leader h1 h2");
  });
});
