import { describe, expect, test } from "vitest";
import type { CallOptions, ListEvent, ValueEvent, Watch, World } from "../../src/world/index.ts";
import { WorldError } from "../../src/world/index.ts";
import { compact, eventually, ways, worldOf } from "./fixture.ts";
import type { Watched, WorldEtcd } from "./fixture.ts";

/** One call of a World as the usual failures meet it. It has to go to etcd, also where there is a replica. */
export interface UsualCall {
  readonly name: string;
  readonly call: (world: World, options: CallOptions) => Promise<unknown>;
  /** What it was sent for may have happened. Default false. */
  readonly writes?: boolean;
}

/** What it fails with, and after how long. */
async function failureOf(name: string, call: Promise<unknown>): Promise<{ readonly error: WorldError; readonly tookMs: number }> {
  const fromMs = performance.now();
  const error = await call.then(
    (result) => new Error(`${name} did not fail, and gave ${JSON.stringify(result)}`),
    (failure: unknown) => failure,
  );
  if (!(error instanceof WorldError)) throw error as Error;
  expect(error.message, name).toMatch(/^Cannot /);
  return { error, tookMs: performance.now() - fromMs };
}

/** Tests of what every call promises, whatever it does. */
export function testUsualFailures(etcdOf: () => WorldEtcd, calls: readonly UsualCall[]): void {
  describe.each(ways)("$way, every call", ({ replica }) => {
    test("is refused at once by a signal that has fired, and ends at once by one that fires", async () => {
      const world = await worldOf(etcdOf(), { replica });
      const reason = new Error("enough");
      for (const { name, call } of calls) {
        const { error } = await failureOf(name, call(world, { signal: AbortSignal.abort(reason) }));
        expect(error, name).toMatchObject({ code: "ABORTED", outcome: "none", cause: reason });
      }
      const stop = new AbortController();
      etcdOf().proxy.stall();
      const failures = calls.map(({ name, call }) => failureOf(name, call(world, { signal: stop.signal, timeoutMs: 60_000 })));
      await Promise.race([Promise.all(failures), new Promise((resolve) => setImmediate(resolve))]);
      const fromMs = performance.now();
      stop.abort(reason);
      const ended = await Promise.all(failures);
      expect(performance.now() - fromMs).toBeLessThan(1_500);
      for (const [i, { name, writes = false }] of calls.entries()) {
        const { code, outcome } = ended[i]!.error;
        if (writes && outcome === "unknown") expect(code, name).toBe("OUTCOME_UNKNOWN");
        else expect({ code, outcome }, name).toEqual({ code: "ABORTED", outcome: "none" });
      }
    });

    test("ends with its deadline while etcd does not answer", async () => {
      const world = await worldOf(etcdOf(), { replica });
      etcdOf().proxy.stall();
      const ended = await Promise.all(calls.map(({ name, call }) => failureOf(name, call(world, { timeoutMs: 400 }))));
      for (const [i, { name, writes = false }] of calls.entries()) {
        const { error, tookMs } = ended[i]!;
        expect(tookMs, `${name}: ${error.message}`).toBeLessThan(1_000);
        const fitting = writes ? ["DEADLINE", "UNAVAILABLE", "OUTCOME_UNKNOWN"] : ["DEADLINE", "STALE", "UNAVAILABLE"];
        expect(fitting, `${name}: ${error.message}`).toContain(error.code);
        expect(error.outcome, name).toBe(error.code === "OUTCOME_UNKNOWN" ? "unknown" : "none");
        if (error.outcome === "none") expect(error.retryable, name).toBe(true);
      }
    });

    test("fails in time and as retryable while etcd is gone, and is served by the etcd that comes back", async () => {
      const etcd = etcdOf();
      const world = await worldOf(etcd, { replica });
      etcd.gone();
      const failures = await Promise.all(calls.map(({ name, call }) => failureOf(name, call(world, { timeoutMs: 800 }))));
      for (const [i, { name }] of calls.entries()) {
        const { error, tookMs } = failures[i]!;
        expect(tookMs, name).toBeLessThan(2_500);
        expect(["UNAVAILABLE", "DEADLINE", "STALE", "OUTCOME_UNKNOWN"], `${name}: ${error.message}`).toContain(error.code);
        if (error.outcome === "none") expect(error.retryable, name).toBe(true);
      }
      const patient = calls.map(({ name, call }) =>
        call(world, { timeoutMs: 30_000 }).catch((error: unknown) => {
          // What had left when etcd went is honestly unknown, and fails.
          if (!(error instanceof WorldError && error.code === "OUTCOME_UNKNOWN")) throw new Error(name, { cause: error });
        }),
      );
      etcd.back();
      await Promise.all(patient);
      for (const { call } of calls) await call(world, { timeoutMs: 10_000 });
    });

    test("is refused with CLOSED when the World is closed, and ends with it", async () => {
      const world = await worldOf(etcdOf(), { replica });
      etcdOf().proxy.stall();
      const failures = calls.map(({ name, call }) => failureOf(name, call(world, { timeoutMs: 60_000 })));
      await Promise.race([Promise.all(failures), new Promise((resolve) => setImmediate(resolve))]);
      const fromMs = performance.now();
      const closed = world.close();
      for (const [i, { name, writes = false }] of calls.entries()) {
        const { error } = await failures[i]!;
        expect(writes ? ["CLOSED", "OUTCOME_UNKNOWN"] : ["CLOSED"], `${name}: ${error.message}`).toContain(error.code);
      }
      await closed;
      expect(performance.now() - fromMs).toBeLessThan(4_000);
      for (const { name, call } of calls) {
        const { error } = await failureOf(name, call(world, {}));
        expect(error, name).toMatchObject({ code: "CLOSED", outcome: "none" });
      }
    });
  });
}

/** One watch as the usual failures meet it. */
export interface UsualWatch<E extends { readonly kind: string }> {
  readonly watch: (world: World, signal?: AbortSignal) => Watch<E>;
  readonly collect: (watch: Watch<E>) => Watched<E>;
  /** Makes one more change, past the World. Returns when etcd has it. */
  readonly change: (world: World, n: number) => Promise<unknown>;
  /** A key that nobody can read, where the watch looks. */
  readonly spoil?: (world: World) => Promise<unknown>;
}

/** Tests of what every watch promises. */
export function testUsualWatch<E extends ValueEvent<never> | ListEvent<never> | { readonly kind: string }>(
  etcdOf: () => WorldEtcd,
  what: string,
  { watch, collect, change, spoil }: UsualWatch<E>,
): void {
  describe.each(ways)(`$way, ${what}`, ({ replica }) => {
    test("tells an empty snapshot first, and each change once", async () => {
      const world = await worldOf(etcdOf(), { replica });
      const watched = collect(watch(world));
      await watched.begun();
      expect(watched.data).toMatchObject([{ kind: "snapshot" }]);
      expect(watched.now.size).toBe(0);
      for (const n of [1, 2, 3]) await change(world, n);
      await eventually("three changes", () => watched.data.length >= 4);
      expect(watched.data.map(({ kind }) => kind)).toEqual(["snapshot", "changes", "changes", "changes"]);
      expect(watched.wrong).toEqual([]);
    });

    test("goes on through the loss of etcd, says so, and tells what changed meanwhile, also after a compaction", async () => {
      const etcd = etcdOf();
      const world = await worldOf(etcd, { replica });
      const watched = collect(watch(world));
      await watched.begun();
      await change(world, 1);
      await eventually("the first change", () => watched.data.length === 2);
      etcd.gone();
      await eventually("it is told to be out of reach", () => watched.states.at(-1)?.live === false, 30_000);
      await change(world, 2);
      etcd.back();
      await eventually("it is live again", () => watched.states.at(-1)?.live === true && watched.data.length === 3, 30_000);
      etcd.gone();
      await eventually("it is out of reach again", () => watched.states.at(-1)?.live === false, 30_000);
      await change(world, 3);
      await change(world, 4);
      await compact(etcd);
      etcd.back();
      await eventually("the difference", () => watched.states.at(-1)?.live === true && watched.data.length >= 4, 30_000);
      const before = watched.data.length;
      await change(world, 5);
      await eventually("the last change", () => watched.data.length === before + 1, 30_000);
      expect(watched.wrong).toEqual([]);
      expect(watched.isOver).toBe(false);
    });

    test("completes by its signal, and fails with CLOSED when the World is closed", async () => {
      const world = await worldOf(etcdOf(), { replica });
      const stop = new AbortController();
      const [stopped, closed] = [collect(watch(world, stop.signal)), collect(watch(world))];
      await Promise.all([stopped.begun(), closed.begun()]);
      stop.abort();
      await eventually("it is over", () => stopped.isOver);
      expect(stopped.failure).toBeUndefined();
      await world.close();
      await eventually("it is over", () => closed.isOver);
      expect(closed.failure).toMatchObject({ code: "CLOSED" });
      const late = collect(watch(world));
      await eventually("it is over", () => late.isOver);
      expect(late.failure).toMatchObject({ code: "CLOSED" });
    });

    test.runIf(spoil !== undefined)("passes over what nobody can read, counts it, and goes on", async () => {
      const world = await worldOf(etcdOf(), { replica });
      await spoil!(world);
      const watched = collect(watch(world));
      await watched.begun();
      expect(watched.now.size).toBe(0);
      await eventually("it is counted", () => world.status.malformed.count > 0);
      await change(world, 1);
      await eventually("the change", () => watched.data.length === 2);
      expect(watched.wrong).toEqual([]);
    });
  });
}
