import { raced } from "../../clock.ts";
import { Session as WireSession } from "../../etcd/index.ts";
import type { Session } from "../api/common.ts";
import type { TtlOptions } from "../api/world.ts";
import type { Context } from "../context.ts";
import { asWorldError } from "../error.ts";
import { ttlMsOf } from "../ttl.ts";

const doing = { what: "open a session" };

/** The sessions of one World: the one that all share, and those of its users. */
export class Sessions {
  readonly #context: Context;
  #shared: OwnSession | undefined;
  #opening: Promise<OwnSession> | undefined;

  constructor(context: Context) {
    this.#context = context;
  }

  /** The World's own: opened with the first use, and anew once it was lost. @throws as opening a session; the signal's reason */
  async shared(signal: AbortSignal): Promise<OwnSession> {
    const present = this.#shared;
    if (present !== undefined && !present.isOver()) return present;
    // Many may ask for it at once, each with a deadline of its own.
    this.#opening ??= this.open(this.#context.sessionTtlMs, this.#context.over).finally(() => {
      this.#opening = undefined;
    });
    this.#shared = await raced(this.#opening, signal);
    return this.#shared;
  }

  async open(ttlMs: number, signal: AbortSignal): Promise<OwnSession> {
    const { clock, log } = this.#context;
    const client = await this.#context.client();
    const opening = new AbortController();
    const abort = (): void => {
      opening.abort(signal.reason);
    };
    signal.throwIfAborted();
    signal.addEventListener("abort", abort, { once: true });
    try {
      // Only its opening ends with the signal.
      const wire = await WireSession.open(client, { ttlMs, clock, ...(log === undefined ? {} : { log }) }, opening.signal);
      return new OwnSession(this.#context, wire);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }
}

/** A session as users see it. */
export class OwnSession implements Session {
  /** Decimal. */
  readonly lease: string;
  readonly leaseId: string;
  readonly ttlMs: number;
  readonly signal: AbortSignal;
  /** For what stands on it below the World. */
  readonly wire: WireSession;
  readonly #release: () => void;

  constructor(context: Context, wire: WireSession) {
    this.wire = wire;
    this.lease = wire.lease;
    this.leaseId = wire.leaseHex;
    this.ttlMs = wire.ttlMs;
    const over = new AbortController();
    this.signal = over.signal;
    const lose = (): void => {
      over.abort(asWorldError(wire.signal.reason, { what: "hold the session" }));
    };
    if (wire.signal.aborted) lose();
    else wire.signal.addEventListener("abort", lose, { once: true });
    this.#release = context.hold(() => this.close());
  }

  isOver(): boolean {
    try {
      this.wire.check();
      return false;
    } catch {
      return true;
    }
  }

  check(): void {
    try {
      this.wire.check();
    } catch (error) {
      throw asWorldError(error, { what: "hold the session" });
    }
  }

  async close(): Promise<void> {
    this.#release();
    await this.wire.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export async function session(context: Context, sessions: Sessions, options: TtlOptions): Promise<Session> {
  const { ttl } = options;
  return await context.run(doing, options, async () => {
    const limit = context.limit(options, doing);
    try {
      return await (ttl === undefined ? sessions.shared(limit.signal) : sessions.open(ttlMsOf(ttl), limit.signal));
    } finally {
      limit.end();
    }
  });
}
