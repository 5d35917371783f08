import type { ChooserPolicy } from "./policy.ts";
import type { AgentName, ClusterSnapshot, Wish } from "./snapshot.ts";
import { count, listOf } from "./words.ts";

/**
 * Who should hold the seats, best first, from what is seen. It is given frozen copies, must not act, and should give equal answers for
 * equal snapshots. The size key says how many seats there are, this says whose: of the agents named, the first that can hold a seat.
 * An agent that is not named gets no seat; one that has a seat keeps it until one that is named has taken it over.
 */
export type Choose = (seen: ClusterSnapshot, policy: ChooserPolicy) => readonly AgentName[] | PromiseLike<readonly AgentName[]>;

/** A chooser with the name that the cluster's policy knows it by: only agents that have the chooser of that name may lead. */
export interface Chooser {
  /** 1 to 100 characters of A-Z, a-z, 0-9, dot, underscore and dash. */
  readonly name: string;
  readonly choose: Choose;
}

/** Longer answers are read in part. */
export const mostWishes = 1_000;

/** Reads whatever a chooser returned. Never throws. */
export function readWish(by: string, answer: unknown, seen: ClusterSnapshot): Wish {
  try {
    if (Array.isArray(answer)) return readList(by, answer as readonly unknown[], seen);
    return { by, failed: "no-list", why: `it returned ${kindOf(answer)}, not a list of names` };
  } catch {
    return { by, failed: "no-list", why: "what it returned can not be read" };
  }
}

function readList(by: string, answer: readonly unknown[], seen: ClusterSnapshot): Wish {
  const known = new Set([...seen.members.flatMap((m) => m.agent ?? []), ...seen.volunteers.map((v) => v.agent)]);
  const seats = new Set<AgentName>();
  const strange = new Set<string>();
  let [nameless, repeated] = [0, 0];
  const { length } = answer;
  for (let i = 0; i < Math.min(length, mostWishes); i++) {
    const name = answer[i];
    if (typeof name !== "string") nameless += 1;
    else if (!known.has(name)) strange.add(name.slice(0, 253));
    else if (seats.has(name)) repeated += 1;
    else seats.add(name);
  }
  const faults: string[] = [];
  if (length > mostWishes) faults.push(`it is ${length} names long, and only the first ${mostWishes} are read`);
  if (nameless > 0) faults.push(`${count(nameless, "entry", "entries")} of it ${nameless === 1 ? "is" : "are"} no name`);
  if (repeated > 0) faults.push(`${count(repeated, "name")} in it ${repeated === 1 ? "is" : "are"} repeated`);
  if (strange.size > 0) faults.push(`${strangers([...strange])} not there`);
  if (seats.size === 0) faults.push("it names nobody that is there");
  return { by, seats: [...seats], faults };
}

const mostShown = 5;

function strangers(names: readonly string[]): string {
  const shown = names.slice(0, mostShown).map((name) => JSON.stringify(name.slice(0, 60)));
  if (names.length > mostShown) return `${shown.join(", ")} and ${names.length - mostShown} more are`;
  return `${listOf(shown)} ${names.length === 1 ? "is" : "are"}`;
}

function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
