import { describe, expect, test, vi } from "vitest";
import { wishOf } from "../../../src/agent/lead/choose.ts";
import { defaultPolicy, type Choose, type Chooser, type Wish } from "../../../src/chooser/index.ts";
import type { Clock } from "../../../src/clock.ts";
import { cluster } from "../../support/cluster.ts";
import { never } from "./leader.ts";

const seen = cluster("ideal 3 | voters h1 h2 h3 | spares h4");

/** A clock whose sleeps end when they are told to. */
function stopwatch(): { readonly clock: Clock; readonly asked: number[]; readonly ring: () => void } {
  const asked: number[] = [];
  let ring = (): void => undefined;
  const clock: Clock = {
    nowMs: () => 0,
    wallTime: () => new Date(0),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        asked.push(ms);
        ring = resolve;
        signal.addEventListener("abort", () => {
          reject(signal.reason as Error);
        });
      }),
  };
  return {
    clock,
    asked,
    ring: () => {
      ring();
    },
  };
}

/** In JavaScript anything can be thrown. */
const throws = (what: unknown) => (): never => {
  throw what as Error;
};

const ask = (choose: unknown, clock: Clock = stopwatch().clock, signal = never): Promise<Wish> =>
  wishOf({ name: "mine", choose: choose as Choose } satisfies Chooser, { seen, policy: defaultPolicy }, clock, signal);

describe("whatever a chooser does, the leader has a wish or the reason why there is none", () => {
  test.each<[string, unknown, object]>([
    ["answers", () => ["h4", "h1"], { seats: ["h4", "h1"], faults: [] }],
    ["answers later", () => Promise.resolve(["h4"]), { seats: ["h4"], faults: [] }],
    [
      "answers with something like a promise",
      () => ({
        then: (done: (list: string[]) => void) => {
          done(["h2"]);
        },
      }),
      { seats: ["h2"] },
    ],
    [
      "throws",
      () => {
        throw new Error("boom");
      },
      { failed: "threw", why: 'it threw "boom"' },
    ],
    ["rejects", () => Promise.reject(new Error("boom")), { failed: "threw", why: 'it threw "boom"' }],
    ["throws a text", throws("no"), { failed: "threw", why: 'it threw "no"' }],
    [
      "throws what can not be shown",
      throws(Object.create(null)),
      { failed: "threw", why: "it threw something that can not be shown" },
    ],
    [
      "throws a book",
      () => {
        throw new Error("x".repeat(1_000_000));
      },
      { failed: "threw", why: `it threw "${"x".repeat(200)}"` },
    ],
    [
      "has a `then` that throws",
      () => ({
        get then() {
          throw new Error("trap");
        },
      }),
      { failed: "threw", why: 'it threw "trap"' },
    ],
    ["returns nothing", () => undefined, { failed: "no-list" }],
    ["promises nothing", () => Promise.resolve(), { failed: "no-list" }],
    ["is no function", undefined, { failed: "threw" }],
  ])("one that %s", async (_, choose, wish) => {
    expect(await ask(choose)).toMatchObject({ by: "mine", ...wish });
  });

  test("one that has not answered after a second is passed over, and what it says later is ignored", async () => {
    const { clock, asked, ring } = stopwatch();
    let answer: (list: readonly string[]) => void = () => undefined;
    let refuse: (error: Error) => void = () => undefined;
    const late = ask(() => new Promise<readonly string[]>((resolve) => (answer = resolve)), clock);
    await vi.waitFor(() => {
      expect(asked).toEqual([1_000]);
    });
    ring();
    expect(await late).toEqual({ by: "mine", failed: "late", why: "it did not answer within 1000 ms" });
    answer(["h1"]);
    const broken = ask(() => new Promise((_, reject) => (refuse = reject)), clock);
    await vi.waitFor(() => {
      expect(asked).toHaveLength(2);
    });
    ring();
    expect(await broken).toMatchObject({ failed: "late" });
    refuse(new Error("nobody listens to this any more, and it must not end the process"));
    await new Promise(setImmediate);
  });

  test("one that is in time leaves no timer behind; one that is not, when the leader stops, neither", async () => {
    const signals: AbortSignal[] = [];
    const clock: Clock = {
      ...stopwatch().clock,
      sleep: (_, signal) => {
        signals.push(signal);
        return new Promise(() => undefined);
      },
    };
    await ask(() => ["h1"], clock);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    const own = new AbortController();
    const stopped = ask(() => new Promise(() => undefined), stopwatch().clock, own.signal);
    own.abort(new Error("stopped"));
    await expect(stopped).rejects.toThrow("stopped");
  });
});

test("it gets frozen copies: what it does to them changes nothing and is its own error", async () => {
  const before = structuredClone(seen);
  const wish = await ask((given: typeof seen, policy: { maxSeats: number }) => {
    expect(given).toEqual(before);
    expect(given).not.toBe(seen);
    expect(Object.isFrozen(given) && Object.isFrozen(given.members) && given.members.every(Object.isFrozen)).toBe(true);
    for (const change of [
      () => (given as { idealClusterSize: number }).idealClusterSize++,
      () => (given.members as unknown[]).pop(),
      () => ((given.volunteers[0] as { agent: string }).agent = "h9"),
      () => (policy.maxSeats = 15),
    ]) {
      expect(change).toThrow(TypeError);
    }
    return ["h1"];
  });
  expect(wish).toMatchObject({ seats: ["h1"] });
  expect(seen).toEqual(before);
});
