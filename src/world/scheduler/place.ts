import type { Session } from "../../etcd/index.ts";
import type { Place } from "../api/scheduler.ts";
import { asWorldError } from "../error.ts";

/** A place that this host has, until `end()` or its session's end. */
export class OwnPlace implements Place {
  readonly key: string;
  /** Create revision of its key. */
  readonly revision: number;
  readonly signal: AbortSignal;
  readonly #session: Session;
  readonly #over = new AbortController();
  readonly #what: string;
  readonly #lose = (): void => {
    this.end(asWorldError(this.#session.signal.reason, { what: this.#what, key: this.key }));
  };

  /** The key is there, under the session's lease, created at that revision. */
  constructor(key: string, revision: number, session: Session, what: string) {
    this.key = key;
    this.revision = revision;
    this.signal = this.#over.signal;
    this.#session = session;
    this.#what = what;
    if (session.signal.aborted) this.#lose();
    else session.signal.addEventListener("abort", this.#lose, { once: true });
  }

  check(): void {
    if (!this.signal.aborted) {
      try {
        this.#session.check();
      } catch (error) {
        // The session's signal has fired with it, and so has this one.
        this.end(asWorldError(error, { what: this.#what, key: this.key }));
      }
    }
    this.signal.throwIfAborted();
  }

  /** Whoever relies on it is told before this returns. Idempotent. */
  end(reason: unknown): void {
    this.#session.signal.removeEventListener("abort", this.#lose);
    this.#over.abort(reason);
  }
}
