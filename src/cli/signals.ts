/** The ways a terminal, a service manager or a shell asks a program to end. */
export type EndSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** What `quorate run` does about a signal. */
export type Ending =
  /** Withdraw, be replaced or let go, stop. */
  | { readonly kind: "leave" }
  /** Stop in place and stay a member. */
  | { readonly kind: "stop" }
  | { readonly kind: "hurry" }
  | { readonly kind: "kill"; readonly exitCode: number }
  /** The same key press a second time: npm passes on what the terminal has sent already. */
  | { readonly kind: "echo" };

export interface SignalsSeen {
  readonly count: number;
  readonly last: EndSignal | undefined;
  readonly atMs: number;
}

export const noSignal: SignalsSeen = { count: 0, last: undefined, atMs: -Infinity };

const echoMs = 50;
const numbers: Readonly<Record<EndSignal, number>> = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };

/**
 * The first signal ends in good order, the second one hurries, the third one kills, whatever they are. An agent with a temporary
 * prefix has nothing to come back to: it leaves whatever the signal, and so does one that was told to.
 */
export function onSignal(
  seen: SignalsSeen,
  signal: EndSignal,
  atMs: number,
  options: { readonly alwaysLeaves: boolean },
): { readonly seen: SignalsSeen; readonly ending: Ending } {
  if (signal === seen.last && atMs - seen.atMs < echoMs) return { seen, ending: { kind: "echo" } };
  const next: SignalsSeen = { count: seen.count + 1, last: signal, atMs };
  if (next.count === 1) return { seen: next, ending: { kind: signal === "SIGINT" || options.alwaysLeaves ? "leave" : "stop" } };
  if (next.count === 2) return { seen: next, ending: { kind: "hurry" } };
  return { seen: next, ending: { kind: "kill", exitCode: 128 + numbers[signal] } };
}
