import type { Logger } from "pino";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { EtcdClient } from "./client.ts";
import { toNumber } from "./codec.ts";
import { failureOf, reasonOf } from "./failure.ts";
import type { CallOptions } from "./types.ts";
import { awakeOrNot } from "./uptime.ts";

export interface SessionOptions {
  /** etcd grants whole seconds, 2 at least with default timing. */
  readonly ttlMs: number;
  readonly clock: Clock;
  readonly log?: Logger;
  /** How long before the server may expire the lease the session ends. Default a tenth of the TTL, 200 at least. */
  readonly marginMs?: number;
  /** How long the machine is up, suspended or not. Default: what Linux says in /proc/uptime. */
  readonly uptimeMs?: () => number | undefined;
}

/**
 * A lease kept alive. `signal` fires before the server can expire it: the TTL, minus a margin, after the last acknowledged
 * keepalive was *sent*, on this machine's monotonic clock, plus the time the machine was suspended meanwhile. Keepalives go out
 * every third of the TTL; one that is not answered is repeated through other endpoints while there is time.
 */
export class Session implements AsyncDisposable {
  /** Decimal int64, chosen here, so that a grant sent twice is one lease. */
  readonly lease: string;
  /** As etcdctl prints it. */
  readonly leaseHex: string;
  /** As granted. */
  readonly ttlMs: number;
  /** Reason: QuorateError SESSION_LOST, or CLOSED after `close()`, or that of the signal given to `open`. */
  readonly signal: AbortSignal;
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  /** The clock that also counts while the machine is suspended. */
  readonly #nowMs: () => number;
  readonly #log: Logger | undefined;
  readonly #marginMs: number;
  readonly #over = new AbortController();
  readonly #loops: Promise<unknown>;
  /** When the keepalive that was acknowledged last had been sent. */
  #ackedMs: number;
  #closed: Promise<void> | undefined;

  private constructor(client: EtcdClient, options: SessionOptions, lease: string, granted: Granted, outer: AbortSignal) {
    this.#client = client;
    this.#clock = options.clock;
    this.#nowMs = granted.nowMs;
    this.#log = options.log;
    this.lease = lease;
    this.leaseHex = BigInt(lease).toString(16);
    this.ttlMs = granted.ttlMs;
    this.#marginMs = options.marginMs ?? marginOf(granted.ttlMs);
    this.#ackedMs = granted.sentMs;
    this.signal = this.#over.signal;
    const leaveKeepAlives = client.keepAlives.join();
    const end = (): void => {
      this.#over.abort(outer.reason);
    };
    const { closing } = client.caller;
    const endWithClient = (): void => {
      this.#over.abort(closing.reason);
    };
    outer.addEventListener("abort", end, { once: true });
    closing.addEventListener("abort", endWithClient, { once: true });
    this.signal.addEventListener("abort", () => {
      outer.removeEventListener("abort", end);
      closing.removeEventListener("abort", endWithClient);
      leaveKeepAlives();
    });
    this.#loops = Promise.allSettled([this.#expire(), this.#keepAlive()]);
  }

  /**
   * Grants a lease and keeps it alive until it is lost, `close()` or `signal`. Only `close()` revokes it.
   *
   * @throws QuorateError as every call of the client; or the signal's reason
   */
  static async open(client: EtcdClient, options: SessionOptions, signal: AbortSignal): Promise<Session> {
    const lease = newLeaseId(client);
    const granted = await grant(client, lease, options, signal);
    signal.throwIfAborted();
    return new Session(client, options, lease, granted, signal);
  }

  /**
   * Throws the signal's reason when the session is over, checked against the clock and not against timers: call it right
   * before a write that relies on the lease is sent, or give the session to the call ({@link CallOptions.session}).
   */
  check(): void {
    if (!this.signal.aborted && this.#nowMs() >= this.#untilMs) this.#lose("no keepalive was acknowledged in time");
    this.signal.throwIfAborted();
  }

  /** Fires the signal, ends keepalives and revokes the lease, for at most 1 s. Idempotent. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  /** Fires the signal and ends keepalives; the lease is left to expire. Idempotent. */
  async abandon(): Promise<void> {
    this.#over.abort(new QuorateError("CLOSED", "Cannot use the session: it was closed"));
    await this.#loops;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    await this.abandon();
    if (this.#client.caller.closing.aborted) return;
    const kind = { what: `revoke lease ${this.leaseHex}`, repeatable: true, writes: true };
    try {
      await this.#client.caller.run(kind, { timeoutMs: 1_000 }, ({ lease }) => lease.leaseRevoke({ ID: this.lease }));
    } catch (error) {
      if (!reasonOf(error).includes("lease not found"))
        this.#log?.info({ err: error, lease: this.leaseHex }, "the lease is left to expire");
    }
  }

  /** When the session has to be over unless another keepalive is acknowledged. */
  get #untilMs(): number {
    return this.#ackedMs + this.ttlMs - this.#marginMs;
  }

  #lose(state: string, cause?: unknown): void {
    if (this.signal.aborted) return;
    const data = { lease: this.leaseHex, ttlMs: this.ttlMs, sinceAckMs: Math.round(this.#nowMs() - this.#ackedMs) };
    this.#log?.warn({ ...data, err: cause }, "the session is lost");
    this.#over.abort(new QuorateError("SESSION_LOST", `Cannot hold the session: ${state}`, { retryable: true, cause, data }));
  }

  async #expire(): Promise<void> {
    while (!this.signal.aborted) {
      const leftMs = this.#untilMs - this.#nowMs();
      if (leftMs <= 0) this.#lose("no keepalive was acknowledged in time");
      // A timer stands still while the machine is suspended.
      else await this.#clock.sleep(Math.min(leftMs, this.ttlMs / 6), this.signal).catch(() => undefined);
    }
  }

  async #keepAlive(): Promise<void> {
    for (;;) {
      await this.#clock.sleep(Math.max(0, this.#ackedMs + this.ttlMs / 3 - this.#nowMs()), this.signal);
      await this.#renew();
    }
  }

  /** One keepalive, through one endpoint after the other until one acknowledges it. Rejects when the session is over. */
  async #renew(): Promise<void> {
    const tried = new Set<string>();
    for (;;) {
      this.signal.throwIfAborted();
      const candidates = this.#client.endpoints.candidates();
      const endpoint = this.#endpoint(tried) ?? candidates.find((url) => !tried.has(url));
      if (endpoint === undefined) {
        tried.clear();
        await this.#clock.sleep(Math.min(100, this.ttlMs / 20), this.signal);
        continue;
      }
      tried.add(endpoint);
      const leftMs = this.#untilMs - this.#nowMs();
      const tryMs = Math.min(this.ttlMs / 6, Math.max(150, leftMs / (2 * Math.max(1, candidates.length))));
      try {
        await this.#renewOn(endpoint, tryMs);
        return;
      } catch (error) {
        this.signal.throwIfAborted();
        if (error instanceof QuorateError && error.code === "CLOSED") this.#over.abort(error);
        this.#log?.debug({ endpoint, err: error, leftMs: Math.round(leftMs) }, "a keepalive was not acknowledged");
      }
    }
  }

  /** Where the stream of all keepalives goes, unless that was in vain just now. */
  #endpoint(tried: ReadonlySet<string>): string | undefined {
    const { endpoint } = this.#client.keepAlives;
    return endpoint === undefined || tried.has(endpoint) ? undefined : endpoint;
  }

  async #renewOn(endpoint: string, timeoutMs: number): Promise<void> {
    let sentMs = 0;
    const onSent = (): void => {
      sentMs = this.#nowMs();
    };
    const { keepAlives } = this.#client;
    const answer = await keepAlives.renew(endpoint, { lease: this.lease, timeoutMs, signal: this.signal, onSent });
    if (toNumber(answer.TTL) <= 0) this.#lose("the server does not know its lease any more");
    // Too late: others may count on it that this session has given itself up.
    else if (this.#nowMs() >= this.#untilMs) this.#lose("a keepalive was acknowledged too late");
    else this.#ackedMs = sentMs;
  }
}

/** How long before the server may expire its lease a session ends, by default. */
export function marginOf(ttlMs: number): number {
  return Math.max(200, ttlMs / 10);
}

interface Granted {
  readonly ttlMs: number;
  /** When the grant was first sent: the lease cannot be older. By `nowMs`. */
  readonly sentMs: number;
  readonly nowMs: () => number;
}

async function grant(
  client: EtcdClient,
  ID: string,
  { ttlMs, clock, uptimeMs }: SessionOptions,
  signal: AbortSignal,
): Promise<Granted> {
  const what = "open a session";
  const timeoutMs = Math.min(5_000, Math.max(2_000, ttlMs / 2));
  const nowMs = awakeOrNot(clock, uptimeMs);
  const firstMs = nowMs();
  return await client.caller.run({ what, repeatable: true, writes: true }, { signal, timeoutMs }, async ({ lease }, endpoint) => {
    const sentMs = nowMs();
    try {
      const granted = await lease.leaseGrant({ ID, TTL: Math.max(1, Math.ceil(ttlMs / 1_000)) });
      return { ttlMs: toNumber(granted.TTL) * 1_000, sentMs, nowMs };
    } catch (error) {
      signal.throwIfAborted();
      if (!reasonOf(failureOf(error, { what, endpoint, sent: true })).includes("lease already exists")) throw error;
      // The answer to an earlier try was lost; the id is ours alone.
      const granted = await lease.leaseTimeToLive({ ID });
      return { ttlMs: toNumber(granted.grantedTTL) * 1_000, sentMs: firstMs, nowMs };
    }
  });
}

/** A lease that nobody keeps alive: what is put under it vanishes after `ttlMs`. Returns its id, decimal. Throws like {@link Session.open}. */
export async function grantLease(client: EtcdClient, options: SessionOptions, signal: AbortSignal): Promise<string> {
  const lease = newLeaseId(client);
  await grant(client, lease, options, signal);
  return lease;
}

/** Positive, and always 16 hex digits, so that every tool prints it alike. */
function newLeaseId(client: EtcdClient): string {
  const random = client.randomBytes(8).readBigUInt64BE();
  return ((random & 0x3fff_ffff_ffff_ffffn) | 0x4000_0000_0000_0000n).toString();
}

/** What a lease was granted for, in milliseconds; undefined where there is no such lease (any more). Throws as every call of the client. */
export function grantedMs(client: EtcdClient, lease: string, options: CallOptions): Promise<number | undefined> {
  const kind = { what: `read lease ${BigInt(lease).toString(16)}`, repeatable: true, writes: false };
  return client.caller.run(kind, options, async ({ lease: leases }) => {
    const { TTL, grantedTTL } = await leases.leaseTimeToLive({ ID: lease });
    return toNumber(TTL) < 0 ? undefined : toNumber(grantedTTL) * 1_000;
  });
}
