import type { Step } from "../../chooser/index.ts";
import type { Op } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { writeRecord, type SeatRecord } from "../control/records.ts";
import type { Look } from "./look.ts";
import { event, fenced, type CarryOutDeps, type Outcome, type Why } from "./leader-writes.ts";

/** Who is to hold a seat, as the leader writes it: the URLs for anyone to see, and the seat's record beside them. */

export async function nominate(
  deps: CarryOutDeps,
  step: Extract<Step, { kind: "nominate" }>,
  why: Why,
  seen: Look,
  signal: AbortSignal,
): Promise<Outcome> {
  const { keys } = deps;
  const { agent, standby } = step;
  const volunteer = seen.volunteers.get(agent);
  const record = seen.agents.get(agent);
  if (!volunteer || !record) return { held: `${agent} does not volunteer any more` };
  const seat: SeatRecord = { schema: 1, instance: record.value.instance, role: "learner", standby };
  // What stands there unread is no nomination, and must not keep one out.
  const key = keys.nominated.key(agent);
  const unread = seen.nominated.has(agent) ? undefined : seen.membership.ranges.flat().find((entry) => entry.key === key);
  return fenced(
    deps,
    [
      { key: volunteer.entry.key, modRevision: volunteer.entry.modRevision },
      unread ? { key, modRevision: unread.modRevision } : { key, createRevision: 0 },
    ],
    [{ put: key, value: volunteer.value.join(",") }, putSeat(keys, agent, seat), event(deps, seen, step, why)],
    signal,
  );
}

/** A voter's nomination that somebody deleted, from what the member list says. */
export async function renominate(
  deps: CarryOutDeps,
  step: Extract<Step, { kind: "renominate" }>,
  why: Why,
  seen: Look,
  signal: AbortSignal,
): Promise<Outcome> {
  const { keys } = deps;
  const { agent, member: memberId } = step;
  const row = seen.membership.members.find((m) => m.id === memberId);
  if (!row) return { held: `member ${memberId} is gone` };
  const before = seen.seats.get(agent)?.value;
  const instance = before?.instance ?? seen.agents.get(agent)?.value.instance;
  if (instance === undefined) return { held: `${agent} is not there to be nominated again` };
  return fenced(
    deps,
    [],
    [
      { put: keys.nominated.key(agent), value: row.peerUrls.join(",") },
      putSeat(keys, agent, {
        schema: 1,
        instance,
        member: memberId,
        role: row.learner ? "learner" : "voter",
        standby: before?.standby ?? false,
      }),
      event(deps, seen, step, why),
    ],
    signal,
  );
}

export function putSeat(keys: Keys, agent: string, seat: SeatRecord): Op {
  return { put: keys.seats.key(agent), value: writeRecord("seat", seat) };
}

export function dropNomination(keys: Keys, agent: string): Op[] {
  return [{ del: keys.nominated.key(agent) }, { del: keys.seats.key(agent) }];
}
