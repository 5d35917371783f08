import type { Clock } from "../../clock.ts";
import type { Env } from "../options.ts";
import { parentOf } from "./process-tree.ts";

/** Why a demo ends. */
export class Ended extends Error {
  readonly exitCode: number;

  constructor(why: string, exitCode: number) {
    super(why);
    this.name = "Ended";
    this.exitCode = exitCode;
  }
}

/**
 * Ends when the process that started this one is gone: npm passes no SIGTERM on and says no good-bye. Below npm there may be a
 * shell in between that outlives it, so there the parent's parent counts too.
 */
export async function watchParents(env: Env, clock: Clock, signal: AbortSignal): Promise<never> {
  const parent = process.ppid;
  const grandparent = env["npm_lifecycle_event"] === undefined ? undefined : parentOf(parent);
  for (;;) {
    await clock.sleep(500, signal);
    if (process.ppid !== parent || (grandparent !== undefined && parentOf(parent) !== grandparent)) {
      throw new Ended("whoever started this demo is gone", 1);
    }
  }
}

/** Aborts with {@link Ended} at the first signal or broken pipe. `onAgain` is called at each later one. */
export function endOnSignals(onAgain: () => void): { readonly signal: AbortSignal; end(why: Ended): void; release(): void } {
  const ended = new AbortController();
  const end = (why: Ended): void => {
    if (ended.signal.aborted) onAgain();
    else ended.abort(why);
  };
  const listeners = new Map<NodeJS.Signals, () => void>([
    // The demo is meant to end by ^C: that is no failure.
    ["SIGINT", () => end(new Ended("^C", 0))],
    ["SIGTERM", () => end(new Ended("SIGTERM", 143))],
    ["SIGHUP", () => end(new Ended("SIGHUP", 129))],
  ]);
  for (const [name, listener] of listeners) process.on(name, listener);
  const onPipe = (): void => {
    if (!ended.signal.aborted) end(new Ended("nobody reads the output any more", 1));
  };
  process.stdout.on("error", onPipe);
  process.stderr.on("error", onPipe);
  return {
    signal: ended.signal,
    end,
    release: () => {
      for (const [name, listener] of listeners) process.off(name, listener);
    },
  };
}
