import { randomUUID } from "node:crypto";
import type { Clock } from "../../clock.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { KeyRange } from "../../keys.ts";
import { RangeCopy } from "./range-copy.ts";
import { Subscription } from "./subscription.ts";
import type { Source } from "./subscription.ts";
import type { FollowOptions, Following, OnReplicaNews } from "./types.ts";

/** A replica's file, as far as following goes. */
export interface FileSource {
  /** Undefined while there is no file. */
  source(): Source | undefined;
  /** There is no file, and will hardly be one. */
  readonly isRefused: boolean;
  /** Changes arrive. */
  readonly live: boolean;
}

/**
 * Follows one range for one consumer: from the file of a replica where there is one, and from a watch of its own where there will be none.
 * Who goes over from one to the other is told the difference.
 */
export class FollowRange implements Following {
  readonly over: Promise<void>;
  readonly #open: () => RangeCopy;
  readonly #file: FileSource | undefined;
  readonly #inner: Subscription;
  #own: RangeCopy | undefined;
  #stopping: Promise<unknown> = Promise.resolve();
  readonly #onLive: FollowOptions["onLive"];
  #over = false;
  #live = false;

  constructor(
    deps: { readonly client: EtcdClient; readonly clock: Clock; readonly file: FileSource | undefined },
    range: KeyRange,
    onNews: OnReplicaNews,
    onOver: (one: FollowRange) => void,
    { select, onLive }: FollowOptions = {},
  ) {
    this.#file = deps.file;
    this.#onLive = onLive;
    this.#open = () =>
      new RangeCopy(
        deps.client,
        range,
        deps.clock,
        randomUUID(),
        {
          onNews: () => {
            this.pump();
          },
          onEnd: (error) => {
            this.#inner.end(error);
          },
        },
        select,
      );
    this.#inner = new Subscription(
      range,
      onNews,
      () => this.#source(),
      () => {
        this.#over = true;
        this.#close();
        onOver(this);
      },
      select,
    );
    this.over = this.#inner.over;
  }

  /** Something may be new. */
  pump(): void {
    this.#inner.pump();
    const live = this.#file?.isRefused === false ? this.#file.live : this.#own?.live === true;
    if (live === this.#live || this.#over) return;
    this.#live = live;
    this.#onLive?.(live);
  }

  /** The replica is closed. */
  end(): void {
    this.#inner.end();
  }

  async stop(): Promise<void> {
    await this.#inner.stop();
    await this.#stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #source(): Source | undefined {
    const ofFile = this.#file?.source();
    if (ofFile !== undefined) {
      this.#close();
      return ofFile;
    }
    if (this.#over || this.#file?.isRefused === false) return undefined;
    this.#own ??= this.#open();
    return this.#own.source;
  }

  #close(): void {
    const own = this.#own;
    this.#own = undefined;
    if (own !== undefined) this.#stopping = Promise.all([this.#stopping, own.stop()]);
  }
}
