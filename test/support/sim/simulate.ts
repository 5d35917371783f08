import { ambush, makePeace, strike } from "./fate.ts";
import { keys, takeViolation } from "./invariants.ts";
import { Hosts, type LifeOptions } from "./life.ts";

export interface Lived {
  readonly seed: number;
  /** Faults that came about. */
  readonly faults: number;
  readonly events: number;
  readonly stormEvents: number;
  /** Member calls that landed before there was peace. */
  readonly changes: number;
  /** Virtual time. */
  readonly seconds: number;
  readonly notes: readonly string[];
  /** How many faults of which kind. */
  readonly kinds: ReadonlyMap<string, number>;
}

/** A life that broke a rule. */
export class Broken extends Error {
  readonly seed: number;
  readonly notes: readonly string[];
  constructor(seed: number, cause: unknown, notes: readonly string[]) {
    super(`seed ${seed}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.seed = seed;
    this.notes = notes;
  }
}

const leastFaults = 300;
const peaceMs = 400_000;
/** Longer than the pause of a leader that has nothing to do: it has looked again, and found nothing. */
const calmMs = 2_500;

/** One seeded life of a cluster of whole agents: faults first, then peace, in which it has to settle. */
export async function simulate(seed: number, options: LifeOptions = {}): Promise<Lived> {
  takeViolation();
  const hosts = new Hosts(seed, options);
  const { timeline, network, random } = hosts;
  let mistake: unknown;
  const onMistake = (error: unknown): void => {
    mistake ??= error;
  };
  process.on("unhandledRejection", onMistake);
  try {
    for (const host of network.hosts) {
      if (host.index === 0) hosts.start(host);
      else hosts.startIn(host, random.between(0, 1_000));
    }
    const failed = (): boolean => {
      mistake ??= takeViolation();
      if (mistake !== undefined) throw mistake as Error;
      return false;
    };
    await timeline.run(() => failed() || hosts.cluster?.leader !== undefined);
    network.faults = {
      late: random.pick([0.12, 0.2, 0.3]),
      lost: random.pick([0, 0.01, 0.03]),
      stuck: random.pick([0.05, 0.3]),
    };
    const gapMs = random.pick([50, 100, 180, 300]);
    let storming = true;
    const next = (): void => {
      if (!storming) return;
      strike(hosts);
      timeline.in(gapMs * 2 * random.next(), undefined, next);
    };
    next();
    ambush(hosts);
    const faults = (): number => hosts.faults + network.met;
    const untilMs = timeline.nowMs + random.pick([4_000, 7_000, 12_000]);
    await timeline.run(() => failed() || (faults() >= leastFaults && timeline.nowMs >= untilMs));
    storming = false;
    const stormEvents = timeline.events;
    const { changes } = hosts.invariants;
    makePeace(hosts);
    await settles(hosts, failed);
    const { notes } = hosts;
    const kinds = new Map([...hosts.kinds, ...network.metBy]);
    const seconds = timeline.nowMs / 1_000;
    return { seed, faults: faults(), events: timeline.events, stormEvents, changes, seconds, notes, kinds };
  } catch (error) {
    throw new Broken(seed, error, hosts.notes);
  } finally {
    process.off("unhandledRejection", onMistake);
  }
}

async function settles(hosts: Hosts, failed: () => boolean): Promise<void> {
  const { timeline, random } = hosts;
  const size = random.pick([1, 2, 3, 3, 4, 5, 5, 7]);
  // That a cool-down ends by itself is to be seen as well.
  const hurried = random.chance(0.8);
  let asked = false;
  let why: string | undefined = "nothing was looked at";
  let sinceMs: number | undefined;
  const untilMs = timeline.nowMs + peaceMs;
  for (;;) {
    const nextMs = timeline.nowMs + 250;
    timeline.at(nextMs, undefined, () => undefined);
    await timeline.run(() => failed() || timeline.nowMs >= nextMs);
    asked ||= hosts.cleanUp(hurried) && hosts.put(keys.idealClusterSize, String(size));
    if (asked) why = hosts.whyNotSettled();
    if (why !== undefined) sinceMs = undefined;
    else sinceMs ??= timeline.nowMs;
    if (sinceMs !== undefined && timeline.nowMs - sinceMs >= calmMs) return;
    if (timeline.nowMs >= untilMs)
      throw new Error(`it does not settle in ${peaceMs / 1_000} s of peace: ${why ?? "it has only just"}`);
  }
}
