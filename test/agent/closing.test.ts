import { describe, expect, test } from "vitest";
import { untilForsaken } from "../../src/agent/closing.ts";
import type { Clock } from "../../src/clock.ts";
import type { ControlView } from "../../src/agent/control/control-view.ts";

/** Time that passes at once, in the second of it at which something happens. */
function watching(seconds: number, at: (second: number) => { readonly closing: boolean; readonly cutOff: boolean }) {
  let second = 0;
  const ended = new AbortController();
  const clock: Pick<Clock, "sleep"> = {
    sleep: (ms) => {
      second += ms / 1_000;
      if (second > seconds) ended.abort(new Error("nothing came of it"));
      ended.signal.throwIfAborted();
      return Promise.resolve();
    },
  };
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await clock.sleep(1_000, ended.signal);
  };
  const view = {
    until,
    plan: () => ({ closing: at(second).closing }),
    seats: () =>
      new Map([
        ["h1", { member: "aa" }],
        ["h2", {}],
      ]),
  } as unknown as ControlView;
  const forsaken = untilForsaken({ view, clock: clock as Clock }, () => at(second).cutOff, ended.signal);
  return forsaken.then(
    (hosts) => ({ second, hosts }),
    (error: unknown) => (error as Error).message,
  );
}

describe("an agent that hears nothing any more of a cluster", () => {
  test("that was being shut down ends after 15 s, with the hosts that had seats", async () => {
    expect(await watching(60, () => ({ closing: true, cutOff: true }))).toEqual({ second: 15, hosts: ["h1"] });
  });

  test("that was not being shut down waits for ever", async () => {
    expect(await watching(60, () => ({ closing: false, cutOff: true }))).toBe("nothing came of it");
  });

  test("that answers now and then stays", async () => {
    expect(await watching(60, (second) => ({ closing: true, cutOff: second % 10 !== 0 }))).toBe("nothing came of it");
  });

  test("whose shutdown was taken back in time stays", async () => {
    expect(await watching(60, (second) => ({ closing: second < 14, cutOff: second >= 1 && second < 14 }))).toBe(
      "nothing came of it",
    );
  });
});
