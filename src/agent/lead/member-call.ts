import type { DoneStep, OpenStep } from "../../chooser/index.ts";
import { QuorateError, isRetryable, messageOf } from "../../errors.ts";
import { grantLease, mayHaveHappened, reasonOf, type Compare, type KeyValue, type MemberRow, type Op } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { showDuration } from "../control/policy.ts";
import { short, writeRecord, type StepRecord } from "../control/records.ts";
import { hearDeadlineMs, takingPart, verdict, type GatedCall } from "./gate.ts";
import { done, event, lost, type CarryOutDeps, type Outcome, type Seen, type Why } from "./leader-writes.ts";
import { whyHanging } from "./hanging.ts";
import { freshMs } from "./last-gate.ts";
import { look, type Look } from "./look.ts";
import { dropNomination, putSeat } from "./nominate.ts";
import type { QuietSeen } from "./quiet.ts";
import { differs, hasHappened, rowOfUrls, type Call } from "./second-look.ts";

/** How a call is sent. */
export interface How {
  /** The ideal size or a leave asks for the call. */
  readonly mayLowerTolerance: boolean;
  /** It was recorded earlier, and perhaps sent: until it is known to have happened or to be impossible, the record stays. */
  readonly again: boolean;
}

export const firstTime: How = { mayLowerTolerance: false, again: false };

/** A member call: second look, recorded step, gate, call, and the record closed with what follows from it. */
export async function member(
  deps: CarryOutDeps,
  call: Call,
  { mayLowerTolerance, again: sentBefore }: How,
  why: Why,
  seen: Seen,
  signal: AbortSignal,
): Promise<Outcome> {
  const { client, keys, leadership } = deps;
  const gated: GatedCall = { op: call.op, member: call.member, mayLowerTolerance };
  const backToBack = seen.justNow === true ? shownBefore(deps, gated, seen.look, seen.raftLeader) : undefined;
  const again = backToBack ? seen.look : await look(client, keys, signal);
  const changed = differs(seen.look, again, call);
  if (changed !== undefined) return { held: changed };
  const there = recordIn(again, keys);
  if (hasHappened(call, again)) return close(deps, call, { look: again, record: there }, why, undefined, signal);
  const rows = again.membership.members;
  const { raftLeader } = seen;
  if (raftLeader === undefined) return { held: "no raft leader is known" };
  const hanging =
    call.op === "remove" && call.member !== undefined
      ? await whyHanging(deps, { rows, raftLeader, member: call.member }, signal)
      : undefined;
  if (hanging !== undefined) return { held: hanging };

  const record: StepRecord = { schema: 1, ...call, leaderRevision: leadership.revision };
  const judge = (passed: ReadonlySet<string>): string | undefined =>
    verdict({ rows, call: gated, open: again.step?.value }, passed);
  let written: RecordAt = there;
  const write = async (): Promise<number> => {
    leadership.signal.throwIfAborted();
    const value = writeRecord("step", record);
    const announced = announcements(call, again, keys);
    // An earlier record of this leader that comes late must not take the place of a later one, nor be of a host that has announced otherwise.
    const done = await client.txn(
      {
        compare: [leadership.fence(), isStill(there, keys), ...announced],
        then: [{ put: keys.step, value }],
        else: [{ range: keys.step }, ...announced.map(({ key }) => ({ range: key }))],
      },
      { signal, repeatable: true },
    );
    const [entry] = done.ranges[0] ?? [];
    // It may have been written by a try whose answer was lost.
    if (!done.succeeded && entry?.value !== value) {
      if (announced.some((condition, i) => !isSo(condition, done.ranges[i + 1]?.[0]))) throw announcedOtherwise(call);
      throw lost();
    }
    const revision = done.succeeded ? done.revision : entry!.modRevision;
    written = revision;
    return revision;
  };
  const shown = backToBack ?? shownBefore(deps, gated, again, raftLeader);
  let took: ReadonlySet<string>;
  if (shown !== undefined) {
    await write();
    took = shown;
  } else {
    // A member that is to be removed has three heartbeats to show that it is not dead: now, unless it had them right before.
    const enough = (passed: ReadonlySet<string>, sinceMs: number): boolean =>
      (call.op !== "remove" || sinceMs >= hearDeadlineMs || isQuiet(deps, call, seen.quiet, rows, passed)) &&
      judge(passed) === undefined;
    took = await takingPart(deps, { rows, raftLeader }, write, signal, enough);
  }
  const tookAtMs = deps.clock.nowMs();
  const held = judge(took);
  if (held !== undefined) {
    if (!sentBefore) await takeBack(deps, again, written, signal);
    return { held };
  }
  // Looked at right before the call goes out, which may be late where endpoints do not answer: nothing fences or gates it later.
  const session = {
    check: (): void => {
      leadership.fence();
      if (deps.clock.nowMs() - tookAtMs <= freshMs) return;
      const message = `Cannot send ${call.op}: it could not leave within ${freshMs} ms of its gate`;
      throw new QuorateError("REFUSED", message, { retryable: true, data: { outcome: "none" } });
    },
  };
  const options = { signal, timeoutMs: 2_000, session };
  session.check();
  let added: string | undefined;
  try {
    switch (call.op) {
      case "add-learner":
        added = (await client.addLearner(call.peerUrls ?? [], options)).id;
        break;
      case "promote":
        await client.promote(call.member ?? "", options);
        break;
      case "remove":
        await client.removeMember(call.member ?? "", options);
        break;
      case "update-urls":
        await client.updateMember(call.member ?? "", call.peerUrls ?? [], options);
        break;
    }
  } catch (error) {
    signal.throwIfAborted();
    // A refusal is a wait. After a deadline nobody knows: the step stays open until a look shows what happened.
    if (error instanceof QuorateError && refusals.includes(error.code) && !mayHaveHappened(error)) {
      const reason = error.code === "REFUSED" ? messageOf(error) : `etcd: ${reasonOf(error) || messageOf(error)}`;
      if (!sentBefore) await takeBack(deps, again, written, signal);
      return { held: short(reason), ...(reason.includes("unhealthy cluster") ? { strict: true as const } : {}) };
    }
    if (isRetryable(error)) return { held: short(`${call.op}: ${messageOf(error)}`) };
    throw error;
  }
  if (call.op === "remove") deps.lastGate?.keep(call.member ?? "", rows, raftLeader, took, tookAtMs);
  return close(deps, call, { look: again, record: written }, why, added, signal);
}

type AsSeen = Extract<Compare, { readonly createRevision: number } | { readonly modRevision: number }>;

/**
 * What the host of a voter that is to be removed has announced, a leave or a restart, is as it was seen: a record that waits for a quorum may land long
 * after it was written, and whoever leads then goes by it.
 */
function announcements({ op, agent }: Call, { membership }: Look, { leaving, restarting }: Keys): readonly AsSeen[] {
  if (op !== "remove" || agent === undefined) return [];
  const entries = membership.ranges.flat();
  return [leaving.key(agent), restarting.key(agent)].map((key) => {
    const seen = entries.find((entry) => entry.key === key);
    return seen === undefined ? { key, createRevision: 0 } : { key, modRevision: seen.modRevision };
  });
}

function isSo(condition: AsSeen, entry: KeyValue | undefined): boolean {
  return "modRevision" in condition ? condition.modRevision === entry?.modRevision : entry === undefined;
}

function announcedOtherwise({ agent, member }: Call): QuorateError {
  const message = `Cannot remove ${agent ?? member ?? "a member"}: what it has announced has changed meanwhile`;
  return new QuorateError("CONFLICT", message, { retryable: true });
}

/** By etcd, and by our own look right before the call leaves. */
const refusals: readonly string[] = ["ETCD_REFUSED", "REFUSED"];

/** Longer ago than that, the raft leader's counters say nothing of now. */
const quietMs = 500;

/** Whether a member that is to be removed has just been quiet for three heartbeats, while all others have shown that they take part. */
function isQuiet(
  { clock }: CarryOutDeps,
  { member: id }: Call,
  quiet: QuietSeen | undefined,
  rows: readonly MemberRow[],
  passed: ReadonlySet<string>,
): boolean {
  if (id === undefined || quiet?.members.has(id) !== true || clock.nowMs() - quiet.atMs > quietMs) return false;
  return rows.every((row) => row.id === id || passed.has(row.id));
}

/** What the gate of a removal showed just before, where that lets this call through. */
function shownBefore(
  { lastGate, clock }: CarryOutDeps,
  call: GatedCall,
  { membership, step }: Look,
  raftLeader: string | undefined,
): ReadonlySet<string> | undefined {
  if (call.op !== "promote" || raftLeader === undefined) return undefined;
  const shown = lastGate?.take(membership.members, raftLeader, clock.nowMs());
  return shown && verdict({ rows: membership.members, call, open: step?.value }, shown) === undefined ? shown : undefined;
}

/** A record whose call is not to be sent: closed with what follows where it has happened, dropped where it has not. */
export async function closeOpen(
  deps: CarryOutDeps,
  open: Call & { readonly op: OpenStep["op"] },
  why: Why,
  seen: Seen,
  signal: AbortSignal,
): Promise<Outcome> {
  const again = await look(deps.client, deps.keys, signal);
  if (again.step?.entry.modRevision !== seen.look.step?.entry.modRevision)
    return { held: "the recorded step has changed meanwhile" };
  const record = recordIn(again, deps.keys);
  if (hasHappened(open, again)) return close(deps, open, { look: again, record }, why, undefined, signal);
  const step = { kind: "complete", send: false, op: open.op, agent: open.agent, member: open.member } as const;
  return endRecord(deps, record, [{ del: deps.keys.step }, event(deps, again, step, why)], signal);
}

/** Drops the record that a look has shown, whatever it is of. */
export async function dropRecord(deps: CarryOutDeps, seen: Look, signal: AbortSignal): Promise<Outcome> {
  return endRecord(deps, recordIn(seen, deps.keys), [{ del: deps.keys.step }], signal);
}

/** The record closed, together with what the call means for the nomination, and the event that tells of it. */
async function close(
  deps: CarryOutDeps,
  call: Call,
  { look, record }: { readonly look: Look; readonly record: RecordAt },
  why: Why,
  added: string | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  const { keys, client } = deps;
  const ops: Op[] = [{ del: keys.step }, tell(deps, look, call, added, why)];
  if (call.agent !== undefined) {
    const seat = look.seats.get(call.agent)?.value;
    switch (call.op) {
      case "add-learner": {
        const memberId = added ?? rowOfUrls(call, look);
        if (seat && memberId !== undefined) ops.push(putSeat(keys, call.agent, { ...seat, member: memberId, role: "learner" }));
        ops.push({ put: keys.nominated.key(call.agent), value: (call.peerUrls ?? []).join(",") });
        break;
      }
      case "update-urls":
        ops.push({ put: keys.nominated.key(call.agent), value: (call.peerUrls ?? []).join(",") });
        break;
      case "promote":
        if (seat) ops.push(putSeat(keys, call.agent, { ...seat, role: "voter" }));
        break;
      case "remove":
        if (seat?.member === undefined || seat.member === call.member) ops.push(...dropNomination(keys, call.agent));
        if (call.passOver === true) {
          const lease = await grantLease(client, { ttlMs: deps.passOverMs, clock: deps.clock }, signal);
          ops.push({ put: keys.passedOver.key(call.agent), value: writeRecord("reason", { reason: short(why.because) }), lease });
          const what = `passed ${call.agent} over for ${showDuration(deps.passOverMs)}`;
          ops.push(deps.events.put(look.membership.revision, { step: "pass-over", agent: call.agent, what, ...why }));
        }
        break;
    }
  }
  return endRecord(deps, record, ops, signal);
}

/** Takes the record of a call that was not sent back. The one it had replaced is of a call that may still land: that is open again. */
async function takeBack(deps: CarryOutDeps, { step }: Look, record: RecordAt, signal: AbortSignal): Promise<void> {
  const { step: key } = deps.keys;
  await endRecord(deps, record, [step ? { put: key, value: writeRecord("step", step.value) } : { del: key }], signal);
}

/** The revision of the record of a step; undefined where there is none. */
type RecordAt = number | undefined;

/** Of whatever stands there, readable or not. */
function recordIn({ membership }: Look, { step }: Keys): RecordAt {
  return membership.ranges.flat().find((entry) => entry.key === step)?.modRevision;
}

function isStill(record: RecordAt, { step }: Keys): Compare {
  return record === undefined ? { key: step, createRevision: 0 } : { key: step, modRevision: record };
}

/** Ends one record and no other: a try that comes late, after it was repeated, must not take a later record along. */
async function endRecord(deps: CarryOutDeps, record: RecordAt, then: readonly Op[], signal: AbortSignal): Promise<Outcome> {
  const { leadership, client, keys } = deps;
  leadership.signal.throwIfAborted();
  const result = await client.txn(
    { compare: [leadership.fence(), isStill(record, keys)], then, else: [{ range: keys.step }] },
    { signal, repeatable: true },
  );
  if (result.succeeded) return done;
  // As it was: so it is the leader that is another. Else a try whose answer was lost may have done it; the next look tells.
  if (result.ranges[0]?.[0]?.modRevision === record) throw lost();
  return { held: "the recorded step has changed meanwhile" };
}

/** The event of a member call. */
function tell(deps: CarryOutDeps, look: Look, call: Call, added: string | undefined, why: Why): Op {
  const { op, agent, member: memberId = added ?? "" } = call;
  if (op !== "update-urls") return event(deps, look, stepOf(op, agent, memberId), why);
  const what = `server URLs of ${agent ?? memberId} are ${(call.peerUrls ?? []).join(" and ")} now`;
  return deps.events.put(look.membership.revision, {
    step: op,
    ...(agent === undefined ? {} : { agent }),
    member: memberId,
    what,
    ...why,
  });
}

/** The step that a member call makes. */
function stepOf(op: OpenStep["op"], agent: string | undefined, memberId: string): DoneStep & { readonly member: string } {
  switch (op) {
    case "add-learner":
      return { kind: op, agent: agent ?? "", member: memberId };
    case "promote":
      return { kind: op, agent, member: memberId };
    case "remove":
      return { kind: op, agent, member: memberId };
  }
}
