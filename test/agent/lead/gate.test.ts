import { describe, expect, test } from "vitest";
import { configurationAfter, hasApplied, receivedBytes, verdict, type GatedCall } from "../../../src/agent/lead/gate.ts";
import { rows, status } from "./rows.ts";

function call(words: string): GatedCall {
  const [op, member, asked] = words.split(" ");
  return { op: op as GatedCall["op"], member: member === "-" ? undefined : member, mayLowerTolerance: asked === "asked" };
}

describe("configurationAfter() counts on the members there will be", () => {
  test.each([
    ["add-learner -", "v1 v2 v3", "v1 v2 v3", ""],
    ["add-learner -", "v1 l2", "v1", ""],
    ["promote l2", "v1 l2", "v1 l2", "l2"],
    ["promote l4", "v1 v2 v3 l4", "v1 v2 v3 l4", "l4"],
    ["remove v3", "v1 v2 v3", "v1 v2", ""],
    ["remove l2", "v1 l2", "v1", ""],
    ["remove v1", "v1", "", ""],
  ])("%s with %s", (words, before, voters, mustPass) => {
    const list = (text: string): string[] => text.split(" ").filter(Boolean);
    expect(configurationAfter(rows(before), call(words))).toEqual({ voters: list(voters), mustPass: list(mustPass) });
  });
});

describe("verdict()", () => {
  test.each<[string, string, string, string, RegExp | undefined]>([
    // call, members, who takes part, what it means
    ["add-learner -", "v1", "v1", "one voter that lives may take a learner", undefined],
    ["add-learner -", "v1 v2 v3", "v1 v2", "a dead voter blocks no replacement", undefined],
    [
      "add-learner -",
      "v1 v2 v3",
      "v1",
      "without quorum nothing is added",
      /only 1 of the 3 voters there would be take part, 2 are needed/,
    ],
    ["add-learner -", "v1", "", "nobody takes part", /only 0 of the 1/],
    ["promote l2", "v1 l2", "v1 l2", "one voter and a learner that lives", undefined],
    ["promote l2", "v1 l2", "v1", "a learner that is dead would take the quorum with it", /^member l2 does not take part yet$/],
    ["promote l2", "v1 l2", "l2", "the learner alone is none", /only 1 of the 2/],
    ["promote l2+", "v1 l2+", "v1", "a learner that never started", /member l2\+ does not/],
    ["promote l3", "v1 v2 l3", "v1 v2 l3", "two voters become three", undefined],
    ["promote l3", "v1 v2 l3", "v1 l3", "with one of two voters dead quorum is lost; the third would restore it", undefined],
    ["promote l4", "v1 v2 v3 l4", "v1 v2 l4", "four with one dead: 3 of 4 is a quorum, and tolerance stays at 0", undefined],
    ["promote l4", "v1 v2 v3 l4", "v1 v2 v3 l4", "an even voter costs no tolerance", undefined],
    ["remove v3", "v1 v2 v3", "v1 v2", "a dead voter of three: two of two, tolerance stays at 0", undefined],
    [
      "remove v3",
      "v1 v2 v3",
      "v1 v2 v3",
      "a voter that lives is not removed for nothing",
      /^failure tolerance would fall from 1 to 0$/,
    ],
    ["remove v3 asked", "v1 v2 v3", "v1 v2 v3", "unless the size or a leave asks for it", undefined],
    ["remove v3 asked", "v1 v2 v3", "v1 v3", "but never at the cost of quorum", /only 1 of the 2/],
    ["remove v2 asked", "v1 v2", "v1 v2", "two become one", undefined],
    ["remove v2 asked", "v1 v2", "v2", "not the only one that lives", /only 0 of the 1/],
    ["remove v1 asked", "v1", "v1", "the last one stays", /^no voter would be left$/],
    ["remove v5", "v1 v2 v3 v4 v5", "v1 v2 v3", "two of five are dead: removing one leaves 3 of 4", undefined],
    ["remove v4", "v1 v2 v3 v4", "v1 v2 v3", "and the second leaves 3 of 3, which can lose one", undefined],
    ["remove l4", "v1 v2 v3 l4", "v1 v2 v3", "a learner that never came", undefined],
    ["remove l4", "v1 v2 v3 l4", "v1", "nothing without quorum, not even that", /only 1 of the 3/],
  ])("%s with %s, of whom %s take part: %s", (words, members, taking, _meaning, why) => {
    const said = verdict({ rows: rows(members), call: call(words) }, new Set(taking.split(" ").filter(Boolean)));
    if (why === undefined) expect(said).toBeUndefined();
    else expect(said).toMatch(why);
  });

  test.each<[string, string, string, string, string, RegExp | undefined]>([
    // call, open step, members, who takes part, what it means
    [
      "remove v1 asked",
      "remove v4",
      "v1 v2 v3 v4",
      "v1 v2 v4",
      "two of three would do, but it may be one of two",
      /^only 1 of the 2 .*if the recorded remove of v4 still lands$/,
    ],
    ["remove v5", "remove v4", "v1 v2 v3 v4 v5", "v1 v2 v3", "two dead ones of five may both be gone: 3 of 3", undefined],
    ["remove v4 asked", "remove v5", "v1 v2 v3 v4 v5", "v1 v2 v3 v4", "or one that is surplus", undefined],
    ["remove l4", "promote l4", "v1 v2 v3 l4", "v1 v2", "removing the learner makes its promotion impossible", undefined],
    ["remove l4", "promote l4", "v1 v2 v3 l4", "v1", "not without quorum", /^only 1 of the 3/],
    [
      "remove v3",
      "promote l4",
      "v1 v2 v3 l4",
      "v1 v2",
      "the dead learner would vote by then: 2 of 3 are a quorum, as before",
      undefined,
    ],
    ["remove v2 asked", "promote l4", "v1 v2 v3 l4", "v1 v2 v3", "2 of 2 are enough, 2 of 3 too", undefined],
    [
      "remove v2 asked",
      "promote l4",
      "v1 v2 l4",
      "v1 v2",
      "1 of 1 is enough, 1 of 2 is not",
      /only 1 of the 2.*promote of l4 still lands/,
    ],
    ["promote l4", "remove v3", "v1 v2 v3 l4", "v1 v2 v3 l4", "after the removal it is three of three", undefined],
    ["promote l4", "promote l4", "v1 v2 v3 l4", "v1 v2 v3 l4", "the same call again is one call", undefined],
    ["remove v3", "add-learner -", "v1 v2 v3", "v1 v2", "a learner that may still come does not count", undefined],
  ])("%s while %s is open, with %s, of whom %s take part: %s", (words, open, members, taking, _meaning, why) => {
    const passed = new Set(taking.split(" "));
    const said = verdict({ rows: rows(members), call: call(words), open: call(open) }, passed);
    if (why === undefined) expect(said).toBeUndefined();
    else expect(said).toMatch(why);
  });

  test("whatever it lets through leaves a quorum that takes part, and never loses tolerance unasked", () => {
    const members = rows("v1 v2 v3 v4 l5");
    const ids = members.map((one) => one.id);
    let let_ = 0;
    for (let bits = 0; bits < 2 ** ids.length; bits++) {
      const passed = new Set(ids.filter((_, i) => bits & (1 << i)));
      for (const words of ["add-learner -", "promote l5", ...ids.flatMap((id) => [`remove ${id}`, `remove ${id} asked`])]) {
        const gated = call(words);
        if (verdict({ rows: members, call: gated }, passed) !== undefined) continue;
        let_++;
        const { voters } = configurationAfter(members, gated);
        const alive = voters.filter((id) => passed.has(id)).length;
        expect(alive).toBeGreaterThan(voters.length / 2);
      }
    }
    expect(let_).toBeGreaterThan(0);
  });
});

test("a member has applied a revision where it has it, and follows the raft leader in its present term", () => {
  const leader = status("v1", { raftTerm: 3, revision: 12 });
  const says = (more: Parameters<typeof status>[1]): boolean =>
    hasApplied(status("v2", { raftTerm: 3, revision: 12, ...more }), leader, 12);
  expect(says({})).toBe(true);
  expect(says({ revision: 13 })).toBe(true);
  expect(says({ revision: 11 })).toBe(false);
  expect(says({ raftLeader: "v3" })).toBe(false);
  // It has lost the raft leader, and campaigns.
  expect(says({ raftLeader: "0" })).toBe(false);
  expect(says({ raftTerm: 2 })).toBe(false);
});

test("receivedBytes() reads etcd's own lines and nothing that only looks like them", () => {
  const metrics = [
    "# HELP etcd_network_peer_received_bytes_total The total number of bytes received from peers.",
    "# TYPE etcd_network_peer_received_bytes_total counter",
    'etcd_network_peer_received_bytes_total{From="0"} 120',
    'etcd_network_peer_received_bytes_total{From="8e9e05c52164694d"} 1.25443e+06',
    'etcd_network_peer_received_bytes_total{From="00ff"} 7',
    'etcd_network_peer_received_bytes_total{From="not hex"} 9',
    'etcd_network_peer_sent_bytes_total{To="aa"} 55',
    'x etcd_network_peer_received_bytes_total{From="bb"} 1',
    "",
  ].join("\n");
  expect([...receivedBytes(metrics)]).toEqual([
    ["0", 120],
    ["8e9e05c52164694d", 1_254_430],
    ["ff", 7],
  ]);
  expect(receivedBytes("").size).toBe(0);
});
