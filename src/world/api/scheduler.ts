import type { CallOptions, Fence, Read, ReadOptions, ValueEvent, Watch, WatchOptions, Written } from "./common.ts";

/**
 * Who of those that may be scheduled is. A name alone means the defaults. Each is a pure function of the candidates and of who is scheduled;
 * none depends on the order in which they came.
 *
 * - `rr`, the default: who is scheduled stays; the next free place goes to the next host by name, round and round.
 * - `alpha`: the first by name.
 * - `hrw`: weighted rendezvous: each host gets its share of many names by its weight, and where one goes or comes nobody else moves.
 * - `least`: the least load per weight; who is scheduled stays unless somebody has less by more than `hysteresis`, a share of its load
 *   (default 0.25).
 * - `spread`: as evenly as can be over the values of a label (default `zone`); who is scheduled stays where that leaves it even.
 * - `pin`: those of the list that are there, in its order. Its `maxCount` is by default the length of the list.
 * - `random`: as the seed throws it.
 * - `all`: all of them, by name. Its `maxCount` is by default none.
 */
export type Strategy =
  | "rr"
  | "alpha"
  | "hrw"
  | "least"
  | "spread"
  | "all"
  | { readonly name: "rr" | "alpha" | "hrw" | "all" }
  | { readonly name: "least"; readonly hysteresis?: number }
  | { readonly name: "spread"; readonly label?: string }
  | { readonly name: "pin"; readonly hosts: readonly string[] }
  | { readonly name: "random"; readonly seed: number };

/** What a schedule keeps to: stored once per namespace, by whoever comes first. */
export interface ScheduleRules {
  /** Default `rr`. */
  readonly strategy?: Strategy;
  /** How many hosts are scheduled at most. Default 1; see {@link Strategy} for `pin` and `all`. */
  readonly maxCount?: number;
  /** Only these. Default: all. */
  readonly hostsFilter?: readonly string[];
  /** Only hosts that have all of these labels. */
  readonly selector?: Readonly<Record<string, string>>;
  /** Seconds, whole ones, 2 at least: how long a host that has died keeps its place. Default: that of each host's World. */
  readonly sessionTtl?: number;
  /**
   * A host that ends (by `shutdown()`, by closing its World, or by a crash) keeps its candidacy until its lease has run out: a program that
   * is started again within `sessionTtl` finds its place. Default false: who ends in good order makes room at once.
   */
  readonly reuseLease?: boolean;
  /** As `reuseLease`, for so many seconds more; `true`: for ever, until `shutdown({ withdraw: true })`. Default false. */
  readonly persist?: boolean | { readonly grace: number };
  /** How many hosts that live are taken off the list at a time: the next ones when those that came have begun. Default: no limit. */
  readonly maxMoves?: number;
}

/** What a host says of itself: it may differ from host to host, and may change. */
export interface CandidateFacts {
  /** 0: never to be scheduled. Default 1. For `hrw` and `least`. */
  readonly weight?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Of any unit, the same for all hosts; kept to two digits. Default 0. For `least`. */
  readonly load?: number;
  /** It takes part and is not to be scheduled: it is relieved. Default false. */
  readonly drain?: boolean;
}

export interface SchedulerOptions extends ScheduleRules, CandidateFacts, CallOptions {
  /**
   * What is given here of {@link ScheduleRules} is stored in place of what is stored, and is in force at once for all. Default false: it has
   * to be the same as what is stored.
   */
  readonly change?: boolean;
}

/** Who is scheduled. */
export interface Schedule {
  /** `nobody`: the scheduler has found nobody who may be. `unknown`: see `because`. */
  readonly state: "scheduled" | "nobody" | "unknown";
  /** By rank. Empty unless there are some. */
  readonly hosts: readonly string[];
  /** Counts the publications of this namespace; 0 before the first. */
  readonly generation: number;
  /**
   * Why it is not known: nothing was published yet, what is there cannot be read, or nobody takes part any more who could schedule. Beside
   * hosts: why these are left as they are.
   */
  readonly because: string | undefined;
}

/** The schedule of one namespace, to look at. */
export interface Schedules {
  readonly namespace: string;
  get(options?: ReadOptions): Promise<Read & Schedule>;
  /**
   * The schedule as it is with the first call; then, with each call, the next that differs from the one before. It waits for ever unless
   * `timeoutMs` or `signal` is given; what came meanwhile is told as one.
   */
  next(options?: CallOptions): Promise<Schedule>;
  /** An event for each that differs. `value` is always there; what is not known says so. */
  watch(options?: WatchOptions<Schedule>): Watch<ValueEvent<Schedule>>;
  /** Its watches complete, and `next()` fails with CLOSED. Idempotent. */
  shutdown(): Promise<void>;
}

/**
 * Being scheduled, until `signal` fires. As a fence it has a write refused once somebody else may be.
 */
export interface Place extends Fence {
  /**
   * Fires before another host can be put in this one's place. Reason: WorldError CLOSED where it was taken off the list or has ended,
   * SESSION_LOST, or CONFLICT where another program takes part for this host.
   */
  readonly signal: AbortSignal;
}

/** Where what this host asked for is not what is in force. */
export interface Contradiction {
  /** By the names of the options. */
  readonly differs: readonly string[];
  readonly stored: Readonly<Record<string, unknown>>;
  readonly given: Readonly<Record<string, unknown>>;
}

/** Taking part. */
export interface Scheduling extends Schedules, AsyncDisposable {
  readonly hostname: string;
  /** Fires when it takes part no more: CLOSED, or CONFLICT where another program takes part for this host. */
  readonly signal: AbortSignal;
  /** Of what this host was started with, what somebody has changed since. */
  readonly contradiction: Contradiction | undefined;
  /** Undefined where this host is not scheduled, or does not know. */
  amIScheduled(): Place | undefined;
  /** Waits until this host is scheduled: for ever, unless `timeoutMs` or `signal` is given. */
  whenScheduled(options?: CallOptions): Promise<Place>;
  /** What is given changes, the rest stays. */
  update(facts: CandidateFacts, options?: CallOptions): Promise<Written>;
  /**
   * Takes part no more. The place's signal fires at once, and others may have the place when this resolves (within 4 s, also
   * where etcd is out of reach); with `reuseLease`
   * or `persist` the candidacy stays as they say, unless `withdraw`. Idempotent.
   */
  shutdown(options?: { readonly withdraw?: boolean }): Promise<void>;
}

/** One of all schedules. */
export interface NamedSchedule extends Schedule {
  readonly namespace: string;
  /** Undefined where its options cannot be read. */
  readonly strategy: string | undefined;
  /** That count themselves as scheduled now, by name. */
  readonly active: readonly string[];
  /** That take part, by name. */
  readonly candidates: readonly string[];
}
