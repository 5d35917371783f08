import type { ClusterSnapshot, Plan, Wish } from "../../chooser/index.ts";
import { differingFlags, whoCanNotLead, type ClusterPolicy } from "../control/policy.ts";
import { mostWishesTold, short, type PlanRecord } from "../control/records.ts";
import type { Outcome } from "./leader-writes.ts";
import type { Look } from "./look.ts";

/** What a leader shows of its plan: what it does or waits for and why, and what operators should know. */
export function planRecordOf(
  leader: string,
  { look, snapshot, policy }: { readonly look: Look; readonly snapshot: ClusterSnapshot; readonly policy: ClusterPolicy },
  next: Plan,
  outcome: Outcome | undefined,
): PlanRecord {
  const voters = snapshot.members.filter((m) => m.role === "voter");
  const quorum = Math.floor(voters.length / 2) + 1;
  const unfit = snapshot.volunteers.flatMap(({ agent, preflight }) =>
    preflight.state === "failed" ? [{ agent, reason: short(preflight.reason) }] : [],
  );
  return {
    schema: 1,
    leader,
    ideal: snapshot.idealClusterSize,
    ...(snapshot.closing === undefined ? {} : { closing: true }),
    ...(look.size.refused === undefined ? {} : { sizeRefused: short(look.size.refused) }),
    kind: "step" in next ? "step" : "waiting" in next ? "waiting" : "settled",
    because: short(next.because),
    failureTolerance: voters.filter((m) => m.answers).length - quorum,
    ...("settled" in next && next.settled.blockedBy !== undefined ? { blockedBy: short(next.settled.blockedBy) } : {}),
    ...("settled" in next && next.settled.next !== undefined ? { next: short(next.settled.next) } : {}),
    ...(outcome && "held" in outcome ? { held: outcome.held } : {}),
    ...(unfit.length === 0 ? {} : { unfit: unfit.toSorted((a, b) => (a.agent < b.agent ? -1 : 1)).slice(0, 20) }),
    ...(snapshot.wish === undefined ? {} : { wish: wishTold(snapshot.wish) }),
    voters: voters.length,
    learners: snapshot.members.length - voters.length,
    notices: notices(look, snapshot, policy),
  };
}

function wishTold(wish: Wish): NonNullable<PlanRecord["wish"]> {
  if ("failed" in wish) return { by: wish.by, why: short(wish.why) };
  return { by: wish.by, seats: wish.seats.filter((name) => name.length <= 253).slice(0, mostWishesTold) };
}

function notices(look: Look, snapshot: ClusterSnapshot, policy: ClusterPolicy): string[] {
  const said: string[] = [];
  for (const member of snapshot.members) {
    if (member.agent === undefined) said.push(`member ${member.id} was not added by Quorate and is never removed by it`);
  }
  const flags = differingFlags(new Map([...look.agents].map(([host, { value }]) => [host, value.flags ?? {}])), policy);
  if (flags !== undefined) said.push(flags);
  const idle = whoCanNotLead(
    policy.chooser,
    [...look.agents].map(([host, { value }]) => [host, value] as const),
  );
  if (idle !== undefined) said.push(idle);
  const { wish } = snapshot;
  if (wish !== undefined) {
    for (const wrong of "failed" in wish ? [wish.why] : wish.faults)
      said.push(`the answer of the chooser ${wish.by} is wrong: ${wrong}`);
  }
  for (const why of look.refused.slice(0, 10)) said.push(`unreadable key ${why}`);
  return said.map(short).slice(0, 20);
}
