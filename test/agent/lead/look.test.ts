import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { KeyValue, MemberRow } from "../../../src/etcd/index.ts";
import { agentOf, readLook } from "../../../src/agent/lead/look.ts";
import { defaultClusterPolicy } from "../../../src/agent/control/policy.ts";
import { writeRecord } from "../../../src/agent/control/records.ts";
import { entry, keys, lookOf, membershipOf, row, rows, uuid } from "./rows.ts";

const agent = (n: number): string =>
  writeRecord("agentRecord", {
    schema: 1,
    identity: uuid(n),
    instance: uuid(100 + n),
    quorate: "0.1.0",
    zone: "",
    priority: 0,
    volunteering: true,
    server: "none",
    proof: "x",
  });
const seat = (member?: string): string =>
  writeRecord("seat", {
    schema: 1,
    instance: uuid(101),
    ...(member === undefined ? {} : { member }),
    role: "voter",
    standby: false,
  });

test("an empty store is a look with nothing in it", () => {
  const seen = lookOf(rows("v1"));
  expect(seen).toMatchObject({
    paused: undefined,
    step: undefined,
    policy: { written: false, last: undefined, refused: [] },
    marker: undefined,
    size: { asked: undefined, refused: undefined, last: undefined },
    refused: [],
  });
  for (const map of [seen.agents, seen.seats, seen.nominated, seen.volunteers, seen.leaving, seen.restarting, seen.passedOver]) {
    expect(map.size).toBe(0);
  }
});

test("every key is found where it belongs, with its revisions", () => {
  const seen = lookOf(
    rows("v1"),
    entry(keys.agents.key("h1"), agent(1), { lease: "77" }),
    entry(keys.seats.key("h1"), seat("aa")),
    entry(keys.nominated.key("h1"), "http://h1:2380,http://h1b:2380"),
    entry(keys.volunteer.key("h1"), "http://h1:2380", { createRevision: 3 }),
    entry(keys.leaving.key("h1"), '{"reason":"asked"}'),
    entry(keys.restarting.key("h2"), '{"reason":"stopped"}'),
    entry(keys.passedOver.key("h3"), '{"reason":"it did not start"}'),
    entry(keys.paused, '{"reason":"maintenance"}'),
    entry(keys.step, writeRecord("step", { schema: 1, op: "promote", member: "aa", leaderRevision: 4 })),
    entry(keys.cluster, writeRecord("marker", { schema: 1, clusterId: "c1", foundedBy: "h1" })),
    entry(keys.idealClusterSize, "3"),
    entry(keys.lastSize, "5"),
  );
  expect(seen.refused).toEqual([]);
  expect(seen.agents.get("h1")).toMatchObject({ value: { identity: uuid(1) }, entry: { lease: "77" } });
  expect(seen.seats.get("h1")?.value.member).toBe("aa");
  expect(seen.nominated.get("h1")?.value).toEqual(["http://h1:2380", "http://h1b:2380"]);
  expect(seen.volunteers.get("h1")?.entry.createRevision).toBe(3);
  expect([...seen.leaving, ...seen.restarting, ...seen.passedOver]).toEqual(["h1", "h2", ["h3", "it did not start"]]);
  expect(seen).toMatchObject({ paused: "maintenance", step: { value: { op: "promote" } }, marker: { clusterId: "c1" } });
  expect(seen.size).toEqual({ asked: 3, refused: undefined, last: 5, revision: 6, confirmedBy: undefined });
});

describe("foreign values", () => {
  test("each one that is not what it should be is counted, with its key and the reason, and is not there", () => {
    const foreign = [
      entry(keys.agents.key("h1"), "junk"),
      entry(keys.agents.key("h2"), "{}"),
      entry(keys.seats.key("h1"), "[]"),
      entry(keys.nominated.key("h1"), "http://user:secret@h1:2380"),
      entry(keys.volunteer.key("h1"), "h1:2380"),
      entry(keys.volunteer.key("h2"), ""),
      entry(`${keys.volunteer.prefix}a/b`, "http://h1:2380"),
      entry(`${keys.agents.prefix}%`, agent(1)),
      entry(keys.step, '{"op":"remove"}'),
      entry(keys.policy, '{"schema":1,"maxSeats":0}'),
      entry(keys.cluster, "null"),
    ];
    const seen = lookOf(rows("v1"), ...foreign);
    expect(seen.refused).toHaveLength(foreign.length);
    for (const { key } of foreign)
      expect(seen.refused.some((line) => line.startsWith(JSON.stringify(key).slice(0, 50)))).toBe(true);
    for (const map of [seen.agents, seen.seats, seen.nominated, seen.volunteers]) expect(map.size).toBe(0);
    expect(seen).toMatchObject({ step: undefined, marker: undefined });
    expect(seen.policy).toMatchObject({ written: true, inForce: defaultClusterPolicy });
  });

  test("a size that is none is told apart from one that is absent, and the last good one stays known", () => {
    const size = (text: string): unknown => lookOf([], entry(keys.idealClusterSize, text), entry(keys.lastSize, "3")).size;
    expect(size("five")).toMatchObject({ asked: undefined, refused: '"five" is not a whole number', last: 3 });
    expect(size("0")).toMatchObject({ asked: 0, refused: undefined, last: 3 });
    expect(lookOf([], entry(keys.lastSize, "0")).size.last).toBeUndefined();
    expect(lookOf([], entry(keys.lastSize, "x")).size).toMatchObject({
      asked: undefined,
      refused: undefined,
      last: undefined,
      revision: 0,
    });
  });

  test("a yes to size 0 counts for the size it was written with, and for no other", () => {
    const yes = '{"schema":1,"by":"box"}';
    const confirmed = (revision: number): unknown =>
      lookOf([], entry(keys.idealClusterSize, "0"), entry(keys.closing, yes, { modRevision: revision })).size.confirmedBy;
    expect(confirmed(6)).toBe("box");
    expect(confirmed(5)).toBeUndefined();
    expect(lookOf([], entry(keys.closing, yes))).toMatchObject({ confirmed: true, size: { confirmedBy: undefined } });
  });

  test("a reason nobody can read is still a reason: somebody leaves, or paused it", () => {
    const seen = lookOf(
      [],
      entry(keys.paused, "junk"),
      entry(keys.leaving.key("h1"), "junk"),
      entry(keys.passedOver.key("h2"), ""),
    );
    expect(seen.paused).toBe("no reason given");
    expect(seen.leaving.has("h1")).toBe(true);
    expect(seen.passedOver.get("h2")).toBe("no reason given");
  });

  test("whatever stands in the keys, a look is read", () => {
    const families = [keys.agents, keys.seats, keys.nominated, keys.volunteer, keys.leaving, keys.passedOver, keys.leader];
    const key = fc.oneof(
      fc.tuple(fc.constantFrom(...families), fc.string()).map(([family, name]) => family.prefix + name),
      fc.constantFrom(keys.step, keys.policy, keys.paused, keys.cluster, keys.lastSize, keys.idealClusterSize, keys.plan),
      fc.string(),
    );
    const value = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc.constantFrom(agent(1), seat("aa"), "http://h1:2380", "3"),
    );
    const some = fc.array(
      fc.tuple(key, value).map(([k, v]) => entry(k, v)),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(some, (entries) => {
        const seen = readLook(membershipOf(rows("v1 l2+"), entries), keys);
        for (const line of seen.refused) expect(line.length).toBeLessThan(800);
        for (const one of rows("v1 l2+")) agentOf(one, seen);
      }),
      { numRuns: 500 },
    );
  });
});

test("a range that was cut off at its limit pauses the chooser: what is missing may be the open step", () => {
  const flood = Array.from({ length: 5_000 }, (_, i): KeyValue => entry(keys.agents.key(`h${i}`), "junk"));
  const seen = readLook({ ...membershipOf(rows("v1")), ranges: [[], flood, []] }, keys);
  expect(seen.paused).toMatch(/more than 5000 keys/);
  expect(readLook({ ...membershipOf(rows("v1")), ranges: [[], flood.slice(1), []] }, keys).paused).toBeUndefined();
});

describe("agentOf()", () => {
  const member: MemberRow = { ...row("aa"), name: "h1" };

  test("the seat that was written for it comes first", () => {
    const seen = lookOf([member], entry(keys.seats.key("h9"), seat("aa")), entry(keys.agents.key("h1"), agent(1)));
    expect(agentOf(member, seen)).toBe("h9");
  });

  test("then its name, where an agent, a nomination or a volunteer of that name is known", () => {
    expect(agentOf(member, lookOf([member], entry(keys.agents.key("h1"), agent(1))))).toBe("h1");
    expect(agentOf(member, lookOf([member], entry(keys.nominated.key("h1"), "http://other:1")))).toBe("h1");
    expect(agentOf(member, lookOf([member], entry(keys.volunteer.key("h1"), "http://other:1")))).toBe("h1");
  });

  test("with a name, it is nobody's of another name whose nomination or offer somebody gave its URLs", () => {
    // Written by hand, while the member's own keys are deleted and its agent is about to write them again.
    for (const family of [keys.nominated, keys.volunteer]) {
      const seen = lookOf([member], entry(family.key("h6"), member.peerUrls.join()), entry(keys.agents.key("h6"), agent(6)));
      expect(agentOf(member, seen)).toBeUndefined();
    }
  });

  test("before it has started, its peer URLs, in any order, where somebody is nominated or volunteers with them", () => {
    const unstarted: MemberRow = { ...member, name: "", peerUrls: ["http://b:1", "http://a:1"] };
    expect(agentOf(unstarted, lookOf([], entry(keys.nominated.key("h4"), "http://a:1,http://b:1")))).toBe("h4");
    expect(agentOf(unstarted, lookOf([], entry(keys.volunteer.key("h5"), "http://b:1,http://a:1")))).toBe("h5");
    expect(agentOf(unstarted, lookOf([], entry(keys.volunteer.key("h5"), "http://b:1")))).toBeUndefined();
  });

  test("nobody, for a member of a stranger", () => {
    expect(agentOf(member, lookOf([member]))).toBeUndefined();
    expect(agentOf({ ...member, name: "" }, lookOf([member], entry(keys.agents.key(""), agent(1))))).toBeUndefined();
  });
});
