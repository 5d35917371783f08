import { describe, expect, test } from "vitest";
import { movedMember } from "../../../src/agent/lead/addresses.ts";
import { writeRecord } from "../../../src/agent/control/records.ts";
import type { KeyValue } from "../../../src/etcd/index.ts";
import { agentRecord } from "./leader.ts";
import { entry, keys, lookOf, row, uuid } from "./rows.ts";

const lease = "77";
const there = ["http://192.0.2.2:2380"];

interface Host {
  readonly member: string;
  /** The lease of its offer. */
  readonly lease?: string;
  readonly server?: "none" | "serving" | "starting";
  /** The member that its agent says it runs. */
  readonly runs?: string;
  readonly offers?: string;
}

/** Host `a` with that member, as its keys tell. */
function hostA(host: Host): KeyValue[] {
  const { member, lease: offered = lease, server = "serving", runs = member, offers = there.join() } = host;
  const role = member.startsWith("c") ? "learner" : "voter";
  return [
    entry(keys.seats.key("a"), writeRecord("seat", { schema: 1, instance: uuid(1), member, role, standby: false })),
    entry(keys.agents.key("a"), agentRecord(1, { server, member: runs }), { lease }),
    entry(keys.volunteer.key("a"), offers, { lease: offered }),
  ];
}

const voters = [row("a1"), row("b2")];
const learner = { ...row("c3"), learner: true };
const all = (): boolean => true;

describe("movedMember()", () => {
  test("is a voter whose agent runs it and offers other URLs than etcd has", () => {
    expect(movedMember(lookOf(voters, ...hostA({ member: "a1" })), all)).toEqual({
      agent: "a",
      member: "a1",
      learner: false,
      urls: there,
      before: ["http://a1:2380"],
    });
  });

  test("is a learner, also one whose server could not start with what etcd has", () => {
    const keysOf = hostA({ member: "c3", server: "starting" });
    expect(movedMember(lookOf([...voters, learner], ...keysOf), () => false)).toMatchObject({ member: "c3", learner: true });
  });

  test.each<[string, Host]>([
    ["a host that is where it was, written in another way", { member: "a1", offers: "http://A1:2380" }],
    ["an offer that nobody's lease holds", { member: "a1", lease: "0" }],
    ["an offer on another lease than the agent's own", { member: "a1", lease: "78" }],
    ["an agent whose server does not run", { member: "a1", server: "none" }],
    ["an agent that runs another member", { member: "a1", runs: "b2" }],
    ["the address of another member", { member: "a1", offers: "http://b2:2380" }],
    ["URLs of which one is another member's", { member: "a1", offers: "http://192.0.2.2:2380,http://b2:2380" }],
  ])("is not %s", (_what, host) => {
    expect(movedMember(lookOf(voters, ...hostA(host)), all)).toBeUndefined();
  });

  test("is no voter whose server does not answer, nor one that leaves", () => {
    const keysOf = hostA({ member: "a1" });
    expect(movedMember(lookOf(voters, ...keysOf), (id) => id !== "a1")).toBeUndefined();
    const leaves = entry(keys.leaving.key("a"), '{"reason":"x"}');
    expect(movedMember(lookOf(voters, ...keysOf, leaves), all)).toBeUndefined();
  });
});
