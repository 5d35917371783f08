import type { MemberSeen, VolunteerSeen } from "./snapshot.ts";

/** How many of these seats each zone has. */
export function crowdOf(seats: readonly MemberSeen[]): ReadonlyMap<string, number> {
  const crowd = new Map<string, number>();
  for (const { zone } of seats) crowd.set(zone, (crowd.get(zone) ?? 0) + 1);
  return crowd;
}

/** Who gets a seat first: the zone least represented, higher priority, longest stable, hostname. A total order. */
export function byNomination(crowd: ReadonlyMap<string, number>): (a: VolunteerSeen, b: VolunteerSeen) => number {
  return (a, b) =>
    (crowd.get(a.zone) ?? 0) - (crowd.get(b.zone) ?? 0) ||
    b.priority - a.priority ||
    a.sinceRevision - b.sinceRevision ||
    byText(a.agent, b.agent);
}

/** Who loses its seat first: unhealthy, zone most crowded, lower priority, not the raft leader, youngest, hostname. A total order. */
export function byRemoval(crowd: ReadonlyMap<string, number>): (a: MemberSeen, b: MemberSeen) => number {
  return (a, b) =>
    Number(takesPart(a)) - Number(takesPart(b)) ||
    (crowd.get(b.zone) ?? 0) - (crowd.get(a.zone) ?? 0) ||
    a.priority - b.priority ||
    Number(a.raftLeader) - Number(b.raftLeader) ||
    b.sinceRevision - a.sinceRevision ||
    byText(b.agent ?? "", a.agent ?? "") ||
    byText(a.id, b.id);
}

/** It answered, and nothing says that the raft leader does not hear it. */
export function takesPart(member: MemberSeen): boolean {
  return member.answers && member.heard !== false;
}

/** By code unit: the same on every machine, whatever its locale. */
export function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
