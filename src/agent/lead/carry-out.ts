import type { Facts, OpenStep, Step } from "../../chooser/index.ts";
import { QuorateError, messageOf } from "../../errors.ts";
import { short, type StepRecord } from "../control/records.ts";
import { closeCluster } from "./close-cluster.ts";
import { done, event, fenced, type CarryOutDeps, type Outcome, type Seen, type Why } from "./leader-writes.ts";
import type { Look } from "./look.ts";
import { closeOpen, dropRecord, firstTime, member } from "./member-call.ts";
import { dropNomination, nominate, renominate } from "./nominate.ts";
import { provedUrls, type Call } from "./second-look.ts";

export type { CarryOutDeps, Outcome } from "./leader-writes.ts";

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
  return dropRecord(deps, seen, signal);
}

/** The chooser knows of all calls but one. */
function isPlanned<T extends Pick<StepRecord, "op">>(call: T): call is T & { readonly op: OpenStep["op"] } {
  return call.op !== "update-urls";
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
