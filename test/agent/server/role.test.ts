import { describe, expect, test } from "vitest";
import type { MemberRow, Membership } from "../../../src/etcd/index.ts";
import type { SeatRecord } from "../../../src/agent/control/records.ts";
import { serverRole, type RoleInput } from "../../../src/agent/server/role.ts";

const mine = "00000000-0000-4000-8000-000000000001";
const earlier = "00000000-0000-4000-8000-000000000002";

function row(id: string, name: string): MemberRow {
  return { id, name, peerUrls: [`http://${id}:2380`], clientUrls: [], learner: false };
}

function membership(clusterId: string, ...members: MemberRow[]): Membership {
  return { clusterId, members, revision: 10, ranges: [], endpoint: "http://other:2379" };
}

function nomination(member: string | undefined, instance = mine): SeatRecord {
  return { schema: 1, instance, member, role: "learner", standby: false };
}

const states = {
  "no seat": { instance: mine, clusterId: "c1", seat: undefined },
  "seat aa": { instance: mine, clusterId: "c1", seat: { memberId: "aa", token: "t" } },
} as const;
const datas = ["absent", "empty", "has-data", "damaged"] as const;
const nominations = {
  "no nomination": undefined,
  "nominated, no member": nomination(undefined),
  "nominated as aa": nomination("aa"),
  "nominated as bb": nomination("bb"),
  "nominated as aa, earlier instance": nomination("aa", earlier),
} as const;
const memberships = {
  "not read": undefined,
  "aa never ran": membership("c1", row("ff", "h0"), row("aa", "")),
  "aa has run": membership("c1", row("ff", "h0"), row("aa", "h1")),
  "bb never ran": membership("c1", row("ff", "h0"), row("bb", "")),
  neither: membership("c1", row("ff", "h0")),
  "another cluster's": membership("c2", row("ff", "h0")),
} as const;

type StateName = keyof typeof states;
type NominationName = keyof typeof nominations;
type MembershipName = keyof typeof memberships;

interface Case {
  readonly state: StateName;
  readonly data: RoleInput["data"];
  readonly running: boolean;
  readonly nominated: NominationName;
  readonly listed: MembershipName;
}

/** Every combination there is. A server runs only for a seat. */
const all: readonly Case[] = (Object.keys(states) as StateName[]).flatMap((state) =>
  datas.flatMap((data) =>
    (state === "no seat" ? [false] : [false, true]).flatMap((running) =>
      (Object.keys(nominations) as NominationName[]).flatMap((nominated) =>
        (Object.keys(memberships) as MembershipName[]).map((listed) => ({ state, data, running, nominated, listed })),
      ),
    ),
  ),
);

function roleOf({ state, data, running, nominated, listed }: Case): string {
  const role = serverRole({
    state: states[state],
    data,
    running,
    nomination: nominations[nominated],
    membership: memberships[listed],
  });
  return "memberId" in role ? `${role.kind} ${role.memberId}` : role.kind;
}

const listsAa = (listed: MembershipName): boolean => listed === "aa never ran" || listed === "aa has run";
const unknown = (listed: MembershipName): boolean => listed === "not read" || listed === "another cluster's";

describe("with a seat", () => {
  const seated = all.filter((one) => one.state === "seat aa");

  test("only absence from its own cluster's membership gives it up, whatever else is so", () => {
    for (const one of seated) {
      const gone = !unknown(one.listed) && !listsAa(one.listed);
      expect([one, roleOf(one) === "give-up aa"]).toEqual([one, gone]);
    }
  });

  test("what runs goes on: no nomination stops it, not even one for another seat or another instance", () => {
    for (const one of seated) {
      if (!one.running || roleOf(one) === "give-up aa") continue;
      expect([one, roleOf(one)]).toEqual([one, "run aa"]);
    }
  });

  test("its own data is started without asking anybody, and without a nomination", () => {
    for (const one of seated) {
      if (one.data !== "has-data" || roleOf(one) === "give-up aa") continue;
      expect([one, roleOf(one)]).toEqual([one, "run aa"]);
    }
  });

  test("without data nothing is decided before membership was read", () => {
    for (const one of seated) {
      if (one.running || one.data === "has-data" || !unknown(one.listed)) continue;
      expect([one, roleOf(one)]).toEqual([one, "look"]);
    }
  });

  test("without data it never starts under an id that may have run: only the very first start may be repeated", () => {
    for (const one of seated) {
      if (one.running || one.data === "has-data" || !listsAa(one.listed)) continue;
      const first = one.listed === "aa never ran" && one.nominated === "nominated as aa" && one.data !== "damaged";
      expect([one, roleOf(one)]).toEqual([one, first ? "join aa" : "lost-data"]);
    }
  });
});

describe("without a seat", () => {
  const unseated = all.filter((one) => one.state === "no seat");

  test("nothing starts without a nomination that names a member", () => {
    for (const one of unseated) {
      if (one.nominated !== "no nomination" && one.nominated !== "nominated, no member") continue;
      const unknownData = one.nominated === "nominated, no member" && (one.data === "has-data" || one.data === "damaged");
      expect([one, roleOf(one)]).toEqual([one, unknownData ? "lost-data" : "idle"]);
    }
  });

  test("it joins only as a member that never ran, added for this very instance, into an empty folder", () => {
    for (const one of unseated) {
      const fits =
        (one.nominated === "nominated as aa" && one.listed === "aa never ran") ||
        (one.nominated === "nominated as bb" && one.listed === "bb never ran");
      const empty = one.data === "absent" || one.data === "empty";
      expect([one, roleOf(one).startsWith("join")]).toEqual([one, fits && empty]);
    }
  });

  test("a nomination is not believed before membership was read, and not for a member that is not listed", () => {
    const nominated = { state: "no seat", data: "absent", running: false, nominated: "nominated as aa" } as const;
    expect(roleOf({ ...nominated, listed: "not read" })).toBe("look");
    expect(roleOf({ ...nominated, listed: "another cluster's" })).toBe("look");
    expect(roleOf({ ...nominated, listed: "neither" })).toBe("idle");
  });

  test("a seat of an earlier instance, or one that has run, is reported as lost and never started", () => {
    const empty = { state: "no seat", data: "empty", running: false } as const;
    expect(roleOf({ ...empty, nominated: "nominated as aa, earlier instance", listed: "aa never ran" })).toBe("lost-data");
    expect(roleOf({ ...empty, nominated: "nominated as aa", listed: "aa has run" })).toBe("lost-data");
  });
});

test("every combination has a role, and whatever waits or is lost says why", () => {
  expect(all).toHaveLength(2 * 4 * 5 * 6 + 4 * 5 * 6);
  for (const one of all) {
    const role = serverRole({
      state: states[one.state],
      data: one.data,
      running: one.running,
      nomination: nominations[one.nominated],
      membership: memberships[one.listed],
    });
    if ("because" in role) expect(role.because).toMatch(/\w/);
    // Nothing is done twice: whoever runs is never asked to join or to begin again.
    if (one.running) expect(["run", "give-up"]).toContain(role.kind);
  }
});

test("a host that does not know its cluster yet gives nothing up for what some cluster says", () => {
  const role = serverRole({
    state: { instance: mine, clusterId: undefined, seat: { memberId: "aa", token: "t" } },
    data: "has-data",
    running: true,
    nomination: undefined,
    membership: memberships.neither,
  });
  expect(role).toEqual({ kind: "run", memberId: "aa" });
});

test("it joins with the members as they are listed", () => {
  const role = serverRole({
    state: states["no seat"],
    data: "absent",
    running: false,
    nomination: nominations["nominated as aa"],
    membership: memberships["aa never ran"],
  });
  expect(role).toMatchObject({ members: [{ id: "ff" }, { id: "aa" }] });
});
