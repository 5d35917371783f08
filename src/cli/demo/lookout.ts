import type { Clock } from "../../clock.ts";
import { messageOf, QuorateError } from "../../errors.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import { lookAtCluster, type ClusterView } from "../cluster.ts";

/** The last look at the cluster, kept fresh, and a way to wait for one that shows something. */
export class Lookout {
  view: ClusterView | undefined;
  /** Why the last look failed, in words for a demo. */
  problem: string | undefined;
  readonly #client: EtcdClient;
  readonly #keys: Keys;
  readonly #clock: Clock;
  readonly #onLook: () => void;
  #waiting: { readonly shows: (view: ClusterView) => boolean; readonly done: (view: ClusterView) => void }[] = [];

  constructor(client: EtcdClient, keys: Keys, clock: Clock, onLook: () => void) {
    this.#client = client;
    this.#keys = keys;
    this.#clock = clock;
    this.#onLook = onLook;
  }

  async run(everyMs: number, signal: AbortSignal): Promise<never> {
    for (;;) {
      try {
        const view = await lookAtCluster(this.#client, this.#keys, signal);
        this.view = view;
        this.problem = undefined;
        this.#waiting = this.#waiting.filter(({ shows, done }) => {
          if (!shows(view)) return true;
          done(view);
          return false;
        });
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof QuorateError)) throw error;
        this.problem =
          this.view === undefined
            ? "the first server starts"
            : error.code === "UNREACHABLE"
              ? "no server answers"
              : error.code === "NO_QUORUM"
                ? "no quorum"
                : messageOf(error);
      }
      this.#onLook();
      await this.#clock.sleep(everyMs, signal);
    }
  }

  /** Settles with the first look from now on that shows it. Rejects with the signal's reason. */
  until(shows: (view: ClusterView) => boolean, signal: AbortSignal): Promise<ClusterView> {
    return new Promise((resolve, reject) => {
      const wait = { shows, done: resolve };
      this.#waiting.push(wait);
      signal.addEventListener(
        "abort",
        () => {
          this.#waiting = this.#waiting.filter((one) => one !== wait);
          reject(signal.reason as Error);
        },
        { once: true },
      );
    });
  }
}
