import { describe, expect, test } from "vitest";
import { MemberEndpoints } from "../../src/etcd/index.ts";
import type { MemberRow } from "../../src/etcd/index.ts";

function members(line: string): { members: MemberRow[] } {
  const rows = line.split(" ").filter((name) => name !== "");
  return {
    members: rows.map((word) => {
      const name = word.replace("~", "");
      return { id: name, name, peerUrls: [], clientUrls: word.endsWith("+") ? [] : [name], learner: word.includes("~") };
    }),
  };
}

describe("the endpoints of a client", () => {
  test.each([
    ["are the voters, then the seeds that belong to nobody", "seed h1", ["h1 h2 h3"], "h1 h2 h3 seed"],
    ["leave out learners, also a seed that is one", "h1 h2", ["h1 h2~ h3"], "h1 h3"],
    ["take a learner in once it votes", "h1", ["h1 h2~", "h1 h2"], "h1 h2"],
    ["leave out a removed member, also where it was a seed", "h1 h2 proxy", ["h1 h2 h3", "h1 h3"], "h1 h3 proxy"],
    ["take a removed member in again that comes back", "h1", ["h1 h2", "h1", "h1 h2"], "h1 h2"],
    ["leave out whoever comes back as a learner", "h2", ["h1 h2", "h1", "h1 h2~"], "h1"],
  ])("%s", (_, seeds, seen, expected) => {
    const endpoints = new MemberEndpoints(seeds.split(" "));
    let last: readonly string[] | undefined;
    for (const line of seen) last = endpoints.of(members(line));
    expect(last).toEqual(expected.split(" "));
  });

  test("stay as they are while no voter says where it serves", () => {
    expect(new MemberEndpoints(["seed"]).of(members("h1~ h2~"))).toBeUndefined();
    expect(new MemberEndpoints(["seed"]).of(members(""))).toBeUndefined();
  });
});
