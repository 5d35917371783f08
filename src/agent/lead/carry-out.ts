import type { Logger } from "pino";
import { reportStep, type DoneStep, type Facts, type OpenStep, type Step } from "../../chooser/index.ts";
import type { Clock } from "../../clock.ts";
import { QuorateError, isRetryable, messageOf } from "../../errors.ts";
import {
  grantLease,
  mayHaveHappened,
  reasonOf,
  type Compare,
  type EtcdClient,
  type Leadership,
  type Op,
} from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { short, writeRecord, type SeatRecord, type StepRecord } from "../control/records.ts";
import { showDuration } from "../control/policy.ts";
import { closeCluster } from "./close-cluster.ts";
import type { EventLog, Told } from "./events.ts";
import { hearDeadlineMs, takingPart, verdict, type GatedCall } from "./gate.ts";
import type { LastGate } from "./last-gate.ts";
import { look, type Look } from "./look.ts";

export interface CarryOutDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger;
  readonly leadership: Leadership;
  readonly events: EventLog;
  /** How long an agent whose learner failed is passed over. */
  readonly passOverMs: number;
  /** Of this leader: what its last gate showed. Without it every call has a gate of its own. */
  readonly lastGate?: LastGate;
}

/** What became of a step: done, or held back for a reason that may pass. */
export type Outcome = { readonly done: true } | { readonly held: string };

const done: Outcome = { done: true };

interface Seen {
  readonly look: Look;
  readonly raftLeader: string | undefined;
  /** What the step rests on, to be kept with its event. */
  readonly facts?: Facts | undefined;
}

/**
 * Carries out one step, after a second look: it does nothing if what the plan rests on has changed. Carrying out a step that has
 * been done already is not an error.
 */
export async function carryOut(
  deps: CarryOutDeps,
  step: Step,
  because: string,
  seen: Seen,
  signal: AbortSignal,
): Promise<Outcome> {
  const why: Why = { because, facts: seen.facts };
  switch (step.kind) {
    case "nominate":
      return nominate(deps, step, why, seen.look, signal);
    case "renominate":
      return renominate(deps, step, why, seen.look, signal);
    case "withdraw":
      return fenced(deps, [], [...dropNomination(deps.keys, step.agent), event(deps, seen.look, step, why)], signal);
    case "move-leader":
      return moveLeader(deps, step, why, seen, signal);
    case "add-learner": {
      if (!seen.look.nominated.has(step.agent)) return { held: `the nomination of ${step.agent} is gone` };
      // What the volunteer was proved to answer on, not what stands in a key that anyone can write.
      const peerUrls = seen.look.volunteers.get(step.agent)?.value;
      if (!peerUrls) return { held: `${step.agent} does not volunteer any more` };
      return member(deps, { op: "add-learner", agent: step.agent, peerUrls: [...peerUrls] }, firstTime, why, seen, signal);
    }
    case "promote":
      return member(deps, { op: "promote", agent: step.agent, member: step.member }, firstTime, why, seen, signal);
    case "remove": {
      const how = { mayLowerTolerance: step.cause === "surplus" || step.cause === "leaving", again: false };
      return member(
        deps,
        { op: "remove", agent: step.agent, member: step.member, passOver: step.passOver },
        how,
        why,
        seen,
        signal,
      );
    }
    case "close":
      return closeCluster(deps, step, why, seen.look, signal);
    case "complete": {
      const open = seen.look.step?.value;
      if (!open || !isPlanned(open)) return done;
      // URLs that are not the volunteer's own by now were never proved.
      const proved = open.op !== "add-learner" || provedUrls(open, seen.look);
      return step.send && proved
        ? member(deps, open, { mayLowerTolerance: true, again: true }, why, seen, signal)
        : closeOpen(deps, open, why, seen, signal);
    }
  }
}

/** Tells etcd the server URLs that a voter serves on by now. The same care as for any other member call. */
export function updateUrls(
  deps: CarryOutDeps,
  { agent, member: id, urls }: { readonly agent: string; readonly member: string; readonly urls: readonly string[] },
  why: { readonly because: string; readonly facts: Facts | undefined },
  seen: Seen,
  signal: AbortSignal,
): Promise<Outcome> {
  const again = seen.look.step?.value.op === "update-urls";
  const call: Call = { op: "update-urls", agent, member: id, peerUrls: [...urls] };
  return member(deps, call, { mayLowerTolerance: false, again }, why, seen, signal);
}

/** Drops the record of a change of URLs that is not wanted any more; it would do no harm, as the next look sees what the URLs are. */
export async function dropUpdate(deps: CarryOutDeps, seen: Look, signal: AbortSignal): Promise<Outcome> {
  return endRecord(deps, recordIn(seen, deps.keys), [{ del: deps.keys.step }], signal);
}

/** What an event tells beside the step. */
type Why = Pick<Told, "because" | "facts">;

/** The chooser knows of all calls but one. */
function isPlanned<T extends Pick<StepRecord, "op">>(call: T): call is T & { readonly op: OpenStep["op"] } {
  return call.op !== "update-urls";
}

type Call = Omit<StepRecord, "schema" | "leaderRevision">;

interface How {
  /** The ideal size or a leave asks for the call. */
  readonly mayLowerTolerance: boolean;
  /** It was recorded earlier, and perhaps sent: until it is known to have happened or to be impossible, the record stays. */
  readonly again: boolean;
}

const firstTime: How = { mayLowerTolerance: false, again: false };

/** A member call: second look, recorded step, gate, call, and the record closed with what follows from it. */
async function member(
  deps: CarryOutDeps,
  call: Call,
  { mayLowerTolerance, again: sentBefore }: How,
  why: Why,
  seen: Seen,
  signal: AbortSignal,
): Promise<Outcome> {
  const { client, keys, leadership } = deps;
  const again = await look(client, keys, signal);
  const changed = differs(seen.look, again, call);
  if (changed !== undefined) return { held: changed };
  const there = recordIn(again, keys);
  if (hasHappened(call, again)) return close(deps, call, { look: again, record: there }, why, undefined, signal);
  const rows = again.membership.members;
  const { raftLeader } = seen;
  if (raftLeader === undefined) return { held: "no raft leader is known" };

  const record: StepRecord = { schema: 1, ...call, leaderRevision: leadership.revision };
  const gated: GatedCall = { op: call.op, member: call.member, mayLowerTolerance };
  const judge = (passed: ReadonlySet<string>): string | undefined =>
    verdict({ rows, call: gated, open: again.step?.value }, passed);
  let written: RecordAt = there;
  const write = async (): Promise<number> => {
    leadership.signal.throwIfAborted();
    const value = writeRecord("step", record);
    // An earlier record of this leader that comes late must not take the place of a later one.
    const done = await client.txn(
      { compare: [leadership.fence(), isStill(there, keys)], then: [{ put: keys.step, value }], else: [{ range: keys.step }] },
      { signal, repeatable: true },
    );
    const entry = done.ranges[0]?.[0];
    // It may have been written by a try whose answer was lost.
    if (!done.succeeded && entry?.value !== value) throw lost();
    const revision = done.succeeded ? done.revision : entry!.modRevision;
    written = revision;
    return revision;
  };
  const shown = call.op === "promote" ? deps.lastGate?.take(rows, raftLeader, deps.clock.nowMs()) : undefined;
  let took: ReadonlySet<string>;
  if (shown !== undefined && judge(shown) === undefined) {
    await write();
    took = shown;
  } else {
    // A member that is to be removed has three heartbeats to show that it is not dead.
    const enough = (passed: ReadonlySet<string>, sinceMs: number): boolean =>
      (call.op !== "remove" || sinceMs >= hearDeadlineMs) && judge(passed) === undefined;
    took = await takingPart(deps, { rows, raftLeader }, write, signal, enough);
  }
  const tookAtMs = deps.clock.nowMs();
  const held = judge(took);
  if (held !== undefined) {
    if (!sentBefore) await takeBack(deps, again, written, signal);
    return { held };
  }
  // The lease is checked against the clock right before the call goes out: nothing fences it later.
  leadership.fence();
  let added: string | undefined;
  try {
    switch (call.op) {
      case "add-learner":
        added = (await client.addLearner(call.peerUrls ?? [], { signal, timeoutMs: 2_000 })).id;
        break;
      case "promote":
        await client.promote(call.member ?? "", { signal, timeoutMs: 2_000 });
        break;
      case "remove":
        await client.removeMember(call.member ?? "", { signal, timeoutMs: 2_000 });
        break;
      case "update-urls":
        await client.updateMember(call.member ?? "", call.peerUrls ?? [], { signal, timeoutMs: 2_000 });
        break;
    }
  } catch (error) {
    signal.throwIfAborted();
    // A refusal is a wait. After a deadline nobody knows: the step stays open until a look shows what happened.
    if (error instanceof QuorateError && error.code === "ETCD_REFUSED" && !mayHaveHappened(error)) {
      if (!sentBefore) await takeBack(deps, again, written, signal);
      return { held: short(`etcd: ${reasonOf(error) || messageOf(error)}`) };
    }
    if (isRetryable(error)) return { held: short(`${call.op}: ${messageOf(error)}`) };
    throw error;
  }
  if (call.op === "remove") deps.lastGate?.keep(call.member ?? "", rows, raftLeader, took, tookAtMs);
  return close(deps, call, { look: again, record: written }, why, added, signal);
}

/** A record whose call is not to be sent: closed with what follows where it has happened, dropped where it has not. */
async function closeOpen(
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

/** Why the plan no longer rests on what is there; undefined when it does. */
function differs(before: Look, now: Look, call: Call): string | undefined {
  const rows = (look: Look): string =>
    look.membership.members
      .map((row) => `${row.id} ${String(row.learner)}`)
      .sort()
      .join();
  if (rows(before) !== rows(now)) return "the member list has changed meanwhile";
  if (before.membership.clusterId !== now.membership.clusterId) return "the cluster has changed";
  if (before.paused !== now.paused) return "the chooser was paused meanwhile";
  if (call.agent === undefined) return undefined;
  const seatOf = (look: Look): number | undefined => look.seats.get(call.agent ?? "")?.entry.modRevision;
  if (seatOf(before) !== seatOf(now)) return `the nomination of ${call.agent} has changed meanwhile`;
  if (before.leaving.has(call.agent) !== now.leaving.has(call.agent)) return `${call.agent} has changed its mind about leaving`;
  if (call.op === "add-learner" && !provedUrls(call, now)) return `${call.agent} does not volunteer any more with these URLs`;
  return undefined;
}

/** The URLs to be added are those the volunteer offers: the plan rests on their pre-flight. */
function provedUrls(call: Call, now: Look): boolean {
  const offered = call.agent === undefined ? undefined : now.volunteers.get(call.agent);
  return offered !== undefined && offered.value.join() === call.peerUrls?.join();
}

function hasHappened(call: Call, now: Look): boolean {
  const rows = now.membership.members;
  switch (call.op) {
    case "add-learner":
      return rowOfUrls(call, now) !== undefined;
    case "promote":
      return rows.some((row) => row.id === call.member && !row.learner);
    case "remove":
      return !rows.some((row) => row.id === call.member);
    case "update-urls":
      return rowOfUrls(call, now) === call.member;
  }
}

function rowOfUrls(call: Call, now: Look): string | undefined {
  const own = [...(call.peerUrls ?? [])].sort().join();
  return now.membership.members.find((row) => [...row.peerUrls].sort().join() === own)?.id;
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

async function nominate(
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
async function renominate(
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

async function moveLeader(
  deps: CarryOutDeps,
  step: Extract<Step, { kind: "move-leader" }>,
  why: Why,
  seen: Seen,
  signal: AbortSignal,
): Promise<Outcome> {
  const url = seen.look.membership.members.find((row) => row.id === step.from)?.clientUrls[0];
  if (url === undefined) return { held: `raft leader ${step.from} has no client URL` };
  deps.leadership.signal.throwIfAborted();
  try {
    await deps.client.moveLeader(url, step.to, { signal, timeoutMs: 2_000 });
    return await fenced(deps, [], [event(deps, seen.look, step, why)], signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof QuorateError) return { held: short(`move-leader: ${messageOf(error)}`) };
    throw error;
  }
}

function putSeat(keys: Keys, agent: string, seat: SeatRecord): Op {
  return { put: keys.seats.key(agent), value: writeRecord("seat", seat) };
}

function dropNomination(keys: Keys, agent: string): Op[] {
  return [{ del: keys.nominated.key(agent) }, { del: keys.seats.key(agent) }];
}

/** The event that tells of a step, for the txn that makes it so. */
function event(deps: CarryOutDeps, seen: Look, step: DoneStep, why: Why): Op {
  const { agent, member: memberId } = subjectOf(step);
  return deps.events.put(seen.membership.revision, {
    step: step.kind,
    ...(agent === undefined ? {} : { agent }),
    ...(memberId === undefined ? {} : { member: memberId }),
    what: reportStep(step),
    ...why,
  });
}

function subjectOf(step: DoneStep): { readonly agent: string | undefined; readonly member?: string | undefined } {
  return step.kind === "move-leader" ? { agent: step.toAgent, member: step.to } : step;
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

/** A write that only the leader can make. */
async function fenced(
  deps: CarryOutDeps,
  compare: readonly Compare[],
  then: readonly Op[],
  signal: AbortSignal,
): Promise<Outcome> {
  const { leadership, client } = deps;
  leadership.signal.throwIfAborted();
  const result = await client.txn(
    { compare: [leadership.fence(), ...compare], then },
    { signal, repeatable: compare.length === 0 },
  );
  if (result.succeeded) return done;
  if (compare.length === 0) throw lost();
  return { held: "what the plan rests on has changed meanwhile" };
}

function lost(): QuorateError {
  return new QuorateError("LEADERSHIP_LOST", "Cannot go on as the leader: another agent leads now", { retryable: true });
}
