import type { KeyRange } from "../../src/keys.ts";

/** One change as etcd's own client has seen it. */
export interface Fact {
  readonly key: string;
  /** Undefined where it was deleted. */
  readonly value: string | undefined;
  readonly revision: number;
}

/** What a watch was told of one key. */
export interface ToldChange {
  readonly key: string;
  readonly value: string | undefined;
  readonly previous: string | undefined;
}

/** What a watch was told at once. A snapshot's changes are all there is. */
export interface ToldEvent {
  readonly kind: "snapshot" | "changes" | "resynced";
  readonly revision: number;
  readonly changes: readonly ToldChange[];
}

/** All that happened in the World, in the order of revisions. */
export class Facts {
  readonly all: Fact[] = [];

  get revision(): number {
    return this.all.at(-1)?.revision ?? 0;
  }

  of(follows: (key: string) => boolean): Fact[] {
    return this.all.filter(({ key }) => follows(key));
  }
}

/** Which keys one watch is about. */
export function within({ start, end }: KeyRange): (key: string) => boolean {
  return (key) => key >= start && key < end;
}

/**
 * What is wrong with what one watch was told, measured by what happened: a snapshot first and once, and exactly what was there; then every
 * revision that changed anything, in order, once, with exactly what it changed and what was there before; where it says that it was
 * resynced, exactly the difference. At last everything that happened has been told.
 */
export function judge(facts: readonly Fact[], events: readonly ToldEvent[]): string[] {
  const wrong: string[] = [];
  const told = new Map<string, string>();
  const real = new Map<string, string>();
  let at = 0;
  /** What happened up to a revision; returns which keys it was about. */
  const goTo = (revision: number): Set<string> => {
    const touched = new Set<string>();
    for (; at < facts.length && facts[at]!.revision <= revision; at++) {
      const { key, value } = facts[at]!;
      touched.add(key);
      if (value === undefined) real.delete(key);
      else real.set(key, value);
    }
    return touched;
  };
  let last = 0;
  for (const [i, event] of events.entries()) {
    const where = `event ${i}, ${event.kind} at ${event.revision}`;
    if ((event.kind === "snapshot") !== (i === 0)) wrong.push(`${where}: a snapshot comes first, and once`);
    if (i > 0 && event.revision <= last) wrong.push(`${where}: after revision ${last}`);
    last = event.revision;
    if (event.kind === "changes") {
      const missed = facts[at];
      if (missed !== undefined && missed.revision < event.revision) wrong.push(`${where}: ${missed.revision} was not told`);
    }
    const touched = goTo(event.revision);
    const before = new Map(told);
    const keys = new Set<string>();
    for (const { key, value, previous } of event.changes) {
      if (keys.has(key)) wrong.push(`${where}: ${key} twice`);
      keys.add(key);
      if (previous !== before.get(key)) wrong.push(`${where}: ${key} was ${before.get(key)}, and not ${previous}`);
      if (value === undefined) told.delete(key);
      else told.set(key, value);
    }
    if (event.kind === "changes") {
      for (const key of keys) if (!touched.has(key)) wrong.push(`${where}: ${key} was not changed`);
      for (const key of touched) if (!keys.has(key)) wrong.push(`${where}: ${key} was changed as well`);
    }
    for (const key of new Set([...told.keys(), ...real.keys()]))
      if (told.get(key) !== real.get(key)) wrong.push(`${where}: ${key} is ${real.get(key)}, and told to be ${told.get(key)}`);
  }
  if (events.length === 0) wrong.push("nothing was told");
  return wrong;
}

/** Revisions after the last event that changed anything: empty where all was told. */
export function untold(facts: readonly Fact[], events: readonly ToldEvent[]): number[] {
  const last = events.at(-1)?.revision ?? 0;
  return facts.flatMap(({ revision }) => (revision > last ? [revision] : []));
}
