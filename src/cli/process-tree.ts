import { readdirSync, readFileSync } from "node:fs";
import type { Clock } from "../clock.ts";

/** What Linux tells about processes. Elsewhere nothing is known, and the answers are empty. */

/** The parent of a process, from /proc. */
export function parentOf(pid: number): number | undefined {
  try {
    // pid (name, which may hold blanks and brackets) state ppid ...
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}

/** All processes below these, without them. */
export function descendantsOf(pids: readonly number[]): number[] {
  const children = new Map<number, number[]>();
  let names: string[];
  try {
    names = readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name));
  } catch {
    return [];
  }
  for (const name of names) {
    const parent = parentOf(Number(name));
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const found: number[] = [];
  const walk = (pid: number): void => {
    for (const child of children.get(pid) ?? []) {
      found.push(child);
      walk(child);
    }
  };
  pids.forEach(walk);
  return found;
}

/** The command line holds this text: a process id alone may be another one's by now. */
export function runsWith(pid: number, text: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
  } catch {
    return false;
  }
}

/** Who started this process. */
export interface Parents {
  readonly parent: number;
  readonly grandparent: number | undefined;
}

/** To be taken early: afterwards a parent that is gone already cannot be told from one that is there. */
export function parentsNow(belowNpm: boolean): Parents {
  const parent = process.ppid;
  return { parent, grandparent: belowNpm ? parentOf(parent) : undefined };
}

/**
 * Settles when the process that started this one is gone: npm passes no SIGTERM on and says no good-bye. Below npm there may be a
 * shell in between that outlives it, so there the parent's parent counts too.
 */
export async function parentGone({ parent, grandparent }: Parents, clock: Clock, signal: AbortSignal): Promise<void> {
  do await clock.sleep(500, signal);
  while (process.ppid === parent && (grandparent === undefined || parentOf(parent) === grandparent));
}
