import type { ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from "etcd3";
import { QuorateError } from "../errors.ts";
import type { Caller } from "./caller.ts";
import { openStream } from "./streams.ts";
import type { EndpointStream } from "./streams.ts";

type Answer = ILeaseKeepAliveResponse | QuorateError;

/** One keepalive that is being asked for. */
export interface Renewal {
  /** Decimal int64. */
  readonly lease: string;
  /** For dialling, and again for the answer. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** The request leaves now. */
  readonly onSent: () => void;
}

/**
 * The keepalives of all sessions of one client, on one stream. It is opened with the first keepalive and goes with the last session;
 * where an answer is overdue it is given up for all, as nothing on it can be trusted to arrive.
 */
export class KeepAlives {
  readonly #caller: Caller;
  #users = 0;
  #stream: SharedStream | undefined;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** Keeps the stream until the returned function is called, once. */
  join(): () => void {
    this.#users++;
    return () => {
      if (--this.#users === 0) this.#drop();
    };
  }

  /** Where the stream goes; undefined where there is none. */
  get endpoint(): string | undefined {
    return this.#stream?.endpoint;
  }

  /**
   * Sends one keepalive through `endpoint` and returns the answer. At most one for each lease at a time.
   *
   * @throws QuorateError as every call, CLOSED with the client; or the signal's reason
   */
  async renew(endpoint: string, renewal: Renewal): Promise<ILeaseKeepAliveResponse> {
    if (this.#stream?.endpoint !== endpoint) {
      const opened = new SharedStream(this.#caller, endpoint, renewal.timeoutMs, () => {
        if (this.#stream === opened) this.#stream = undefined;
      });
      // Of two sessions that choose differently the later one has it.
      this.#stream?.retire();
      this.#stream = opened;
    }
    return await this.#stream.renew(renewal);
  }

  #drop(): void {
    this.#stream?.close();
    this.#stream = undefined;
  }
}

class SharedStream {
  readonly endpoint: string;
  readonly #caller: Caller;
  readonly #onOver: () => void;
  readonly #asked = new Map<string, (answer: Answer) => void>();
  readonly #dialling = new AbortController();
  readonly #opening: Promise<EndpointStream<ILeaseKeepAliveRequest>>;
  #retired = false;
  #over = false;

  constructor(caller: Caller, endpoint: string, timeoutMs: number, onOver: () => void) {
    this.#caller = caller;
    this.endpoint = endpoint;
    this.#onOver = onOver;
    this.#opening = openStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>(
      caller,
      endpoint,
      { service: "Lease", method: "leaseKeepAlive", what: "renew the lease" },
      {
        onData: (answer) => {
          this.#asked.get(answer.ID)?.(answer);
        },
        onEnd: (failure) => {
          this.#end(failure);
        },
      },
      { signal: this.#dialling.signal, timeoutMs },
    );
    // Whoever asks is told by `renew`.
    this.#opening.catch(() => {
      this.close();
    });
  }

  async renew({ lease, timeoutMs, signal, onSent }: Renewal): Promise<ILeaseKeepAliveResponse> {
    const stream = await this.#opening;
    signal.throwIfAborted();
    if (this.#over) throw closed();
    const timer = new AbortController();
    let giveUp: (() => void) | undefined;
    try {
      const answer = await new Promise<Answer>((resolve, reject) => {
        giveUp = () => {
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", giveUp, { once: true });
        this.#asked.set(lease, resolve);
        this.#caller.clock.sleep(timeoutMs, timer.signal).then(
          () => {
            this.#end(stream.stalled());
          },
          () => undefined,
        );
        onSent();
        stream.write({ ID: lease });
      });
      if (answer instanceof QuorateError) throw answer;
      return answer;
    } finally {
      if (giveUp) signal.removeEventListener("abort", giveUp);
      timer.abort();
      this.#asked.delete(lease);
      if (this.#retired && this.#asked.size === 0) this.close();
    }
  }

  /** Takes no more; what was asked is still answered. */
  retire(): void {
    this.#retired = true;
    if (this.#asked.size === 0) this.close();
  }

  close(): void {
    this.#end(closed());
  }

  #end(failure: QuorateError): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver();
    this.#dialling.abort(failure);
    this.#opening.then(
      (stream) => {
        stream.close();
      },
      () => undefined,
    );
    for (const answer of this.#asked.values()) answer(failure);
  }
}

function closed(): QuorateError {
  const details = { retryable: true, data: { outcome: "unknown" } };
  return new QuorateError("UNREACHABLE", "Cannot renew the lease: its stream was closed", details);
}
