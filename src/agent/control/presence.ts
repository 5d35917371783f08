import type { Logger } from "pino";
import { Doorbell, firstOf, type Clock } from "../../clock.ts";
import { QuorateError, isRetryable } from "../../errors.ts";
import { grantedMs, isNoSpace, Session, type EtcdClient, type Op } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { ControlView } from "./control-view.ts";
import { isRefused, readRecord, writeRecord, type AgentRecord } from "./records.ts";

/** What this agent wants the cluster to see of it. */
export interface Appearance {
  readonly record: AgentRecord;
  /** Peer URLs it offers, comma-separated. */
  readonly volunteer: string | undefined;
  /** Client URLs it serves on as a voter, comma-separated. */
  readonly endpoints: string | undefined;
  /** Why it wants to leave. */
  readonly leaving: string | undefined;
  /** Whether it is converged, as its key says it. */
  readonly converged: string | undefined;
}

/** What etcd refuses today (no space, an expired lease) it may accept tomorrow; what this agent refuses stays refused. */
function mayPass(error: unknown): boolean {
  if (isRetryable(error)) return true;
  return error instanceof QuorateError && (error.code === "SESSION_LOST" || error.code === "ETCD_REFUSED");
}

/** What may pass while the same session goes on. */
function passesInSession(error: unknown): boolean {
  if (isNoSpace(error)) return true;
  return isRetryable(error) && !(error instanceof QuorateError && error.code === "SESSION_LOST");
}

/** Between tries, and while etcd has no space. */
const againMs = 250;
const spaceMs = 1_000;

/** How long after its time a lease may still be there: etcd looks twice a second, and a new raft leader later. */
const afterLeaseMs = 2_000;

interface PresenceDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly hostname: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly view: ControlView;
  readonly ttlMs: number;
}

/** Keeps this agent's keys in etcd on a session, opens a new session when one is lost, and writes keys again that others deleted. */
export class Presence {
  readonly #deps: PresenceDeps;
  readonly #bell = new Doorbell();
  #wanted: Appearance;
  /** What is wanted, as it is written. */
  #texts: { readonly of: Appearance; readonly keys: ReadonlyMap<string, string> } | undefined;
  #written = new Map<string, string>();
  #writtenRevision = 0;
  #session: Session | undefined;
  #saidNoSpace = false;
  #leaseStays = false;

  constructor(deps: PresenceDeps, first: Appearance) {
    this.#deps = deps;
    this.#wanted = first;
  }

  get wanted(): Appearance {
    return this.#wanted;
  }

  /** The session that is open now. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** Changes what is shown; written soon, by {@link run}. */
  show(change: Partial<Omit<Appearance, "record">> & { readonly record?: Partial<AgentRecord> }): void {
    this.#wanted = { ...this.#wanted, ...change, record: { ...this.#wanted.record, ...change.record } };
    this.#bell.ring();
  }

  /** Somebody else has changed this key: it is written again. */
  lost(key: string): void {
    if (this.#written.delete(key)) this.#bell.ring();
  }

  /** From now on a session that ends is not revoked: its keys stay until the lease expires. */
  leaveLease(): void {
    this.#leaseStays = true;
  }

  /** What is wanted is in etcd. */
  get written(): boolean {
    const wanted = this.#keysWanted();
    return wanted.size === this.#written.size && [...wanted].every(([key, value]) => this.#written.get(key) === value);
  }

  /**
   * Runs until aborted, or until this host turns out to be another agent's. `during` runs on each session and is stopped with it.
   *
   * @throws QuorateError DUPLICATE_HOSTNAME
   */
  async run(during: (session: Session, signal: AbortSignal) => Promise<never>, signal: AbortSignal): Promise<never> {
    const { client, clock, log, ttlMs } = this.#deps;
    for (;;) {
      try {
        const session = await Session.open(client, { ttlMs, clock, log }, signal);
        try {
          await this.#claim(session, signal);
          this.#session = session;
          const own = AbortSignal.any([signal, session.signal]);
          await firstOf<never>(
            own,
            (s) => this.#keepWritten(session, s),
            (s) => during(session, s),
          );
        } finally {
          this.#session = undefined;
          this.#written.clear();
          await (this.#leaseStays ? session.abandon() : session.close());
        }
      } catch (error) {
        signal.throwIfAborted();
        if (!mayPass(error)) throw error;
        if (isNoSpace(error)) this.#waitsForSpace();
        else log.warn({ err: error }, "session lost; opening a new one");
        await clock.sleep(isNoSpace(error) ? spaceMs : againMs, signal);
      }
    }
  }

  /** Takes this host's record, which nobody else may hold. */
  async #claim(session: Session, signal: AbortSignal): Promise<void> {
    const { client, keys, hostname, clock, log, view } = this.#deps;
    const key = keys.agents.key(hostname);
    let other: { readonly lease: string; readonly untilMs: number } | undefined;
    for (;;) {
      session.check();
      // What is shown may change while this is on its way: only what was sent counts as written.
      const value = writeRecord("agentRecord", this.#wanted.record);
      const claimed = (): void => {
        this.#written.set(key, value);
        view.ring(); // Whoever waits for `written` may have seen the last event of etcd already.
      };
      const first = await client.txn(
        {
          compare: [{ key, createRevision: 0 }],
          then: [{ put: key, value, lease: session.lease }],
          else: [{ range: key }],
        },
        { signal, repeatable: true },
      );
      if (first.succeeded) return claimed();
      const entry = first.ranges[0]?.[0];
      if (!entry) continue;
      const record = readRecord("agentRecord", entry.value);
      if (entry.lease === "0" || isRefused(record) || record.identity === this.#wanted.record.identity) {
        const again = await client.txn(
          { compare: [{ key, modRevision: entry.modRevision }], then: [{ put: key, value, lease: session.lease }] },
          { signal, repeatable: true },
        );
        if (again.succeeded) return claimed();
        continue;
      }
      if (other === undefined) {
        const forMs = ((await grantedMs(client, entry.lease, { signal })) ?? 0) + afterLeaseMs;
        other = { lease: entry.lease, untilMs: clock.nowMs() + forMs };
        log.warn({ other: record.identity, forMs }, "another agent of this name was here; waiting for its lease to expire");
      }
      // A lease that outlives its time is renewed by somebody; a new one was granted to somebody.
      if (entry.lease !== other.lease || clock.nowMs() >= other.untilMs) {
        throw new QuorateError(
          "DUPLICATE_HOSTNAME",
          `Cannot join as ${hostname}: another agent of that name is alive (identity ${record.identity})`,
          {
            hint: "give this host a name of its own with --hostname, or stop the other agent",
          },
        );
      }
      await clock.sleep(500, signal);
    }
  }

  #keysWanted(): ReadonlyMap<string, string> {
    if (this.#texts?.of !== this.#wanted) this.#texts = { of: this.#wanted, keys: this.#textsWanted() };
    return this.#texts.keys;
  }

  #textsWanted(): ReadonlyMap<string, string> {
    const { keys, hostname } = this.#deps;
    const { record, volunteer, endpoints, leaving, converged } = this.#wanted;
    const wanted = new Map([[keys.agents.key(hostname), writeRecord("agentRecord", record)]]);
    if (volunteer !== undefined) wanted.set(keys.volunteer.key(hostname), volunteer);
    if (endpoints !== undefined) wanted.set(keys.endpoints.key(hostname), endpoints);
    if (leaving !== undefined) wanted.set(keys.leaving.key(hostname), writeRecord("reason", { reason: leaving }));
    if (converged !== undefined) wanted.set(keys.converged.key(hostname), converged);
    return wanted;
  }

  async #keepWritten(session: Session, signal: AbortSignal): Promise<never> {
    const { view, clock, log } = this.#deps;
    view.subscribe(this.#bell, signal, (key) => this.#written.has(key));
    const checkEveryMs = Math.max(session.ttlMs, 10_000);
    let checkAtMs = clock.nowMs() + checkEveryMs;
    for (;;) {
      this.#forgetDeleted();
      try {
        await this.#write(session, signal);
        this.#saidNoSpace = false;
        if (clock.nowMs() >= checkAtMs) {
          await this.#verify(session, signal);
          checkAtMs = clock.nowMs() + checkEveryMs;
          continue;
        }
      } catch (error) {
        signal.throwIfAborted();
        // A lease that lives is worth more than news: where writes fail nobody gets another one.
        if (!passesInSession(error)) throw error;
        if (isNoSpace(error)) this.#waitsForSpace();
        else log.debug({ err: error }, "what this agent shows of itself could not be written; trying again");
        await clock.sleep(isNoSpace(error) ? spaceMs : againMs, signal);
        continue;
      }
      await firstOf<void>(
        signal,
        (own) => this.#bell.wait(own),
        (own) => clock.sleep(Math.max(0, checkAtMs - clock.nowMs()), own),
      );
    }
  }

  #waitsForSpace(): void {
    if (!this.#saidNoSpace) this.#deps.log.warn("etcd has no space left: what this agent shows of itself has to wait");
    this.#saidNoSpace = true;
  }

  /** What the view saw deleted after it was written is written again. */
  #forgetDeleted(): void {
    const { view } = this.#deps;
    for (const key of this.#written.keys()) {
      if (view.hasSeen(key, this.#writtenRevision) && view.get(key) === undefined) this.#written.delete(key);
    }
  }

  async #write(session: Session, signal: AbortSignal): Promise<void> {
    const wanted = this.#keysWanted();
    const ops: Op[] = [];
    for (const [key, value] of wanted) if (this.#written.get(key) !== value) ops.push({ put: key, value, lease: session.lease });
    for (const key of this.#written.keys()) if (!wanted.has(key)) ops.push({ del: key });
    if (ops.length === 0) return;
    session.check();
    const { revision } = await this.#deps.client.txn({ then: ops }, { signal, repeatable: true });
    this.#written = new Map(wanted);
    this.#writtenRevision = revision;
    this.#deps.view.ring();
  }

  /** The volunteer key is in neither watch: one read per TTL sees that somebody deleted it. */
  async #verify(session: Session, signal: AbortSignal): Promise<void> {
    const keys = [...this.#written.keys()];
    const { ranges } = await this.#deps.client.txn({ then: keys.map((key) => ({ range: key })) }, { signal });
    keys.forEach((key, i) => {
      const entry = ranges[i]?.[0];
      if (entry?.value !== this.#written.get(key) || entry?.lease !== session.lease) this.#written.delete(key);
    });
  }
}
