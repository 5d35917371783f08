import type { Clock } from "../../../src/clock.ts";

/** Whose turn an event is: a process. The dead do nothing any more, and the paused do it when they go on. */
export interface Owner {
  dead: boolean;
  paused: boolean;
  readonly deferred: (() => void)[];
}

export function newOwner(): Owner {
  return { dead: false, paused: false, deferred: [] };
}

export interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly owner: Owner | undefined;
  run: (() => void) | undefined;
}

/** Immediates queued ahead: Node runs all microtasks between two of them, and goes round its loop only once for all. */
const ahead = 64;

/** Virtual time: events in order, each with everything that follows from it before the next. */
export class Timeline {
  nowMs = 0;
  events = 0;
  readonly #mostEvents: number;
  readonly #heap: Entry[] = [];
  #order = 0;

  constructor(mostEvents: number) {
    this.#mostEvents = mostEvents;
  }

  at(atMs: number, owner: Owner | undefined, run: () => void): Entry {
    const entry: Entry = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, owner, run };
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up]!;
      if (!before(entry, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = entry;
    return entry;
  }

  in(ms: number, owner: Owner | undefined, run: () => void): Entry {
    return this.at(this.nowMs + ms, owner, run);
  }

  /** Runs events until `over` says so. Rejects with what an event throws. */
  run(over: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let queued = 0;
      let stopped = false;
      const step = (): void => {
        queued--;
        if (stopped) return;
        try {
          if (!this.#step(over)) {
            stopped = true;
            resolve();
            return;
          }
        } catch (error) {
          stopped = true;
          reject(error);
          return;
        }
        if (queued < ahead / 2) fill();
      };
      const fill = (): void => {
        for (; queued < ahead; queued++) setImmediate(step);
      };
      fill();
    });
  }

  #step(over: () => boolean): boolean {
    if (over()) return false;
    for (;;) {
      const entry = this.#pop();
      if (entry === undefined) return false;
      const { run, owner } = entry;
      if (run === undefined || owner?.dead === true) continue;
      this.nowMs = entry.atMs;
      if (++this.events > this.#mostEvents) throw new Error(`it goes on and on: ${this.#mostEvents} events`);
      if (owner?.paused === true) owner.deferred.push(run);
      else run();
      return true;
    }
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Goes on: what was due meanwhile happens now, in order. */
export function resume(timeline: Timeline, owner: Owner): void {
  owner.paused = false;
  for (const run of owner.deferred.splice(0)) timeline.in(0.01, owner, run);
}

/** What wall clocks show when a life begins. */
const epochMs = Date.UTC(2026, 0, 1);

/** The clock of one process: it starts anywhere and runs at a rate of its own. */
export function clockOf(timeline: Timeline, owner: Owner, rate: number): Clock {
  const startMs = timeline.nowMs;
  return {
    nowMs: () => 1_000 + (timeline.nowMs - startMs) * rate,
    wallTime: () => new Date(epochMs + timeline.nowMs),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) {
          reject(signal.reason as Error);
          return;
        }
        const abort = (): void => {
          entry.run = undefined;
          reject(signal.reason as Error);
        };
        // Node's timers are never shorter.
        const entry = timeline.in(Math.max(1, ms) / rate, owner, () => {
          signal.removeEventListener("abort", abort);
          resolve();
        });
        signal.addEventListener("abort", abort, { once: true });
      }),
  };
}
