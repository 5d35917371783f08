import { QuorateError } from "../../errors.ts";
import { Batch } from "../../etcd/index.ts";
import type { AtomicWrite, BatchOptions, SingleOptions, WriteOptions, Written } from "../../etcd/index.ts";
import type { Replica } from "./replica.ts";

/**
 * Writes beside a replica: concurrent ones go together (see Batch), session reads see them once they are acknowledged, and while the
 * replica knows that the cluster is out of reach they fail at once.
 *
 * All writes throw QuorateError UNAVAILABLE (the cluster cannot be reached, nothing was written; retryable), and what Batch throws.
 */
export class ReplicaWrites implements AsyncDisposable {
  readonly #replica: Replica;
  readonly #batch: Batch;

  constructor(replica: Replica, options: BatchOptions = {}) {
    this.#replica = replica;
    this.#batch = new Batch(replica.client, options);
  }

  put(key: string, value: string, options: SingleOptions & { readonly lease?: string } = {}): Promise<Written> {
    return this.#write(key, () => this.#batch.put(key, value, options));
  }

  del(key: string, options: SingleOptions = {}): Promise<Written> {
    return this.#write(key, () => this.#batch.del(key, options));
  }

  /** All of it or nothing. */
  atomic(write: AtomicWrite, options: WriteOptions = {}): Promise<Written> {
    const [first] = write.then;
    const key = first === undefined ? "nothing" : "put" in first ? first.put : first.del;
    return this.#write(key, () => this.#batch.atomic(write, options));
  }

  /** Resolves when there is room for another write. */
  room(signal?: AbortSignal): Promise<void> {
    return this.#batch.room(signal);
  }

  /** Waits for the writes there are. Idempotent. */
  async close(): Promise<void> {
    await this.#batch.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #write(key: string, write: () => Promise<Written>): Promise<Written> {
    const { lost } = this.#replica;
    if (lost !== undefined) throw unavailable(key, new Error(lost));
    try {
      const written = await write();
      this.#replica.wrote(written.revision);
      return written;
    } catch (error) {
      const passing = error instanceof QuorateError && ["UNREACHABLE", "DEADLINE", "NO_QUORUM"].includes(error.code);
      if (passing && error.data["outcome"] === "none") throw unavailable(key, error);
      throw error;
    }
  }
}

function unavailable(key: string, cause: unknown): QuorateError {
  const message = `Cannot write ${key}: the cluster is out of reach`;
  return new QuorateError("UNAVAILABLE", message, { retryable: true, cause, data: { key, outcome: "none" } });
}
