import type { Logger } from "pino";
import { plan, defaultPolicy, type ChooserPolicy, type ClusterSnapshot, type Plan } from "../../chooser/index.ts";
import { firstOf, type Clock } from "../../clock.ts";
import { QuorateError, isRetryable, messageOf } from "../../errors.ts";
import { watchRange, type EndpointStatus, type EtcdClient, type Leadership } from "../../etcd/index.ts";
import { quote, type Keys } from "../../keys.ts";
import type { ControlView } from "../control-view.ts";
import { firstMarker, firstPolicy } from "../first-keys.ts";
import { Doorbell } from "../doorbell.ts";
import { short, writeRecord, type PlanRecord } from "../records.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { carryOut, type Outcome } from "./carry-out.ts";
import { hear } from "./gate.ts";
import { look, statuses, type Look } from "./look.ts";
import { Memory, raftLeaderOf, volunteersSeen } from "./memory.ts";
import { Preflights } from "./preflight.ts";

export interface LeadDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: ControlView;
  readonly options: ResolvedOptions;
}

/** Least time between looks that nothing but a bell asked for. */
const paceMs = 20;
/** After a step was held back. */
const heldMs = 150;
/** While a learner starts or catches up, which has no watch. */
const learnerMs = 100;
const waitingMs = 1_000;
const settledMs = 2_000;
const statusMs = 1_000;
const passOverMs = 60_000;
/** How long a step that is under way may go on after a stop. */
const shieldMs = 3_000;

/** What one round of the leader brought about. */
interface Round {
  readonly next: Plan;
  readonly outcome: Outcome | undefined;
}

/** Observe, plan, carry out, look again: runs while this agent leads, until aborted. Throws what trying again cannot mend. */
export async function lead(deps: LeadDeps, leadership: Leadership, signal: AbortSignal): Promise<never> {
  const { clock, client, keys, log, view } = deps;
  const own = AbortSignal.any([signal, leadership.signal]);
  const bell = new Doorbell();
  view.subscribe(bell, own);
  const leader = new Leader(deps, leadership, () => {
    bell.ring();
  });
  log.info({ revision: leadership.revision }, "leading");
  const ring = (): void => {
    bell.ring();
  };
  const watching = { clock, log };
  try {
    return await firstOf<never>(
      own,
      (s) => watchRange(client, keys.volunteer, ring, watching, s),
      (s) => watchRange(client, { start: keys.idealClusterSize, end: `${keys.idealClusterSize}\0` }, ring, watching, s),
      (s) => rounds(leader, bell, clock, log, s),
    );
  } finally {
    await leader.close();
  }
}

async function rounds(leader: Leader, bell: Doorbell, clock: Clock, log: Logger, signal: AbortSignal): Promise<never> {
  for (;;) {
    let waitMs = waitingMs;
    try {
      const { next, outcome } = await leader.round(signal);
      if (outcome && "done" in outcome) continue; // etcd has no watch on its member list: after a step, look again unasked.
      if (outcome) {
        await clock.sleep(heldMs, signal);
        continue;
      }
      if ("settled" in next) waitMs = settledMs;
      else if ("waiting" in next && next.waiting.on === "learner") waitMs = learnerMs;
    } catch (error) {
      signal.throwIfAborted();
      if (!isRetryable(error) || error.code === "LEADERSHIP_LOST") throw error;
      log.warn({ err: error }, "round failed; looking again");
    }
    await clock.sleep(paceMs, signal);
    await firstOf<void>(
      signal,
      (own) => bell.wait(own),
      (own) => clock.sleep(waitMs, own),
    );
  }
}

/** Runs a task that goes on for at most `ms` after the signal has fired. */
async function shielded<T>(signal: AbortSignal, ms: number, clock: Clock, task: (own: AbortSignal) => Promise<T>): Promise<T> {
  const own = new AbortController();
  const over = new AbortController();
  const late = (): void => {
    clock.sleep(ms, over.signal).then(
      () => {
        own.abort(signal.reason);
      },
      () => undefined,
    );
  };
  signal.addEventListener("abort", late, { once: true });
  try {
    return await task(own.signal);
  } finally {
    signal.removeEventListener("abort", late);
    over.abort();
  }
}

class Leader {
  readonly #deps: LeadDeps;
  readonly #leadership: Leadership;
  readonly #memory: Memory;
  readonly #preflights: Preflights;
  readonly #done = new AbortController();
  #marker: string | undefined;
  #policy: string | undefined;
  #published = "";
  #said = "";

  constructor(deps: LeadDeps, leadership: Leadership, ring: () => void) {
    this.#deps = deps;
    this.#leadership = leadership;
    this.#memory = new Memory(deps.clock.nowMs());
    this.#preflights = new Preflights({ ...deps, leadership, done: ring });
  }

  async close(): Promise<void> {
    this.#done.abort(new DOMException("Not the leader any more", "AbortError"));
    await this.#preflights.idle();
  }

  async round(signal: AbortSignal): Promise<Round> {
    const { client, keys, log, options } = this.#deps;
    const seen = await look(client, keys, signal);
    // Whoever has left has nothing more to decide; the step in which it was let go is done.
    if (seen.leaving.has(options.hostname) && !seen.seats.has(options.hostname)) {
      throw new QuorateError("LEADERSHIP_LOST", "Cannot go on as the leader: this agent has left", { retryable: true });
    }
    const answers = await statuses(client, seen.membership.members, statusMs, signal);
    const snapshot = await this.#snapshot(seen, answers, signal);
    const policy = policyOf(seen, options);
    const next = plan(snapshot, policy);
    const largest = Math.max(0, ...[...answers.values()].map((status) => status.dbSize));
    this.#preflights.ensure(seen, largest, this.#done.signal);
    await this.#keepSize(seen, signal);
    await this.#keepFirstKeys(seen, signal);
    let outcome: Outcome | undefined;
    if ("step" in next) {
      const raftLeader = raftLeaderOf(seen.membership.members, answers);
      const { step, because } = next;
      const deps = { ...this.#deps, leadership: this.#leadership, passOverMs };
      // A stop must not tear a member call from its record: the step is finished, or given up a little later.
      outcome = await shielded(signal, shieldMs, this.#deps.clock, (s) =>
        carryOut(deps, step, because, { look: seen, raftLeader }, s),
      );
      log.info({ step: next.step, because: next.because, ...outcome }, "done" in outcome ? "step carried out" : "step held back");
    } else if (next.because !== this.#said) {
      log.info(
        { because: next.because, ...("waiting" in next ? { waiting: next.waiting } : { settled: next.settled }) },
        "planned",
      );
    }
    this.#said = next.because;
    // After a step that was done, the next round comes at once and has more to tell.
    if (!outcome || "held" in outcome) await this.#publish(seen, snapshot, next, outcome, signal);
    return { next, outcome };
  }

  async #snapshot(seen: Look, answers: ReadonlyMap<string, EndpointStatus>, signal: AbortSignal): Promise<ClusterSnapshot> {
    const { client, clock, options } = this.#deps;
    const rows = seen.membership.members;
    const silent = rows.some((row) => !answers.has(row.id));
    const heard = silent ? await hear(client, rows, raftLeaderOf(rows, answers), signal) : undefined;
    const nowMs = clock.nowMs();
    return {
      planner: options.hostname,
      idealClusterSize: idealOf(seen, options),
      members: this.#memory.members({ nowMs, look: seen, statuses: answers, heard }),
      volunteers: volunteersSeen(seen, (host, at) => this.#preflights.of(host, at)),
      nominations: [...seen.nominated.keys()].map((agent) => {
        const seat = seen.seats.get(agent)?.value;
        return { agent, member: seat?.member, standby: seat?.standby ?? false };
      }),
      leaving: [...seen.leaving],
      restarting: [...seen.restarting],
      passedOver: [...seen.passedOver].map(([agent, reason]) => ({ agent, reason })),
      paused: seen.paused,
      noSpace: [...answers.values()].some((status) => status.errors.some((error) => error.includes("NOSPACE"))),
      openStep: this.#memory.openStep(seen, nowMs),
      leaderForMs: this.#memory.leaderForMs(nowMs),
    };
  }

  /** The last good size is kept, and written again when the size key was deleted. */
  async #keepSize({ size }: Look, signal: AbortSignal): Promise<void> {
    const { client, keys, options } = this.#deps;
    const good = size.asked !== undefined && size.asked > 0 ? size.asked : undefined;
    const fence = this.#leadership.fence();
    if (good !== undefined && good !== size.last) {
      await client.txn({ compare: [fence], then: [{ put: keys.lastSize, value: String(good) }] }, { signal, repeatable: true });
    } else if (size.asked === undefined && size.refused === undefined) {
      const value = String(size.last ?? options.idealClusterSize);
      await client.txn(
        { compare: [fence, { key: keys.idealClusterSize, createRevision: 0 }], then: [{ put: keys.idealClusterSize, value }] },
        { signal, repeatable: true },
      );
    }
  }

  /** Marker and policy are written again where somebody deleted them: without the marker nobody could join any more. */
  async #keepFirstKeys({ marker, policy, membership: { clusterId }, refused }: Look, signal: AbortSignal): Promise<void> {
    const { client, keys, options } = this.#deps;
    if (marker) this.#marker = writeRecord("marker", marker);
    if (policy) this.#policy = writeRecord("policy", policy);
    const absent: (readonly [string, string])[] = [];
    if (!marker) absent.push([keys.cluster, this.#marker ?? firstMarker(clusterId, options)]);
    if (!policy) absent.push([keys.policy, this.#policy ?? firstPolicy(options)]);
    for (const [key, value] of absent) {
      // What is there and cannot be read is left to people: status names it.
      if (refused.some((why) => why.startsWith(quote(key)))) continue;
      await client.txn(
        { compare: [this.#leadership.fence(), { key, createRevision: 0 }], then: [{ put: key, value }] },
        { signal, repeatable: true },
      );
    }
  }

  /** Tells what is planned and why, whenever that changes. */
  async #publish(
    seen: Look,
    snapshot: ClusterSnapshot,
    next: Plan,
    outcome: Outcome | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, keys, options } = this.#deps;
    const voters = snapshot.members.filter((m) => m.role === "voter");
    const quorum = Math.floor(voters.length / 2) + 1;
    const record: PlanRecord = {
      schema: 1,
      leader: options.hostname,
      ideal: snapshot.idealClusterSize,
      ...(sizeRefusal(seen) === undefined ? {} : { sizeRefused: short(sizeRefusal(seen) ?? "") }),
      kind: "step" in next ? "step" : "waiting" in next ? "waiting" : "settled",
      because: short(next.because),
      failureTolerance: voters.filter((m) => m.answers).length - quorum,
      ...("settled" in next && next.settled.blockedBy !== undefined ? { blockedBy: short(next.settled.blockedBy) } : {}),
      ...(outcome && "held" in outcome ? { held: outcome.held } : {}),
      voters: voters.length,
      learners: snapshot.members.length - voters.length,
      notices: notices(seen, snapshot, options),
    };
    const value = writeRecord("planRecord", record);
    if (value === this.#published) return;
    await client
      .txn({ compare: [this.#leadership.fence()], then: [{ put: keys.plan, value }] }, { signal, repeatable: true })
      .then(() => {
        this.#published = value;
      })
      .catch((error: unknown) => {
        signal.throwIfAborted();
        this.#deps.log.debug({ reason: messageOf(error) }, "plan not published");
      });
  }
}

/** The size in force: what the size key says, else the last good one. */
export function idealOf({ size }: Look, options: ResolvedOptions): number {
  if (size.asked !== undefined && size.asked > 0) return size.asked;
  return size.last ?? options.idealClusterSize;
}

function sizeRefusal({ size }: Look): string | undefined {
  if (size.refused !== undefined) return size.refused;
  return size.asked === 0 ? "0 would shut the cluster down, which this version does not do" : undefined;
}

/** The cluster's own policy; the leader's flags only where the cluster has none. */
export function policyOf(seen: Look, options: ResolvedOptions): ChooserPolicy {
  const base = { ...defaultPolicy, settleMs: options.sessionTtlMs };
  if (!seen.policy) return { ...base, evenVoters: options.evenVoters, strictReconfigCheck: options.strictReconfigCheck };
  const { maxSeats, standbys, evenVoters, strictReconfigCheck, stabilizationMs } = seen.policy;
  return { ...base, maxSeats, standbys, evenVoters, strictReconfigCheck, stabilizationMs };
}

function notices(seen: Look, snapshot: ClusterSnapshot, options: ResolvedOptions): string[] {
  const said: string[] = [];
  for (const member of snapshot.members) {
    if (member.agent === undefined) said.push(`member ${member.id} was not added by Quorate and is never removed by it`);
  }
  if (
    seen.policy &&
    (seen.policy.evenVoters !== options.evenVoters || seen.policy.strictReconfigCheck !== options.strictReconfigCheck)
  ) {
    said.push(`flags of ${options.hostname} differ from the cluster's policy, which rules`);
  }
  for (const why of seen.refused.slice(0, 10)) said.push(`unreadable key ${why}`);
  return said.map(short).slice(0, 20);
}
