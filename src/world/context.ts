import type { Logger } from "pino";
import { passOn, raced } from "../clock.ts";
import type { Clock } from "../clock.ts";
import { Deadlines } from "../etcd/index.ts";
import { inTime } from "../etcd/signals.ts";
import type { EtcdClient } from "../etcd/index.ts";
import type { Keys } from "../keys.ts";
import type { CallOptions } from "./api/common.ts";
import { WorldError, asWorldError } from "./error.ts";
import type { Doing } from "./error.ts";
import { MalformedKeys } from "./malformed.ts";
import type { Replica, ReplicaOptions, ReplicaWrites } from "./replica/index.ts";

export interface ContextParts {
  readonly hostname: string;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly sessionTtlMs: number;
  /** Of the tree that is meant where nobody names one. */
  readonly uri?: (() => string) | undefined;
  /** Called with the first use, and again where it failed. */
  readonly connect: () => Promise<Opened>;
  /** Where there is a connection already. It ends with the World. */
  readonly opened?: Opened;
}

export interface Opened {
  readonly replica: Replica;
  readonly writes: ReplicaWrites;
  readonly how: ReplicaOptions;
}

export const defaultTimeoutMs = 5_000;
/** For writes that are under way when the World is closed. */
const lastWritesMs = 1_000;
/** Timers take no more. */
const longestMs = 2 ** 31 - 1;

/** What all parts of one World stand on: its connection, its deadlines, and its end. */
export class Context {
  readonly hostname: string;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log: Logger | undefined;
  readonly sessionTtlMs: number;
  readonly malformed: MalformedKeys;
  /** Undefined until the first use. */
  opened: Opened | undefined;
  readonly #connect: () => Promise<Opened>;
  readonly #deadlines: Deadlines;
  readonly #over = new AbortController();
  readonly #held = new Set<() => Promise<unknown>>();
  readonly #onOpened = new Set<() => void>();
  #opening: Promise<Opened> | undefined;
  #closed: Promise<void> | undefined;

  constructor({ hostname, keys, clock, log, sessionTtlMs, connect, opened }: ContextParts) {
    this.hostname = hostname;
    this.keys = keys;
    this.clock = clock;
    this.log = log;
    this.sessionTtlMs = sessionTtlMs;
    this.malformed = new MalformedKeys(log);
    this.#connect = connect;
    this.opened = opened;
    this.#deadlines = new Deadlines(clock);
  }

  /** Fires with CLOSED. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** @throws what connecting throws; WorldError CLOSED */
  async open(): Promise<Opened> {
    this.throwIfClosed();
    if (this.opened !== undefined) return this.opened;
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    const opened = await this.#opening;
    // The World was closed meanwhile: whoever closes waits for this.
    this.throwIfClosed();
    this.opened ??= opened;
    for (const tell of this.#onOpened) tell();
    this.#onOpened.clear();
    return this.opened;
  }

  async #openInTime(doing: Doing, options: CallOptions, patient: boolean): Promise<void> {
    if (patient && options.timeoutMs === undefined) {
      await raced(this.open(), options.signal ?? this.over);
      return;
    }
    const limit = this.limit(options, doing);
    try {
      await raced(this.open(), limit.signal);
    } finally {
      limit.end();
    }
  }

  async client(): Promise<EtcdClient> {
    return (this.opened ?? (await this.open())).replica.client;
  }

  /** Calls back once, when there is a connection; the returned function takes that back. */
  onOpened(tell: () => void): () => void {
    if (this.opened !== undefined) tell();
    else this.#onOpened.add(tell);
    return () => {
      this.#onOpened.delete(tell);
    };
  }

  throwIfClosed(): void {
    this.#over.signal.throwIfAborted();
  }

  /** Runs one call, once there is a connection; whatever it fails with becomes a WorldError. `patient`: that may take for ever. */
  async run<T>(doing: Doing, options: CallOptions, call: () => Promise<T>, patient = false): Promise<T> {
    try {
      checkCall(options, doing);
      this.throwIfClosed();
      options.signal?.throwIfAborted();
      if (this.opened === undefined) await this.#openInTime(doing, options, patient);
      return await call();
    } catch (error) {
      throw this.failure(error, doing, options);
    }
  }

  failure(error: unknown, doing: Doing, { signal }: CallOptions): WorldError {
    if (error instanceof WorldError && error === this.#over.signal.reason) {
      return new WorldError("CLOSED", `Cannot ${doing.what}: the World was closed`, { key: doing.key });
    }
    return asWorldError(error, doing, signal);
  }

  /** A signal that fires with the caller's, and when the call's time is up, until `end()`. */
  limit(options: CallOptions, doing: Doing, otherwiseMs = defaultTimeoutMs): { readonly signal: AbortSignal; end(): void } {
    const own = new AbortController();
    const release = passOn([options.signal], own);
    const timeoutMs = options.timeoutMs ?? otherwiseMs;
    const cancel = this.#deadlines.add(timeoutMs, () => {
      const message = `Cannot ${doing.what}: there was no answer within ${timeoutMs} ms`;
      own.abort(new WorldError("DEADLINE", message, { retryable: true, key: doing.key, data: { timeoutMs } }));
    });
    return {
      signal: own.signal,
      end: () => {
        cancel();
        release();
      },
    };
  }

  /** Of something that has to end with the World; the returned function says that it has ended. */
  hold(close: () => Promise<unknown>): () => void {
    this.#held.add(close);
    return () => {
      this.#held.delete(close);
    };
  }

  /** Idempotent. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  /** Waits for it, and no longer than so many milliseconds. */
  async #atMost(ms: number, settled: Promise<unknown> | undefined): Promise<void> {
    const enough = new AbortController();
    const over = this.clock.sleep(ms, enough.signal).catch(() => undefined);
    await Promise.race([over, settled]);
    enough.abort(inTime);
    await over;
  }

  async #close(): Promise<void> {
    this.#over.abort(new WorldError("CLOSED", "Cannot use the World: it was closed"));
    const opened = this.opened ?? (await this.#opening?.catch(() => undefined));
    await Promise.allSettled([...this.#held].map((close) => close()));
    const written = opened?.writes.close();
    await this.#atMost(lastWritesMs, written);
    // What still waits for an answer ends with its connection.
    await opened?.replica.close();
    await written;
    this.#deadlines.close();
  }
}

/** @throws WorldError INVALID_OPTION */
function checkCall({ timeoutMs, signal }: CallOptions, { what, key }: Doing): void {
  const given: unknown = signal;
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs <= longestMs)) {
    const state = `timeoutMs is ${timeoutMs}, and has to be more than 0, and ${longestMs} at most`;
    throw new WorldError("INVALID_OPTION", `Cannot ${what}: ${state}`, { key, data: { option: "timeoutMs" } });
  }
  if (given !== undefined && !(given instanceof AbortSignal)) {
    throw new WorldError("INVALID_OPTION", `Cannot ${what}: signal is no AbortSignal`, { key, data: { option: "signal" } });
  }
}
