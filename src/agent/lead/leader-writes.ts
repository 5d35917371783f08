import type { Logger } from "pino";
import { reportStep, type DoneStep, type Facts } from "../../chooser/index.ts";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import type { Compare, EtcdClient, Leadership, Op } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { EventLog, Told } from "./events.ts";
import type { LastGate } from "./last-gate.ts";
import type { Look } from "./look.ts";
import type { QuietSeen } from "./quiet.ts";

/** What the leader writes: each txn is fenced by its election, and tells of itself in an event. */

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

/**
 * What became of a step: done, or held back for a reason that may pass. `strict`: by etcd's strict check, which is content only once
 * all voters have been connected for five seconds.
 */
export type Outcome = { readonly done: true } | { readonly held: string; readonly strict?: true };

export const done: Outcome = { done: true };

/** What a step was planned from. */
export interface Seen {
  readonly look: Look;
  readonly raftLeader: string | undefined;
  /** What the step rests on, to be kept with its event. */
  readonly facts?: Facts | undefined;
  /** The look came right before: planned from it was at once. It is the second look too, where the gate of a removal holds for the step. */
  readonly justNow?: boolean;
  /** By the counters that were read for this look. */
  readonly quiet?: QuietSeen | undefined;
}

/** What an event tells beside the step. */
export type Why = Pick<Told, "because" | "facts">;

/** The event that tells of a step, for the txn that makes it so. */
export function event(deps: CarryOutDeps, seen: Look, step: DoneStep, why: Why): Op {
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

/** A write that only the leader can make. */
export async function fenced(
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

export function lost(): QuorateError {
  return new QuorateError("LEADERSHIP_LOST", "Cannot go on as the leader: another agent leads now", { retryable: true });
}
