import type { Clock } from "../clock.ts";
import { inTime } from "./signals.ts";

interface Deadline {
  readonly atMs: number;
  /** Undefined when it is over, so that the call it was for can be forgotten. */
  onLate: (() => void) | undefined;
}

/** Many deadlines, most of which never come, on one timer: a timer and a signal for each call cost more than the call's own bytes. */
export class Deadlines {
  readonly #clock: Clock;
  readonly #waiting = new Set<Deadline>();
  #wake: { readonly atMs: number; readonly stop: AbortController } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls back after `ms`, unless the returned function is called before. */
  add(ms: number, onLate: () => void): () => void {
    const deadline: Deadline = { atMs: this.#clock.nowMs() + Math.max(0, ms), onLate };
    this.#waiting.add(deadline);
    this.#wakeBy(deadline.atMs);
    return () => {
      this.#waiting.delete(deadline);
      deadline.onLate = undefined;
    };
  }

  /** Those that wait never come. */
  close(): void {
    this.#waiting.clear();
    this.#wake?.stop.abort(inTime);
    this.#wake = undefined;
  }

  /** An earlier wake-up that is not needed any more does no harm. */
  #wakeBy(atMs: number): void {
    if (this.#wake !== undefined && this.#wake.atMs <= atMs) return;
    this.#wake?.stop.abort(inTime);
    const wake = { atMs, stop: new AbortController() };
    this.#wake = wake;
    this.#clock.sleep(Math.max(0, atMs - this.#clock.nowMs()), wake.stop.signal).then(
      () => {
        if (this.#wake === wake) this.#ring();
      },
      () => undefined,
    );
  }

  #ring(): void {
    this.#wake = undefined;
    const nowMs = this.#clock.nowMs();
    let next = Infinity;
    for (const deadline of this.#waiting) {
      if (deadline.atMs > nowMs) next = Math.min(next, deadline.atMs);
      else {
        this.#waiting.delete(deadline);
        deadline.onLate?.();
      }
    }
    if (next < Infinity) this.#wakeBy(next);
  }
}
