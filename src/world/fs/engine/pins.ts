import type { KeyRecord, RecordAnswer, RecordOp } from "../../../etcd/index.ts";
import type { Compare } from "../../../etcd/index.ts";
import { encodePin } from "./records.ts";
import type { Pin } from "./records.ts";
import type { Store, StoreLease } from "./store.ts";

/** A pin that was made: what it names is not deleted while it is there. */
export interface HeldPin {
  readonly key: string;
  /** Of the store, when it was made. */
  readonly revision: number;
  /** Fires when it may be gone. */
  readonly signal: AbortSignal;
  /** Throws the signal's reason once it may be gone. */
  check(): void;
  /** That it is there. */
  readonly condition: Compare;
  /** Takes it away. Never rejects: it goes with its lease at the latest. Idempotent. */
  release(): Promise<void>;
  /** It is gone: the transaction that used it up has taken it away. */
  spent(): void;
}

/** Pins of one process, all on one lease: a process that crashes leaves none. */
export class Pins {
  readonly #store: Store;
  readonly #held = new Set<HeldPin>();
  #lease: StoreLease | undefined;
  #opening: Promise<StoreLease> | undefined;
  #made = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Makes one, where the condition holds, and reads some keys at that very moment.
   *
   * @returns the pin, or undefined where the condition does not hold; and what was read
   */
  async make(
    pin: Pin,
    options: {
      readonly when?: readonly Compare[];
      readonly read?: readonly string[];
      readonly signal?: AbortSignal | undefined;
    } = {},
  ): Promise<{ readonly pin: HeldPin | undefined; readonly read: readonly (KeyRecord | undefined)[] }> {
    const { when = [], read = [], signal } = options;
    const lease = await this.#shared(signal);
    const key = this.#store.keys.fs.pins.key(`${lease.id}-${++this.#made}`);
    const put: RecordOp = { put: key, value: encodePin(pin), lease: lease.id };
    const gets = read.map((get): RecordOp => ({ get }));
    const request = { sent: false };
    const check = (): void => {
      lease.check();
      request.sent = true;
    };
    try {
      // Where it is carried out twice, it stays as of the first time.
      const once: RecordOp = { when: [{ key, createRevision: 0 }], then: [put] };
      const answer = await this.#store.txn({ when, then: [once, { get: key, keysOnly: true }, ...gets] }, { signal, check });
      const [own, ...found] = answer.answers.slice(1).map(recordIn);
      if (!answer.succeeded || own === undefined) return { pin: undefined, read: [] };
      return { pin: this.#hold(key, own.createRevision, lease), read: found };
    } catch (error) {
      if (request.sent) void this.#remove(key);
      throw error;
    }
  }

  #hold(key: string, revision: number, lease: StoreLease): HeldPin {
    const pin: HeldPin = {
      key,
      revision,
      signal: lease.signal,
      check: () => {
        lease.check();
      },
      condition: { key, createRevision: revision },
      release: async () => {
        if (this.#held.delete(pin) && !lease.signal.aborted) await this.#remove(key);
      },
      spent: () => {
        this.#held.delete(pin);
      },
    };
    this.#held.add(pin);
    return pin;
  }

  async #remove(key: string): Promise<void> {
    await this.#store.txn({ when: [], then: [{ del: key }] }).catch(() => undefined);
  }

  async #shared(signal: AbortSignal | undefined): Promise<StoreLease> {
    if (this.#lease !== undefined && isThere(this.#lease)) return this.#lease;
    this.#opening ??= this.#store.lease(signal).finally(() => {
      this.#opening = undefined;
    });
    return (this.#lease = await this.#opening);
  }

  /** All are gone then. Idempotent. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    this.#held.clear();
    await this.#lease?.close();
  }
}

function isThere(lease: StoreLease): boolean {
  try {
    lease.check();
    return true;
  } catch {
    return false;
  }
}

export function recordIn(answer: RecordAnswer | undefined): KeyRecord | undefined {
  return answer?.records[0];
}
