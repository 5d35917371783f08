import type { IResponseHeader } from "etcd3";
import type { Logger } from "pino";
import { QuorateError } from "../errors.ts";
import type { Clock } from "../clock.ts";
import { toHex } from "./codec.ts";
import type { Endpoints } from "./endpoints.ts";
import { failureOf, isOfEndpoint, lateFailure, mayHaveHappened, wrongCluster } from "./failure.ts";
import type { Link, LinkStream, Rpcs } from "./link.ts";
import type { CallOptions } from "./types.ts";

const defaultTimeoutMs = 2_000;
/** The least one endpoint is given before the next is tried. */
const leastTryMs = 250;
/** The same where there is no other: a request to a raft leader that is gone hangs, a repetition is answered (FACTS.md). */
const leastLoneTryMs = 1_000;
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
}

export interface StreamKind {
  readonly service: "Watch" | "Lease";
  readonly method: "watch" | "leaseKeepAlive";
  readonly what: string;
  readonly requireLeader: boolean;
}

/** A stream of one endpoint. */
export interface CallerStream<Request> extends LinkStream<Request> {
  readonly endpoint: string;
  /**
   * Tells that an answer is overdue: closes the stream, has the endpoint tried last for a while, and cuts the connection where
   * nothing at all arrived since the last write. Returns the failure.
   */
  stalled(): QuorateError;
}

/** What ends a try that took too long; the error people see is made where the circumstances are known. */
const late = Symbol("late");
/** What stops a timer. */
const inTime = Symbol("in time");

/** Runs calls and streams on one cluster's endpoints: deadlines, failing over, one cluster id. */
export class Caller {
  readonly endpoints: Endpoints;
  readonly clock: Clock;
  readonly #log: Logger | undefined;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #clusterId: string | undefined;

  constructor(endpoints: Endpoints, clock: Clock, log: Logger | undefined, clusterId: string | undefined) {
    this.endpoints = endpoints;
    this.clock = clock;
    this.#log = log;
    this.#clusterId = clusterId;
  }

  /** Hex; undefined until the first response, unless it was given. */
  get clusterId(): string | undefined {
    return this.#clusterId;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /**
   * Runs one call: on the best endpoint, then on the next where that may help and cannot do harm, until the time is up.
   *
   * @throws QuorateError UNREACHABLE, DEADLINE, NO_QUORUM, ETCD_REFUSED, WRONG_CLUSTER, CLOSED; or the signal's reason, at once
   */
  async run<T>(kind: CallKind, options: CallOptions, attempt: (rpcs: Rpcs, endpoint: string) => Promise<T>): Promise<T> {
    const running = this.#run(kind, options, attempt);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #run<T>(kind: CallKind, options: CallOptions, attempt: (rpcs: Rpcs, endpoint: string) => Promise<T>): Promise<T> {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    const untilMs = this.clock.nowMs() + timeoutMs;
    const pinned = options.endpoint !== undefined;
    const tried = new Set<string>();
    let failure: QuorateError | undefined;
    let pause = pauseMs.first;
    for (;;) {
      this.#admit(options.signal);
      const left = untilMs - this.clock.nowMs();
      const candidates = options.endpoint === undefined ? this.endpoints.candidates() : [options.endpoint];
      const untried = candidates.filter((url) => !tried.has(url));
      const endpoint = untried[0];
      if (left <= 0) throw failure ?? lateFailure({ what: kind.what, endpoint: "etcd", sent: false }, timeoutMs);
      if (endpoint === undefined) {
        failure ??= this.#noEndpoint(kind.what);
        if (left <= pause || candidates.length === 0) throw failure;
        await this.#pause(pause, options.signal);
        pause = Math.min(2 * pause, pauseMs.most);
        tried.clear();
        continue;
      }
      tried.add(endpoint);
      const shareMs = pinned ? left : shareOf(left, untried.length);
      const result = await this.#try(kind, endpoint, { shareMs, leftMs: left, pinned }, options.signal, attempt);
      if ("value" in result) return result.value;
      const safe = kind.repeatable || !mayHaveHappened(result.failure);
      if (pinned || !safe || !isOfEndpoint(result.failure)) throw result.failure;
      // The last try is often cut short by the deadline; what the one before met with tells more.
      if (failure === undefined || result.failure.code !== "DEADLINE" || shareMs >= leastTryMs) failure = result.failure;
      this.#log?.debug({ endpoint, what: kind.what, err: result.failure }, "trying another endpoint");
    }
  }

  async #try<T>(
    kind: CallKind,
    endpoint: string,
    time: { readonly shareMs: number; readonly leftMs: number; readonly pinned: boolean },
    signal: AbortSignal | undefined,
    attempt: (rpcs: Rpcs, endpoint: string) => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly failure: QuorateError }> {
    const { link, giveBack } = this.endpoints.borrow(endpoint);
    const startMs = this.clock.nowMs();
    const own = new AbortController();
    const release = passOn([signal, this.#closing.signal], own);
    let timer = this.#abortAfter(time.shareMs, own);
    // An object, as the type checker does not see that a callback changes it.
    const request = { sent: false, bytesBefore: 0 };
    const onSent = (): void => {
      if (request.sent) return;
      request.sent = true;
      request.bytesBefore = link.bytesReceived;
      if (kind.repeatable) return;
      // It cannot be given to another endpoint any more, so it gets all the time there is.
      timer.abort(inTime);
      timer = this.#abortAfter(time.leftMs - (this.clock.nowMs() - startMs), own);
    };
    const circumstances = { what: kind.what, endpoint };
    const onHeader = (header: IResponseHeader): void => {
      this.checkCluster(header, kind.what, endpoint);
    };
    try {
      const value = await link.call(
        { signal: own.signal, requireLeader: kind.requireLeader ?? true, proveFirst: kind.writes, onSent, onHeader },
        (rpcs) => attempt(rpcs, endpoint),
      );
      // A pinned call says nothing of what others need: a follower that is cut off still tells its status.
      if (!time.pinned) this.endpoints.worked(endpoint);
      return { value };
    } catch (error) {
      const gaveUp = own.signal.aborted;
      if (gaveUp && request.sent && kind.resetWhenLate) link.reset();
      this.#admit(signal);
      const failure =
        gaveUp && own.signal.reason === late
          ? lateFailure({ ...circumstances, sent: request.sent }, this.clock.nowMs() - startMs)
          : failureOf(error, { ...circumstances, sent: request.sent });
      if (isOfEndpoint(failure)) this.endpoints.failed(endpoint);
      // Nothing at all came back, not even an acknowledgement of http2: a new connection may work where this one is stuck.
      if (failure.code === "DEADLINE" && request.sent && link.bytesReceived === request.bytesBefore) link.reset();
      return { failure };
    } finally {
      timer.abort(inTime);
      release();
      giveBack();
    }
  }

  /**
   * Opens a stream on one endpoint. It ends (by `onEnd`, once, with an error of ours) when the connection is lost, the
   * endpoint leaves the list, another cluster answers, or the client is closed; not when `signal` fires once it is open.
   */
  async open<Request, Response extends { readonly header?: IResponseHeader }>(
    endpoint: string,
    kind: StreamKind,
    handlers: { readonly onData: (response: Response) => void; readonly onEnd: (failure: QuorateError) => void },
    options: { readonly signal: AbortSignal; readonly timeoutMs: number },
  ): Promise<CallerStream<Request>> {
    this.#admit(options.signal);
    if (!this.endpoints.urls().includes(endpoint)) throw retired(kind.what, endpoint);
    const { link, giveBack } = this.endpoints.borrow(endpoint);
    const own = new AbortController();
    const release = passOn([options.signal, this.#closing.signal], own);
    const timer = this.#abortAfter(options.timeoutMs, own);
    try {
      return await this.#watched(link, endpoint, kind, handlers, own.signal, giveBack);
    } catch (error) {
      giveBack();
      this.#admit(options.signal);
      const circumstances = { what: kind.what, endpoint, sent: false };
      this.endpoints.failed(endpoint);
      throw own.signal.reason === late ? lateFailure(circumstances, options.timeoutMs) : failureOf(error, circumstances);
    } finally {
      timer.abort(inTime);
      release();
    }
  }

  async #watched<Request, Response extends { readonly header?: IResponseHeader }>(
    link: Link,
    endpoint: string,
    kind: StreamKind,
    handlers: { readonly onData: (response: Response) => void; readonly onEnd: (failure: QuorateError) => void },
    dialling: AbortSignal,
    giveBack: () => void,
  ): Promise<CallerStream<Request>> {
    let over = false;
    const end = (error: unknown): void => {
      if (over) return;
      close();
      handlers.onEnd(failureOf(error, { what: kind.what, endpoint, sent: true }));
    };
    const stream = await link.open<Request, Response>(
      kind.service,
      kind.method,
      kind.requireLeader,
      {
        onData: (response) => {
          try {
            if (response.header) this.checkCluster(response.header, kind.what, endpoint);
          } catch (foreign) {
            end(foreign);
            return;
          }
          handlers.onData(response);
        },
        onEnd: (error) => {
          const failure = failureOf(error, { what: kind.what, endpoint, sent: true });
          if (isOfEndpoint(failure)) this.endpoints.failed(endpoint);
          end(failure);
        },
      },
      dialling,
    );
    const onClosing = (): void => {
      end(this.#closing.signal.reason);
    };
    const stopFollowing = this.endpoints.onRetired((url) => {
      if (url === endpoint) end(retired(kind.what, endpoint));
    });
    this.#closing.signal.addEventListener("abort", onClosing);
    const close = (): void => {
      if (over) return;
      over = true;
      stopFollowing();
      this.#closing.signal.removeEventListener("abort", onClosing);
      stream.close();
      giveBack();
    };
    // Both may have happened while it was dialling.
    if (this.#closing.signal.aborted) onClosing();
    else if (!this.endpoints.urls().includes(endpoint)) end(retired(kind.what, endpoint));
    let bytesBefore = link.bytesReceived;
    return {
      endpoint,
      write: (request) => {
        bytesBefore = link.bytesReceived;
        stream.write(request);
      },
      close,
      stalled: () => {
        close();
        this.endpoints.failed(endpoint);
        if (link.bytesReceived === bytesBefore) link.reset();
        return lateFailure({ what: kind.what, endpoint, sent: true });
      },
    };
  }

  /** @throws QuorateError WRONG_CLUSTER; the endpoint is left alone then */
  checkCluster(header: IResponseHeader, what: string, endpoint: string): void {
    const found = toHex(header.cluster_id);
    if (found === "0") return;
    this.#clusterId ??= found;
    if (found === this.#clusterId) return;
    this.endpoints.foreign(endpoint);
    this.#log?.error({ endpoint, expected: this.#clusterId, found }, "an endpoint belongs to another cluster");
    throw wrongCluster({ what, endpoint, sent: true }, this.#clusterId, found);
  }

  /** Ends every call and stream with CLOSED, and waits for them. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(new QuorateError("CLOSED", "Cannot use the etcd client: it was closed"));
    await Promise.allSettled(this.#running);
    this.endpoints.close();
  }

  #admit(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    this.#closing.signal.throwIfAborted();
  }

  async #pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const own = new AbortController();
    const release = passOn([signal, this.#closing.signal], own);
    try {
      await this.clock.sleep(ms, own.signal);
    } finally {
      release();
    }
  }

  /** Aborts `target` with {@link late} after `ms`. Aborting what it returns stops the timer. */
  #abortAfter(ms: number, target: AbortController): AbortController {
    const stop = new AbortController();
    this.clock.sleep(Math.max(0, ms), stop.signal).then(
      () => {
        target.abort(late);
      },
      () => undefined,
    );
    return stop;
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

function retired(what: string, endpoint: string): QuorateError {
  const details = { retryable: true, data: { endpoint, outcome: "unknown" } };
  return new QuorateError("UNREACHABLE", `Cannot ${what}: ${endpoint} is no longer an endpoint`, details);
}

/** What one endpoint gets of the time that is left. */
function shareOf(leftMs: number, untried: number): number {
  return Math.min(leftMs, Math.max(untried === 1 ? leastLoneTryMs : leastTryMs, leftMs / Math.max(2, untried)));
}

/**
 * Aborts `target` when one of the sources fires, until the returned function is called. In place of `AbortSignal.any`, whose
 * signals stay registered with a long-lived source for good.
 */
export function passOn(sources: readonly (AbortSignal | undefined)[], target: AbortController): () => void {
  const undo = sources.flatMap((source) => {
    if (source === undefined) return [];
    const abort = (): void => {
      target.abort(source.reason);
    };
    if (source.aborted) abort();
    source.addEventListener("abort", abort, { once: true });
    return [() => source.removeEventListener("abort", abort)];
  });
  return () => {
    for (const stop of undo) stop();
  };
}
