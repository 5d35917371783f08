import type { Clock } from "../../clock.ts";

/** Why a demo ends. */
export class Ended extends Error {
  readonly exitCode: number;

  constructor(why: string, exitCode: number) {
    super(why);
    this.name = "Ended";
    this.exitCode = exitCode;
  }
}

/** What may end a demo from outside. */
export interface Endings {
  /** Aborted with {@link Ended} by the first of them. */
  readonly signal: AbortSignal;
  readonly end: (why: Ended) => void;
  /** Gives the signals back. */
  readonly release: () => void;
}

/** A signal that comes this long after the first one means it; npm sends a copy of the terminal's at once. */
const impatientMs = 1_000;

/** Signals, and output that nobody reads any more. Where ending takes long, a later signal ends the process on the spot. */
export function endOnSignals(clock: Clock): Endings {
  const ended = new AbortController();
  let endedAtMs = 0;
  const end = (why: Ended): void => {
    if (ended.signal.aborted) return;
    endedAtMs = clock.nowMs();
    ended.abort(why);
  };
  const onSignal = (name: string, exitCode: number): void => {
    if (ended.signal.aborted && clock.nowMs() - endedAtMs > impatientMs) process.exit(130);
    end(new Ended(name, exitCode));
  };
  const listeners = new Map<NodeJS.Signals, () => void>([
    // A demo is meant to end by ^C: that is no failure.
    ["SIGINT", () => onSignal("^C", 0)],
    ["SIGTERM", () => onSignal("SIGTERM", 143)],
    ["SIGHUP", () => onSignal("SIGHUP", 129)],
  ]);
  for (const [name, listener] of listeners) process.on(name, listener);
  const onBrokenPipe = (): void => {
    end(new Ended("nobody reads the output any more", 1));
  };
  process.stdout.on("error", onBrokenPipe);
  process.stderr.on("error", onBrokenPipe);
  return {
    signal: ended.signal,
    end,
    release: () => {
      for (const [name, listener] of listeners) process.off(name, listener);
    },
  };
}
