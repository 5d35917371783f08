import { setMaxListeners } from "node:events";
import type { Logger } from "pino";

/** The parts of an agent, which run side by side until one fails or the agent ends. */
export class Parts {
  /** Fires when the agent ends, and when a part has failed. */
  readonly living: AbortSignal;
  readonly #ending = new AbortController();
  readonly #log: Logger;
  readonly #isStopping: () => boolean;
  readonly #parts: Promise<unknown>[] = [];

  constructor(signal: AbortSignal, log: Logger, isStopping: () => boolean) {
    this.#log = log;
    this.#isStopping = isStopping;
    this.living = AbortSignal.any([signal, this.#ending.signal]);
    setMaxListeners(100, this.living); // Every part of the agent listens to it; Node would call more than ten a leak.
  }

  /** As `living`, for a part that goes on after a stop until `own` fires. */
  livingUntil(own: AbortSignal): AbortSignal {
    return AbortSignal.any([this.#ending.signal, own]);
  }

  /** Why the agent ends although nobody asked it to: the error of the part that failed first. */
  get failure(): AbortSignal {
    return this.#ending.signal;
  }

  /** Runs a part that should never end; when it fails, the agent ends with its error. Settles with it; after `quiet` it may fail. */
  keep(name: string, part: Promise<unknown> | undefined, quiet?: AbortSignal): Promise<void> {
    const kept = (part ?? Promise.resolve()).then(
      () => undefined,
      (error: unknown) => {
        if (this.#ending.signal.aborted || this.#isStopping() || quiet?.aborted === true) return;
        this.#log.error({ err: error, part: name }, "a part of the agent failed");
        this.#ending.abort(error);
      },
    );
    this.#parts.push(kept);
    return kept;
  }

  /** Ends all parts that are left, and waits for them. */
  async end(): Promise<void> {
    this.#ending.abort(new DOMException("The agent ends", "AbortError"));
    await Promise.allSettled(this.#parts);
  }
}
