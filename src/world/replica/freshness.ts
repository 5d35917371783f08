import { aborted, passOn, within } from "../../clock.ts";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { Barrier } from "./barrier.ts";
import type { Copy } from "./copy.ts";
import type { Floor } from "./floor.ts";
import type { ReadMode, ReadOptions, ReplicaStatus } from "./types.ts";
import { readPosition } from "./wire.ts";

export interface FreshnessParts {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly copy: Copy | undefined;
  readonly floor: Floor;
  /** Fires with CLOSED. */
  readonly over: AbortSignal;
  readonly status: () => ReplicaStatus;
}

type Patience = Pick<ReadOptions, "signal" | "timeoutMs">;

export const defaultTimeoutMs = 5_000;
/** For one round of the barrier: who comes while one is under way waits for two. */
const roundMs = defaultTimeoutMs / 2;

/** Whether the copy is as fresh as a read asks, and the waiting until it is. */
export class Freshness {
  readonly #parts: FreshnessParts;
  readonly #copy: Copy | undefined;
  readonly #floor: Floor;
  readonly #barrier: Barrier<number>;
  readonly #barriers = { joined: 0, waitMs: 0, failed: 0 };
  /** The last linearizable look: when it was sent, and what the store had then. */
  #looked = { atMs: -Infinity, revision: 0, clusterId: "" };

  constructor(parts: FreshnessParts) {
    this.#parts = parts;
    this.#copy = parts.copy;
    this.#floor = parts.floor;
    this.#barrier = new Barrier(() => this.#look());
  }

  get barriers(): { readonly rounds: number; readonly joined: number; readonly waitMs: number; readonly failed: number } {
    return { rounds: this.#barrier.rounds, ...this.#barriers };
  }

  /** The usual case: there is nothing to wait for. */
  isReady({ read = "session" }: ReadOptions): boolean {
    const copy = this.#copy;
    if (copy?.isThere !== true) return false;
    return read === "local" || (read === "session" && this.#floor.isPresent(copy) && copy.revision >= this.#floor.of(copy));
  }

  /** The usual linearizable read: it waits for the common look and no more. A timer, or a promise, for each costs more than the read. */
  joins(options: ReadOptions): boolean {
    const copy = this.#copy;
    return options.read === "linearizable" && isPatient(options) && copy?.isThere === true && copy.progressPossible === true;
  }

  isAt(revision: number): boolean {
    const copy = this.#copy!;
    return this.#floor.isPresent(copy) && copy.isAt(revision);
  }

  /** The common look: a revision that is not older than this call. */
  join(): Promise<number> {
    this.#barriers.joined++;
    return this.#barrier.join();
  }

  /** {@link join}, for as long as the caller has time: round after round. @throws QuorateError STALE, CLOSED; the signal's reason */
  async revision(options: Patience): Promise<number> {
    return await this.#waitFor(options, "the cluster's revision", async (signal) => {
      for (;;) {
        try {
          return await this.join();
        } catch (error) {
          // Only a round whose time was up may end well the next time: what has a cause is told.
          if (signal.aborted || !(error instanceof QuorateError) || error.code !== "STALE" || error.cause !== undefined)
            throw error;
        }
      }
    });
  }

  /** Whether the copy may answer, now that everything needed was waited for; false: ask the cluster. */
  async prepared(options: ReadOptions): Promise<boolean> {
    const mode = options.read ?? "session";
    if (mode === "direct" || this.#copy === undefined) return false;
    const copy = this.#copy;
    if (!(await this.hasCopy(options, "a read"))) return false;
    if (mode === "local") return true;
    const isPresent = (): boolean => this.#floor.isPresent(copy);
    if (!isPresent()) await this.#waitFor(options, "the cluster's successor", (signal) => copy.until(isPresent, signal));
    const needs = await this.#needs(mode, options);
    if (needs === undefined) return false;
    if (copy.isAt(needs)) return true;
    // Without progress replies one can only wait for an event, which may never come.
    if (!(await this.#progressPossible(copy, options))) return false;
    await this.#waitFor(options, `revision ${needs}`, (signal) => copy.reaches(needs, signal));
    return true;
  }

  /** True when there is one, false when there will hardly be one. Starts the feeder. */
  async hasCopy(options: Patience, what: string): Promise<boolean> {
    throwIfClosed(this.#parts.over, what);
    const copy = this.#copy;
    if (copy === undefined) return false;
    copy.start();
    if (!copy.isThere && copy.trouble === undefined) {
      await this.#waitFor(options, "the replica's first copy", (signal) =>
        copy.until(() => copy.isThere || copy.trouble !== undefined, signal),
      );
    }
    return copy.isThere;
  }

  /** The revision a read needs; undefined where the copy cannot know. */
  async #needs(mode: Exclude<ReadMode, "local" | "direct">, options: ReadOptions): Promise<number | undefined> {
    if (mode === "session") return this.#floor.of(this.#copy!);
    if (typeof mode === "object" && "atLeast" in mode) return mode.atLeast;
    const { atMs, clusterId, revision } = this.#looked;
    const isRecent = (maxStaleMs: number): boolean =>
      this.#parts.clock.nowMs() - atMs <= maxStaleMs && clusterId === this.#copy!.clusterId;
    if (typeof mode === "object" && isRecent(mode.maxStaleMs)) return revision;
    if (!(await this.#progressPossible(this.#copy!, options))) return undefined;
    return await this.revision(options);
  }

  async #progressPossible(copy: Copy, options: ReadOptions): Promise<boolean> {
    if (copy.progressPossible === undefined) {
      await this.#waitFor(options, "the feeder", (signal) => copy.until(() => copy.progressPossible !== undefined, signal));
    }
    return copy.progressPossible === true;
  }

  /** One linearizable look, and the copy has come as far. */
  async #look(): Promise<number> {
    const { client, keys, clock } = this.#parts;
    const atMs = clock.nowMs();
    try {
      return await this.#waitFor({ timeoutMs: roundMs }, "the cluster's revision", async (signal) => {
        const { revision, clusterId } = await readPosition(client, keys.aroundWorld, { signal, timeoutMs: roundMs });
        const copy = this.#copy;
        // Revisions of two clusters do not compare.
        if (copy !== undefined) await copy.until(() => copy.isThere && copy.clusterId === clusterId, signal);
        await copy?.reaches(revision, signal);
        signal.throwIfAborted();
        this.#looked = { atMs, revision, clusterId };
        return revision;
      });
    } catch (error) {
      this.#barriers.failed++;
      throw error;
    } finally {
      this.#barriers.waitMs += clock.nowMs() - atMs;
    }
  }

  /** What the wait is for says STALE when it does not come in time, or cannot. */
  async #waitFor<T>(options: Patience, what: string, task: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, over, status } = this.#parts;
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    const own = new AbortController();
    const release = passOn([options.signal, over], own);
    const outer = own.signal;
    const stale = (cause?: unknown): QuorateError => {
      const { revision, ageMs, state } = status();
      const message = `Cannot read as of ${what}: the replica is ${state} at revision ${revision}`;
      const hint = "Read with { read: 'local' } to get what there is, however old.";
      return new QuorateError("STALE", message, { retryable: true, hint, cause, data: { revision, ageMs, outcome: "none" } });
    };
    try {
      outer.throwIfAborted();
      return await within(
        timeoutMs,
        clock,
        outer,
        (signal) => Promise.race([task(signal), aborted(signal)]),
        () => stale(),
      );
    } catch (error) {
      if (outer.aborted || !(error instanceof QuorateError) || error.code === "STALE") throw error;
      throw stale(error);
    } finally {
      release();
    }
  }
}

function isPatient({ signal, timeoutMs }: ReadOptions): boolean {
  return signal === undefined && timeoutMs === undefined;
}

/** @throws QuorateError CLOSED once `over` has fired */
export function throwIfClosed(over: AbortSignal, what: string): void {
  if (over.aborted) throw new QuorateError("CLOSED", `Cannot read ${what}: the replica was closed`);
}
