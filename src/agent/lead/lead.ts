import type { Logger } from "pino";
import {
  factsOf,
  plan,
  type ChooserPolicy,
  type ClusterSnapshot,
  type Facts,
  type Plan,
  type Step,
} from "../../chooser/index.ts";
import { Doorbell, firstOf, type Clock } from "../../clock.ts";
import { QuorateError, isRetryable, messageOf } from "../../errors.ts";
import { watchRange, type EndpointStatus, type EtcdClient, type Leadership } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { ControlView } from "../control/control-view.ts";
import { writeRecord, type PlanRecord } from "../control/records.ts";
import type { Machine } from "../machine.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { chooserOf, whyNotLead } from "../control/policy.ts";
import { Addresses } from "./addresses.ts";
import { carryOut, type Outcome } from "./carry-out.ts";
import { wishOf } from "./choose.ts";
import { collectTrees } from "./collect-trees.ts";
import { EventLog } from "./events.ts";
import { hear } from "./gate.ts";
import { chooserPolicy, Keeper } from "./keep.ts";
import { KeepSeats } from "./keep-seats.ts";
import { Lapses } from "./lapses.ts";
import { LastGate } from "./last-gate.ts";
import { look, statuses, type Look } from "./look.ts";
import { hearingMs, Memory, raftLeaderOf } from "./memory.ts";
import { Preflights } from "./preflight.ts";
import type { Seen } from "./leader-writes.ts";
import type { QuietSeen } from "./quiet.ts";
import { shielded } from "./shield.ts";
import { snapshotOf } from "./snapshot.ts";
import { anotherStands, RoundWatch, StandsBack, whyBlind } from "./stand-back.ts";
import { planRecordOf } from "./tell.ts";

export interface LeadDeps {
  readonly machine: Machine;
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
/** After etcd's strict check has refused it: each try costs a gate and two writes, and it takes seconds to be content. */
const strictMs = 1_000;
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
  /** Somebody is silent who was heard of: only the next count tells whether it is still. */
  readonly unsure: boolean;
}

/** Observe, plan, carry out, look again: runs while this agent leads, until aborted. Throws what trying again cannot mend. */
export async function lead(
  deps: LeadDeps,
  leadership: Leadership,
  signal: AbortSignal,
  memory = new Memory(deps.clock.nowMs()),
): Promise<never> {
  const { clock, client, keys, log, view } = deps;
  const { hostname, sessionTtlMs } = deps.options;
  const own = AbortSignal.any([signal, leadership.signal]);
  const bell = new Doorbell();
  view.subscribe(bell, own, (key) => !isOwnWriting(key, keys));
  const leader = new Leader(deps, leadership, memory, () => {
    bell.ring();
  });
  log.info({ revision: leadership.revision }, "leading");
  const watch = new RoundWatch(clock, () => anotherStands(view, keys, deps.options.hostname));
  const ring = (): void => {
    bell.ring();
  };
  const watching = { clock, log };
  try {
    return await firstOf<never>(
      own,
      (s) => watchRange(client, keys.volunteer, ring, watching, s),
      (s) => watchRange(client, { start: keys.idealClusterSize, end: `${keys.idealClusterSize}\0` }, ring, watching, s),
      (s) => rounds(leader, bell, watch, { clock, log }, s),
      (s) => watch.run(s),
      (s) => collectTrees({ client, keys, clock, log, hostname, sessionTtlMs }, leadership, s),
    );
  } catch (error) {
    if (error instanceof StandsBack) await leader.tellStandsBack(error, own);
    throw error;
  } finally {
    await leader.close();
  }
}

/** What only the leader is to write: its own writing is no news to it. Anybody else's hand in it is seen with the next look. */
function isOwnWriting(key: string, keys: Keys): boolean {
  return key === keys.plan || key === keys.step || key.startsWith(keys.preflight.prefix);
}

async function rounds(
  leader: Leader,
  bell: Doorbell,
  watch: RoundWatch,
  { clock, log }: Pick<LeadDeps, "clock" | "log">,
  signal: AbortSignal,
): Promise<never> {
  for (;;) {
    let waitMs = waitingMs;
    try {
      const { next, outcome, unsure } = await leader.round(signal);
      watch.finished();
      if (outcome && "done" in outcome) continue; // etcd has no watch on its member list: after a step, look again unasked.
      if (outcome && outcome.strict !== true) {
        await clock.sleep(heldMs, signal);
        continue;
      }
      if (outcome) waitMs = strictMs;
      else if ("settled" in next) waitMs = settledMs;
      else if ("waiting" in next && next.waiting.on === "learner") waitMs = learnerMs;
      else if (unsure) waitMs = hearingMs;
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

class Leader {
  readonly #deps: LeadDeps;
  readonly #leadership: Leadership;
  readonly #memory: Memory;
  readonly #preflights: Preflights;
  readonly #done = new AbortController();
  readonly #lastGate = new LastGate();
  readonly #lapses: Lapses;
  readonly #events: EventLog;
  readonly #keeper: Keeper;
  readonly #seats: KeepSeats;
  readonly #addresses: Addresses;
  #published = "";
  /** Of the last look. */
  #revision = 0;
  #quiet: QuietSeen | undefined;
  #said = "";
  #wrong = "";

  constructor(deps: LeadDeps, leadership: Leadership, memory: Memory, ring: () => void) {
    this.#deps = deps;
    this.#leadership = leadership;
    this.#memory = memory;
    this.#preflights = new Preflights({ ...deps, leadership, done: ring });
    this.#lapses = new Lapses(deps);
    this.#events = new EventLog({ ...deps, leadership, leader: deps.options.hostname });
    this.#addresses = new Addresses({ ...deps, leadership, events: this.#events, passOverMs });
    this.#keeper = new Keeper({ ...deps, leadership, events: this.#events });
    this.#seats = new KeepSeats({ ...deps, leadership, events: this.#events, formerSeats: deps.view.formerSeats });
  }

  async close(): Promise<void> {
    this.#done.abort(new DOMException("Not the leader any more", "AbortError"));
    await Promise.all([this.#preflights.idle(), this.#events.idle(), this.#lapses.close()]);
  }

  async round(signal: AbortSignal): Promise<Round> {
    const { client, keys, log, options, view } = this.#deps;
    const seen = await look(client, keys, signal);
    this.#revision = seen.membership.revision;
    // Whoever has left has nothing more to decide; the step in which it was let go is done.
    if (seen.leaving.has(options.hostname) && !seen.seats.has(options.hostname)) {
      throw new QuorateError("LEADERSHIP_LOST", "Cannot go on as the leader: this agent has left", { retryable: true });
    }
    const answers = await statuses(client, seen.membership.members, statusMs, signal);
    const policy = this.#keeper.policy(seen);
    const rules = chooserPolicy(policy, options.sessionTtlMs);
    const snapshot = await this.#wished(policy.chooser, await this.#snapshot(seen, answers, signal), rules, signal);
    this.#lapses.follow(seen, snapshot.members);
    const next = plan(snapshot, rules);
    const largest = Math.max(0, ...[...answers.values()].map((status) => status.dbSize));
    if (!snapshot.noSpace) {
      const silent = seen.membership.members.filter((row) => !answers.has(row.id)).flatMap((row) => row.peerUrls);
      this.#preflights.ensure(seen, largest, this.#done.signal, new Set(silent));
      await this.#keeper.keep({ look: seen, facts: factsOf(snapshot) }, signal);
      await this.#seats.keep(seen, factsOf(snapshot), policy.restartGraceMs, signal);
    }
    const raftLeader = raftLeaderOf(seen.membership.members, answers);
    let outcome = snapshot.noSpace
      ? undefined
      : await shielded(signal, shieldMs, this.#deps.clock, (s) =>
          this.#addresses.follow({ look: seen, answers, raftLeader, facts: factsOf(snapshot) }, s),
        );
    if ("step" in next && outcome === undefined) {
      outcome = await this.#carryOut(next, { look: seen, raftLeader, quiet: this.#quiet }, factsOf(snapshot, next.step), signal);
      if ("done" in outcome && next.step.kind === "remove" && snapshot.wish === undefined) {
        await this.#promoteNext(answers, raftLeader, rules, signal);
      }
    } else if (!("step" in next) && next.because !== this.#said) {
      log.info(
        { because: next.because, ...("waiting" in next ? { waiting: next.waiting } : { settled: next.settled }) },
        "planned",
      );
    }
    this.#events.prune(this.#done.signal);
    this.#said = next.because;
    // After a step that was done, the next round comes at once and has more to tell.
    if (!outcome || "held" in outcome) {
      await this.#publish(planRecordOf(options.hostname, { look: seen, snapshot, policy }, next, outcome), signal);
    }
    const blind = whyBlind(snapshot.members, (id) => answers.has(id));
    if (blind !== undefined && anotherStands(view, keys, options.hostname)) throw new StandsBack(blind);
    return { next, outcome, unsure: snapshot.members.some((m) => !m.answers && m.heard === true) };
  }

  async #carryOut(
    { step, because }: Extract<Plan, { step: Step }>,
    seen: Omit<Seen, "facts">,
    facts: Facts,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clock, log } = this.#deps;
    const deps = { ...this.#deps, leadership: this.#leadership, events: this.#events, passOverMs, lastGate: this.#lastGate };
    // A stop must not tear a member call from its record: the step is finished, or given up a little later.
    const outcome = await shielded(signal, shieldMs, clock, (s) => carryOut(deps, step, because, { ...seen, facts }, s));
    log.info({ step, because, ...outcome }, "done" in outcome ? "step carried out" : "step held back");
    return outcome;
  }

  /**
   * After a removal: the promotion it was made for, if that is what is planned from a new look. The cluster has a voter less until then,
   * so whatever a round does besides waits, and what the servers said for the removal a moment ago is not asked again.
   */
  async #promoteNext(
    answers: ReadonlyMap<string, EndpointStatus>,
    raftLeader: string | undefined,
    rules: ChooserPolicy,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, keys } = this.#deps;
    if (!this.#lastGate.isFresh(this.#deps.clock.nowMs())) return;
    const seen = await look(client, keys, signal);
    this.#revision = seen.membership.revision;
    if (seen.membership.members.some(({ id }) => !answers.has(id))) return;
    const snapshot = await this.#snapshot(seen, answers, signal);
    const next = plan(snapshot, rules);
    if (!("step" in next) || next.step.kind !== "promote") return;
    await this.#carryOut(next, { look: seen, raftLeader, justNow: true }, factsOf(snapshot, next.step), signal);
  }

  /** The event of a leader that lets another one lead. */
  async tellStandsBack({ message }: StandsBack, signal: AbortSignal): Promise<void> {
    const { client, options, log } = this.#deps;
    const agent = options.hostname;
    const because = message.slice(message.indexOf(": ") + 2);
    log.warn({ because }, "letting another agent lead");
    const told = this.#events.put(this.#revision, {
      step: "stand-back",
      agent,
      what: `${agent} lets another agent lead`,
      because,
    });
    await client
      .txn({ compare: [this.#leadership.fence()], then: [told] }, { signal, repeatable: true })
      .catch((error: unknown) => {
        log.debug({ reason: messageOf(error) }, "not told");
      });
  }

  async #snapshot(seen: Look, answers: ReadonlyMap<string, EndpointStatus>, signal: AbortSignal): Promise<ClusterSnapshot> {
    const { client, clock, options } = this.#deps;
    const rows = seen.membership.members;
    const silent = rows.some((row) => !answers.has(row.id));
    const raftLeader = raftLeaderOf(rows, answers);
    const askedMs = clock.nowMs();
    const heard = silent ? await hear(client, rows, raftLeader, signal) : undefined;
    const count = { raftLeader: answers.get(raftLeader ?? ""), heard, askedMs, nowMs: clock.nowMs() };
    this.#quiet = this.#memory.quiet.count(count);
    return snapshotOf(
      { look: seen, answers, heard, nowMs: clock.nowMs() },
      {
        name: options.hostname,
        memory: this.#memory,
        size: options.idealClusterSize,
        preflightOf: (host, at) => this.#preflights.of(host, at),
      },
    );
  }

  /** What is seen, with what the cluster's chooser wishes for where that is not the built-in one. */
  async #wished(name: string, seen: ClusterSnapshot, policy: ChooserPolicy, signal: AbortSignal): Promise<ClusterSnapshot> {
    const { clock, log, options } = this.#deps;
    const why = whyNotLead(name, options.chooser);
    if (why !== undefined) throw new QuorateError("LEADERSHIP_LOST", `Cannot go on as the leader: ${why}`, { retryable: true });
    const chooser = chooserOf(name, options.chooser);
    if (chooser === undefined) return seen;
    const wish = await wishOf(chooser, { seen, policy }, clock, signal);
    const wrong = "failed" in wish ? [wish.why] : wish.faults;
    if (wrong.join() !== this.#wrong && wrong.length > 0) log.warn({ chooser: name, wrong }, "the chooser gave a wrong answer");
    this.#wrong = wrong.join();
    return { ...seen, wish };
  }

  /** Tells what is planned and why, whenever that changes. */
  async #publish(record: PlanRecord, signal: AbortSignal): Promise<void> {
    const { client, keys } = this.#deps;
    if (JSON.stringify(record) === this.#published) return;
    const value = writeRecord("planRecord", record);
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
