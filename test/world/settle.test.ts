import { expect, onTestFinished, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { Iteration } from "../../src/world/watch/iteration.ts";
import { merge } from "../../src/world/watch/news.ts";
import type { DataNews, Handler, News, Source } from "../../src/world/watch/news.ts";
import { settled } from "../../src/world/watch/settle.ts";

/** Goes on by hand. */
class HandClock implements Clock {
  #nowMs = 0;
  readonly #sleepers = new Set<{ readonly atMs: number; readonly wake: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { atMs: this.#nowMs + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason as Error);
      });
    });
  }

  wallTime(): Date {
    return new Date(0);
  }

  get sleepers(): number {
    return this.#sleepers.size;
  }

  async pass(ms: number): Promise<void> {
    for (let i = 0; i < ms; i++) {
      this.#nowMs++;
      for (const sleeper of this.#sleepers) {
        if (sleeper.atMs > this.#nowMs) continue;
        this.#sleepers.delete(sleeper);
        sleeper.wake();
      }
      await turn();
    }
  }
}

/** All that is due has run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A source that a test speaks for. */
function spoken(): { readonly source: Source<string>; readonly says: () => Handler<string>; readonly ended: () => boolean } {
  let handler: Handler<string> | undefined;
  let ended = false;
  const source: Source<string> = (one) => {
    handler = one;
    return () => {
      ended = true;
    };
  };
  return { source, says: () => handler!, ended: () => ended };
}

const snapshot: News<string> = { kind: "snapshot", items: new Map([["a", "0"]]), revision: 1 };

function changed(before: string | undefined, after: string | undefined, revision: number): DataNews<string> {
  return { kind: "changes", changes: new Map([["a", { before, after }]]), revision };
}

interface Told {
  readonly atMs: number;
  readonly news: News<string>;
}

function settling(minMs: number, maxMs: number) {
  const clock = new HandClock();
  const { source, says, ended } = spoken();
  const told: Told[] = [];
  const failures: unknown[] = [];
  const end = settled(
    source,
    { minMs, maxMs },
    clock,
  )({
    onNews: (news) => void told.push({ atMs: clock.nowMs(), news }),
    onFailure: (error) => void failures.push(error),
  });
  onTestFinished(end);
  return { clock, says, ended, told, failures, end };
}

test("changes are told once there were none for minMs, as one; the snapshot and the state at once", async () => {
  const { clock, says, told } = settling(10, 100);
  const state: News<string> = { kind: "state", live: true, lagMs: 0 };
  void says().onNews(snapshot);
  void says().onNews(state);
  expect(told.map(({ news }) => news)).toEqual([snapshot, state]);
  void says().onNews(changed("0", "1", 2));
  await clock.pass(9);
  void says().onNews(changed("1", "2", 3));
  await clock.pass(9);
  expect(told.length).toBe(2);
  await clock.pass(1);
  expect(told[2]).toEqual({ atMs: 19, news: changed("0", "2", 3) });
  await clock.pass(100);
  expect(told.length).toBe(3);
});

test("what never comes to rest is told after maxMs, and what comes then is settled anew", async () => {
  const { clock, says, told } = settling(10, 25);
  for (let i = 0; i < 12; i++) {
    void says().onNews(changed(`${i}`, `${i + 1}`, i + 2));
    await clock.pass(5);
  }
  await clock.pass(30);
  expect(told.map(({ atMs }) => atMs)).toEqual([25, 50, 65]);
  expect(told.map(({ news }) => (news.kind === "changes" ? [...news.changes.values()] : []))).toEqual([
    [{ before: "0", after: "5" }],
    [{ before: "5", after: "10" }],
    [{ before: "10", after: "12" }],
  ]);
});

test("what has come and gone before it settled is not told, and what comes next is settled from its own beginning", async () => {
  const { clock, says, told } = settling(10, 15);
  void says().onNews(changed(undefined, "1", 2));
  await clock.pass(8);
  void says().onNews(changed("1", undefined, 3));
  await clock.pass(5);
  void says().onNews(changed(undefined, "2", 4));
  await clock.pass(9);
  expect(told).toEqual([]);
  await clock.pass(1);
  expect(told).toEqual([{ atMs: 23, news: changed(undefined, "2", 4) }]);
});

test("whoever takes its time gets what happened meanwhile as one more event", async () => {
  const clock = new HandClock();
  const { source, says } = spoken();
  const told: News<string>[] = [];
  let letGo = (): void => undefined;
  const end = settled(
    source,
    { minMs: 10, maxMs: 20 },
    clock,
  )({
    onNews: (news) => {
      told.push(news);
      return new Promise<void>((resolve) => (letGo = resolve));
    },
    onFailure: () => undefined,
  });
  onTestFinished(end);
  void says().onNews(changed("0", "1", 2));
  await clock.pass(10);
  void says().onNews(changed("1", "2", 3));
  await clock.pass(50);
  void says().onNews(changed("2", "3", 4));
  await clock.pass(50);
  expect(told).toEqual([changed("0", "1", 2)]);
  letGo();
  await clock.pass(10);
  expect(told).toEqual([changed("0", "1", 2), changed("1", "3", 4)]);
});

test("its end, and a failure, leave no timer and tell nothing more", async () => {
  const one = settling(10, 20);
  void one.says().onNews(changed("0", "1", 2));
  await turn();
  expect(one.clock.sleepers).toBe(1);
  one.end();
  expect([one.ended(), one.clock.sleepers]).toEqual([true, 0]);
  await one.clock.pass(50);
  expect(one.told).toEqual([]);
  const other = settling(10, 20);
  void other.says().onNews(changed("0", "1", 2));
  other.says().onFailure("denied");
  await other.clock.pass(50);
  expect([other.told, other.failures, other.clock.sleepers]).toEqual([[], ["denied"], 0]);
});

test("a slow iteration holds the source back at its limit, and lets it go as it takes", async () => {
  const { source, says } = spoken();
  const iteration = new Iteration(source, (news) => news, { coalesce: false, buffer: 2, signal: undefined });
  let free = 0;
  const say = (news: News<string>): void => void Promise.resolve(says().onNews(news)).then(() => free++);
  say(snapshot);
  say(changed("0", "1", 2));
  await turn();
  expect(free).toBe(1);
  // Of states the last is enough, and none is held back.
  for (const live of [false, true, false]) say({ kind: "state", live, lagMs: 0 });
  await turn();
  expect(free).toBe(4);
  expect((await iteration.next()).value).toEqual(snapshot);
  expect((await iteration.next()).value).toEqual(changed("0", "1", 2));
  await turn();
  expect(free).toBe(5);
  expect((await iteration.next()).value).toEqual({ kind: "state", live: false, lagMs: 0 });
  await iteration.return();
});

test("what waits is taken before a failure is, and after that it is over", async () => {
  const { source, says, ended } = spoken();
  const iteration = new Iteration(source, (news) => news, { coalesce: false, buffer: 9, signal: undefined });
  void says().onNews(snapshot);
  says().onFailure("denied");
  expect((await iteration.next()).value).toEqual(snapshot);
  await expect(iteration.next()).rejects.toBe("denied");
  expect(await iteration.next()).toEqual({ done: true, value: undefined });
  expect(ended()).toBe(true);
});

test("two events are the same as one that was merged of them", () => {
  const resynced: DataNews<string> = { ...changed("0", "1", 2), kind: "resynced" } as DataNews<string>;
  expect(merge(changed("0", "1", 2), changed("1", undefined, 3))).toEqual(changed("0", undefined, 3));
  expect(merge(changed(undefined, "1", 2), changed("1", undefined, 3))).toBeUndefined();
  expect(merge(resynced, changed("1", "2", 3))).toEqual({ ...changed("0", "2", 3), kind: "resynced" });
  expect(merge(snapshot as DataNews<string>, changed("0", "1", 2))).toEqual({
    kind: "snapshot",
    items: new Map([["a", "1"]]),
    revision: 2,
  });
  expect(merge(snapshot as DataNews<string>, changed("0", undefined, 2))).toEqual({
    kind: "snapshot",
    items: new Map(),
    revision: 2,
  });
});
