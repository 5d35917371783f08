import { describe, expect, test } from "vitest";
import { noSignal, onSignal, type EndSignal } from "../../src/cli/signals.ts";

/** The endings of signals that come a second apart, or at the times given. */
function endings(signals: readonly EndSignal[], alwaysLeaves = false, times = signals.map((_, i) => i * 1_000)): string[] {
  let seen = noSignal;
  return signals.map((signal, i) => {
    const next = onSignal(seen, signal, times[i] ?? 0, { alwaysLeaves });
    seen = next.seen;
    return next.ending.kind === "kill" ? `exit ${next.ending.exitCode}` : next.ending.kind;
  });
}

describe("what an agent does about signals", () => {
  test("the first ^C leaves, the second hurries, the third exits 130", () => {
    expect(endings(["SIGINT", "SIGINT", "SIGINT"])).toEqual(["leave", "hurry", "exit 130"]);
  });

  test("SIGTERM and SIGHUP stop in place", () => {
    expect(endings(["SIGTERM"])).toEqual(["stop"]);
    expect(endings(["SIGHUP"])).toEqual(["stop"]);
  });

  test("with a temporary prefix, or --leave-on-terminate, every signal leaves", () => {
    expect(endings(["SIGTERM"], true)).toEqual(["leave"]);
    expect(endings(["SIGHUP"], true)).toEqual(["leave"]);
  });

  test("different signals count together", () => {
    expect(endings(["SIGTERM", "SIGINT", "SIGTERM"])).toEqual(["stop", "hurry", "exit 143"]);
  });

  test("npm's copy of a ^C that the terminal sent as well counts once", () => {
    expect(endings(["SIGINT", "SIGINT", "SIGINT"], false, [0, 5, 400])).toEqual(["leave", "echo", "hurry"]);
  });
});
