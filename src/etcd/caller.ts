import { setMaxListeners } from "node:events";
import type { IResponseHeader } from "etcd3";
import type { Logger } from "pino";
import { QuorateError } from "../errors.ts";
import { passOn, type Clock } from "../clock.ts";
import { toHex } from "./codec.ts";
import { Credentials, isStaleToken, passwordOf } from "./credentials.ts";
import type { Login } from "./credentials.ts";
import { Deadlines } from "./deadlines.ts";
import type { Endpoints } from "./endpoints.ts";
import { failureOf, isOfEndpoint, isRefused, lateFailure, mayHaveHappened, reasonOf, wrongCluster } from "./failure.ts";
import type { Rpcs } from "./link.ts";
import { inTime, late } from "./signals.ts";
import { Stop } from "./stop.ts";
import type { CallOptions } from "./types.ts";

const defaultTimeoutMs = 2_000;
/** The least one endpoint is given before the next is tried. */
const leastTryMs = 250;
/** The same where there is no other: a request to a raft leader that is gone hangs, a repetition is answered (FACTS.md). */
const leastLoneTryMs = 1_000;
/** Tokens that one call gets: one may expire on its way where a process or machine stands still, or reach a server that has not heard of it. */
const mostRenewals = 5;
/** Between rounds over all endpoints. */
const pauseMs = { first: 20, most: 250 };

export interface CallKind {
  /** Reads behind "Cannot": "read /a". */
  readonly what: string;
  /** May be sent again after it may have been sent. Everything else goes out once. */
  readonly repeatable: boolean;
  /** It changes something, so that it must never reach another cluster. */
  readonly writes: boolean;
  /** Endpoints without raft leader refuse at once. Default true. */
  readonly requireLeader?: boolean;
  /** After a deadline or abort the connection is cut, so that the request cannot arrive later. Default false. */
  readonly resetWhenLate?: boolean;
  /** Goes without a token: it gets one. Default false. */
  readonly anonymous?: boolean;
}

/** An endpoint that answered for another cluster. Ids in hex. */
export interface Foreign {
  readonly endpoint: string;
  readonly expected: string;
  readonly found: string;
}

/** Runs calls and streams on one cluster's endpoints: deadlines, failing over, one cluster id. */
export class Caller {
  readonly endpoints: Endpoints;
  readonly clock: Clock;
  readonly #log: Logger | undefined;
  readonly #onForeign: ((foreign: Foreign) => void) | undefined;
  /** How long a call goes on while nothing but refused connections has ever been met. */
  readonly #refusedMs: number;
  /** Its endpoints are nobody else's, and end with it. */
  readonly #owns: boolean;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #tries = new Set<Stop>();
  readonly #deadlines: Deadlines;
  /** Undefined where nobody logs in. */
  readonly credentials: Credentials | undefined;
  readonly login: Login | undefined;
  #clusterId: string | undefined;
  /** The present cluster's id as headers have it. */
  #accepted: string | number | undefined;

  constructor(
    endpoints: Endpoints,
    clock: Clock,
    log: Logger | undefined,
    clusterId?: string,
    onForeign?: (foreign: Foreign) => void,
    login?: Login,
    refusedMs?: number,
    owns = true,
  ) {
    this.endpoints = endpoints;
    this.clock = clock;
    this.#log = log;
    this.#clusterId = clusterId;
    this.#onForeign = onForeign;
    this.#refusedMs = refusedMs ?? Infinity;
    this.#owns = owns;
    this.#deadlines = new Deadlines(clock);
    this.login = login;
    this.credentials = login && new Credentials(clock, () => this.#authenticate(login));
    // Every stream and session ends with the client: many listeners are no leak.
    setMaxListeners(0, this.closing);
  }

  /** Hex; undefined until the first response, unless it was given. */
  get clusterId(): string | undefined {
    return this.#clusterId;
  }

  /** From now on that cluster is listened to, and no other. */
  follow(clusterId: string): void {
    this.#clusterId = clusterId;
    this.#accepted = undefined;
    this.endpoints.forgive();
  }

  /** Fires with CLOSED. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /**
   * Runs one call: on the best endpoint, then on the next where that may help and cannot do harm, until the time is up.
   *
   * @throws QuorateError UNREACHABLE, DEADLINE, NO_QUORUM, ETCD_REFUSED, WRONG_CLUSTER, CLOSED; or the signal's reason, at once
   */
  async run<T>(kind: CallKind, options: CallOptions, attempt: (rpcs: Rpcs, endpoint: string) => Promise<T>): Promise<T> {
    const hedgeMs = kind.writes || !kind.repeatable || options.endpoint !== undefined ? undefined : options.hedgeMs;
    const running =
      hedgeMs === undefined ? this.#run(kind, options, attempt, new Set()) : this.#hedge(kind, options, attempt, hedgeMs);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Two of the same, the second later and on another endpoint; the one that is not needed is ended. */
  async #hedge<T>(
    kind: CallKind,
    options: CallOptions,
    attempt: (rpcs: Rpcs, endpoint: string) => Promise<T>,
    hedgeMs: number,
  ): Promise<T> {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    const own = new AbortController();
    const release = passOn([options.signal, this.closing], own);
    const tried = new Set<string>();
    const run = (leftMs: number): Promise<T> =>
      this.#run(kind, { ...options, timeoutMs: leftMs, signal: own.signal }, attempt, tried);
    const later = async (): Promise<T> => {
      await this.clock.sleep(hedgeMs, own.signal);
      if (this.endpoints.candidates().every((url) => tried.has(url))) return await first;
      return await run(Math.max(1, timeoutMs - hedgeMs));
    };
    const first = run(timeoutMs);
    const both = [first, later()] as const;
    try {
      return await Promise.any(both);
    } catch {
      return await first;
    } finally {
      own.abort(inTime);
      release();
      await Promise.allSettled(both);
    }
  }

  async #run<T>(
    kind: CallKind,
    options: CallOptions,
    attempt: (rpcs: Rpcs, endpoint: string) => Promise<T>,
    tried: Set<string>,
  ): Promise<T> {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    const untilMs = this.clock.nowMs() + timeoutMs;
    const pinned = options.endpoint !== undefined;
    let failure: QuorateError | undefined;
    let refused = this.#clusterId === undefined;
    let pause = pauseMs.first;
    let renewals = 0;
    for (;;) {
      this.admit(options.signal);
      const left = untilMs - this.clock.nowMs();
      const candidates = options.endpoint === undefined ? this.endpoints.candidates() : [options.endpoint];
      const untried = candidates.filter((url) => !tried.has(url));
      const endpoint = untried[0];
      if (left <= 0) throw failure ?? lateFailure({ what: kind.what, endpoint: "etcd", sent: false }, timeoutMs);
      if (endpoint === undefined) {
        failure ??= this.#noEndpoint(kind.what);
        if (left <= pause || candidates.length === 0) throw failure;
        if (refused && timeoutMs - left >= this.#refusedMs) throw failure;
        await this.#pause(pause, options.signal);
        pause = Math.min(2 * pause, pauseMs.most);
        tried.clear();
        continue;
      }
      tried.add(endpoint);
      const shareMs = pinned ? left : shareOf(left, untried.length);
      const result = await this.#try(kind, endpoint, { shareMs, leftMs: left, pinned }, options, attempt);
      if ("value" in result) return result.value;
      if (result.stale && renewals < mostRenewals) {
        renewals++;
        tried.delete(endpoint);
        continue;
      }
      const safe = kind.repeatable || !mayHaveHappened(result.failure);
      if (pinned || !safe || !isOfEndpoint(result.failure)) throw result.failure;
      refused &&= isRefused(result.failure);
      // The last try is often cut short by the deadline; what the one before met with tells more.
      if (failure === undefined || result.failure.code !== "DEADLINE" || shareMs >= leastTryMs) failure = result.failure;
      this.#log?.debug({ endpoint, what: kind.what, err: result.failure }, "trying another endpoint");
    }
  }

  async #try<T>(
    kind: CallKind,
    endpoint: string,
    time: { readonly shareMs: number; readonly leftMs: number; readonly pinned: boolean },
    { signal, session }: CallOptions,
    attempt: (rpcs: Rpcs, endpoint: string) => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly failure: QuorateError; readonly stale: boolean }> {
    const { link, giveBack } = this.endpoints.borrow(endpoint);
    const startMs = this.clock.nowMs();
    const own = new Stop();
    const release = signal === undefined ? undefined : passOn([signal], own);
    this.#tries.add(own);
    const onLate = (): void => {
      own.abort(late);
    };
    let stopTimer = this.#deadlines.add(time.shareMs, onLate);
    // An object, as the type checker does not see that a callback changes it.
    const request = { sent: false, bytesBefore: 0 };
    const onSent = (): void => {
      session?.check();
      if (request.sent) return;
      request.sent = true;
      request.bytesBefore = link.bytesReceived;
      if (kind.repeatable) return;
      // It cannot be given to another endpoint any more, so it gets all the time there is.
      stopTimer();
      stopTimer = this.#deadlines.add(time.leftMs - (this.clock.nowMs() - startMs), onLate);
    };
    const circumstances = { what: kind.what, endpoint };
    const onHeader = (header: IResponseHeader): void => {
      this.checkCluster(header, kind.what, endpoint);
    };
    let token: string | undefined;
    try {
      token = kind.anonymous === true ? undefined : (await this.credentials?.pass())?.token;
      const value = await link.call(
        { signal: own, requireLeader: kind.requireLeader ?? true, token, proveFirst: kind.writes, onSent, onHeader },
        (rpcs) => attempt(rpcs, endpoint),
      );
      // A pinned call says nothing of what others need: a follower that is cut off still tells its status.
      if (!time.pinned) this.endpoints.worked(endpoint);
      return { value };
    } catch (error) {
      const gaveUp = own.aborted;
      if (gaveUp && request.sent && kind.resetWhenLate) link.reset();
      this.admit(signal);
      const failure =
        gaveUp && own.reason === late
          ? lateFailure({ ...circumstances, sent: request.sent }, this.clock.nowMs() - startMs)
          : failureOf(error, { ...circumstances, sent: request.sent });
      if (isOfEndpoint(failure)) this.endpoints.failed(endpoint);
      // Who was told that there is no authentication hears nothing when it is turned on; with a certificate it counts as whoever that is of.
      const stale =
        this.credentials !== undefined &&
        kind.anonymous !== true &&
        (isStaleToken(failure) || (token === undefined && /permission denied|user name not found/.test(reasonOf(failure))));
      if (stale) await this.credentials.forget(token);
      // Nothing at all came back, not even an acknowledgement of http2: a new connection may work where this one is stuck.
      if (failure.code === "DEADLINE" && request.sent && link.bytesReceived === request.bytesBefore) link.reset();
      return { failure, stale };
    } finally {
      stopTimer();
      this.#tries.delete(own);
      release?.();
      giveBack();
    }
  }

  async #authenticate(login: Login): Promise<string | undefined> {
    const { user } = login;
    const kind = { what: `log in as ${user}`, repeatable: true, writes: false, anonymous: true };
    const password = await passwordOf(login);
    try {
      const { token } = await this.run(kind, {}, ({ auth }) => auth.authenticate({ name: user, password }));
      return token;
    } catch (error) {
      if (reasonOf(error).includes("authentication is not enabled")) return undefined;
      throw error;
    }
  }

  /** @throws QuorateError WRONG_CLUSTER; the endpoint is left alone then */
  checkCluster(header: IResponseHeader, what: string, endpoint: string): void {
    if (header.cluster_id === this.#accepted) return;
    const found = toHex(header.cluster_id);
    if (found === "0") return;
    this.#clusterId ??= found;
    if (found === this.#clusterId) {
      this.#accepted = header.cluster_id;
      return;
    }
    this.endpoints.foreign(endpoint);
    this.#log?.error({ endpoint, expected: this.#clusterId, found }, "an endpoint belongs to another cluster");
    this.#onForeign?.({ endpoint, expected: this.#clusterId, found });
    throw wrongCluster({ what, endpoint, sent: true }, this.#clusterId, found);
  }

  /** Ends every call and stream with CLOSED, and waits for them. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new QuorateError("CLOSED", "Cannot use the etcd client: it was closed"));
    for (const own of this.#tries) own.abort(this.closing.reason);
    await Promise.allSettled(this.#running);
    this.#deadlines.close();
    if (this.#owns) this.endpoints.close();
  }

  /** Throws the signal's reason, or CLOSED. */
  admit(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    this.closing.throwIfAborted();
  }

  async #pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const own = new AbortController();
    const release = passOn([signal, this.closing], own);
    try {
      await this.clock.sleep(ms, own.signal);
    } finally {
      release();
    }
  }

  #noEndpoint(what: string): QuorateError {
    const listed = this.endpoints.urls();
    if (listed.length === 0) {
      return new QuorateError("UNREACHABLE", `Cannot ${what}: no endpoint is known`, {
        retryable: true,
        data: { outcome: "none" },
      });
    }
    return new QuorateError("WRONG_CLUSTER", `Cannot ${what}: every endpoint belongs to another cluster (${listed.join(", ")})`, {
      data: { outcome: "none", expected: this.#clusterId },
    });
  }
}

/** What one endpoint gets of the time that is left. */
function shareOf(leftMs: number, untried: number): number {
  return Math.min(leftMs, Math.max(untried === 1 ? leastLoneTryMs : leastTryMs, leftMs / Math.max(2, untried)));
}
