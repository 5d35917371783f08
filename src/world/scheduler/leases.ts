import { passOn, raced } from "../../clock.ts";
import { Session } from "../../etcd/index.ts";
import type { Context } from "../context.ts";

/** Sessions that all who take part in one World share, one for each TTL: opened with the first use, and anew once it was lost. */
export class Leases {
  readonly #context: Context;
  readonly #over: AbortSignal;
  readonly #sessions = new Map<number, Promise<Session>>();

  constructor(context: Context, over: AbortSignal) {
    this.#context = context;
    this.#over = over;
  }

  /** @throws as opening a session; the signal's reason */
  async shared(ttlMs: number, signal: AbortSignal): Promise<Session> {
    const present = this.#sessions.get(ttlMs);
    if (present !== undefined) {
      const session = await raced(present, signal).catch(() => undefined);
      signal.throwIfAborted();
      if (session !== undefined && !isOver(session)) return session;
      if (this.#sessions.get(ttlMs) === present) this.#sessions.delete(ttlMs);
    }
    let opening = this.#sessions.get(ttlMs);
    if (opening === undefined) {
      opening = this.#open(ttlMs, this.#over);
      opening.catch(() => undefined);
      this.#sessions.set(ttlMs, opening);
    }
    return await raced(opening, signal);
  }

  /** One that nobody else uses; whoever opens it ends it. Only its opening ends with the signal. */
  async lasting(ttlMs: number, signal: AbortSignal): Promise<Session> {
    const opening = new AbortController();
    const release = passOn([signal], opening);
    try {
      return await this.#open(ttlMs, opening.signal);
    } finally {
      release();
    }
  }

  async #open(ttlMs: number, signal: AbortSignal): Promise<Session> {
    const { clock, log } = this.#context;
    const client = await this.#context.client();
    return await Session.open(client, { ttlMs, clock, ...(log === undefined ? {} : { log }) }, signal);
  }

  /** Revokes them; takes 1 s at most. */
  async close(): Promise<void> {
    const all = [...this.#sessions.values()];
    this.#sessions.clear();
    await Promise.allSettled(all.map(async (opening) => (await opening).close()));
  }
}

function isOver(session: Session): boolean {
  try {
    session.check();
    return false;
  } catch {
    return true;
  }
}
