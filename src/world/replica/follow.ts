import type { IEvent } from "etcd3";
import type { Clock } from "../../clock.ts";
import { messageOf, QuorateError } from "../../errors.ts";
import { mayPass } from "../../etcd/index.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { KeyRange } from "../../keys.ts";
import type { Relist, RelistCause } from "./protocol.ts";
import { readPosition } from "./wire.ts";
import type { Position } from "./wire.ts";

/** What follows: it knows where it is, and takes what comes. What it throws ends the following. */
export interface FollowTarget {
  /** Undefined while it has nothing. */
  readonly at: { readonly clusterId: string; readonly revision: number; readonly term: number } | undefined;
  apply(events: readonly IEvent[]): void;
  /** Nothing more happened up to `revision`. */
  progress(revision: number): void;
  /** Takes a whole listing from that endpoint. */
  relist(why: Relist, from: Position, signal: AbortSignal): Promise<void>;
  /** The cluster has answered at this position. */
  heard(position: Position): void;
  setLive(live: boolean): void;
  /** Why the cluster is out of reach; undefined once it has answered. */
  setLost(why: string | undefined): void;
  /** Whether progress can be asked for. */
  setProgress(possible: boolean): void;
}

/** etcd replays 10,000 revisions a second at most; listing that many keys again takes 0.05 s (FACTS.md). */
const mostReplayed = 10_000;
/** Between two tries; a stream that lived for long starts anew with the first. */
const pauseMs = { first: 20, most: 1_000, longMs: 1_000 };
/** Between two requests for progress while somebody waits; the server says nothing while it catches up. */
const progressMs = { first: 5, most: 100 };
/** How often a quiet watch is asked whether it lives. */
const heartbeatMs = 5_000;

type End = { readonly why: "lost"; readonly failure: QuorateError } | { readonly why: RelistCause; readonly because: string };

/**
 * Follows one range for a target that resumes where it stopped, also in an earlier process: behind the last event or progress reply
 * it has taken. Lists again where that history is gone, wrong, or slower to replay than a listing.
 */
export class Follow {
  readonly #client: EtcdClient;
  readonly #range: KeyRange;
  readonly #target: FollowTarget;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #wanted = 0;
  #pursuing = false;
  #ask: (() => Promise<void>) | undefined;
  #end: ((end: End) => void) | undefined;
  #next: Relist | undefined;
  #pauseMs = pauseMs.first;
  #startedMs: number | undefined;

  constructor(client: EtcdClient, range: KeyRange, target: FollowTarget, clock: Clock, signal: AbortSignal) {
    this.#client = client;
    this.#range = range;
    this.#target = target;
    this.#clock = clock;
    this.#signal = signal;
  }

  /** Rejects by the signal, or with an error that does not pass: of the target, ETCD_REFUSED, CLOSED. */
  async run(first: Relist): Promise<never> {
    this.#next = this.#target.at === undefined ? first : undefined;
    void this.#beat();
    for (;;) {
      try {
        const position = await this.#look();
        const relist = this.#next ?? whyRelist(this.#target.at, position);
        if (relist !== undefined) {
          await this.#target.relist(relist, position, this.#signal);
          this.#next = undefined;
        }
        this.#target.heard(position);
        const end = await this.#follow(position.endpoint);
        this.#target.setLive(false);
        if (end.why === "lost") throw end.failure;
        this.#next = { cause: end.why, why: end.because };
      } catch (error) {
        this.#target.setLive(false);
        this.#signal.throwIfAborted();
        if (!mayPass(error)) throw error;
        await this.#pause();
      }
    }
  }

  /** Somebody waits for that revision: asks for progress until it is reached. */
  want(revision: number): void {
    this.#wanted = Math.max(this.#wanted, revision);
    if (!this.#pursuing) void this.#pursue();
  }

  /** What there is cannot be trusted: a listing takes its place. */
  relist(relist: Relist): void {
    this.#next ??= relist;
    this.#end?.({ why: relist.cause, because: relist.why });
  }

  async #pursue(): Promise<void> {
    this.#pursuing = true;
    try {
      for (
        let pause = progressMs.first;
        (this.#target.at?.revision ?? 0) < this.#wanted;
        pause = Math.min(2 * pause, progressMs.most)
      ) {
        await this.#ask?.();
        await this.#clock.sleep(pause, this.#signal);
      }
    } catch {
      // The signal has fired.
    } finally {
      this.#pursuing = false;
    }
  }

  /** Also shows that the connection lives while nothing happens. */
  async #beat(): Promise<void> {
    try {
      for (;;) {
        await this.#clock.sleep(heartbeatMs, this.#signal);
        await this.#ask?.();
      }
    } catch {
      // The signal has fired.
    }
  }

  async #look(): Promise<Position> {
    try {
      const position = await readPosition(this.#client, this.#range, { signal: this.#signal });
      this.#target.setLost(undefined);
      return position;
    } catch (error) {
      if (!this.#signal.aborted) this.#target.setLost(messageOf(error));
      throw error;
    }
  }

  async #pause(): Promise<void> {
    const startedMs = this.#startedMs;
    this.#startedMs = undefined;
    if (startedMs !== undefined && this.#clock.nowMs() - startedMs > pauseMs.longMs) this.#pauseMs = pauseMs.first;
    await this.#clock.sleep(this.#pauseMs, this.#signal);
    this.#pauseMs = Math.min(2 * this.#pauseMs, pauseMs.most);
  }

  /** Takes changes until the stream ends. Rejects by the signal, and with what the target throws. */
  async #follow(endpoint: string): Promise<End> {
    const queue: IEvent[] = [];
    let scheduled = false;
    let abort!: () => void;
    let close = (): void => undefined;
    // A signal that has fired already, while it was listed, tells no listener of it.
    this.#signal.throwIfAborted();
    try {
      return await new Promise<End>((resolve, reject) => {
        abort = () => {
          reject(this.#signal.reason as Error);
        };
        this.#signal.addEventListener("abort", abort, { once: true });
        const flush = (): void => {
          scheduled = false;
          try {
            if (queue.length > 0) this.#target.apply(queue.splice(0));
          } catch (error) {
            reject(error);
          }
        };
        this.#end = resolve;
        const watch = this.#client.watches.watch(
          endpoint,
          { ...this.#range, startRevision: this.#target.at!.revision + 1 },
          {
            onCreated: () => {
              this.#startedMs = this.#clock.nowMs();
              this.#target.setLive(true);
            },
            onEvents: (events) => {
              for (const event of events) queue.push(event);
              // What arrives in one turn becomes one transaction.
              if (!scheduled) setImmediate(flush);
              scheduled = true;
            },
            onProgress: (revision) => {
              flush();
              this.#target.progress(revision);
            },
            onEnd: (ended) => {
              flush();
              if (ended.why === "lost") resolve(ended);
              else if (ended.why === "compacted")
                resolve({ why: "compacted", because: "the history behind its revision is compacted" });
              else resolve({ why: "oversize", because: "what it missed does not fit in one message" });
            },
          },
        );
        close = () => {
          watch.close();
        };
        this.#ask = async () => {
          try {
            await watch.requestProgress();
            this.#target.setProgress(true);
          } catch (error) {
            if (error instanceof QuorateError && error.code === "ETCD_REFUSED") this.#target.setProgress(false);
            // While there is no connection there is nobody to ask; the watch itself goes on trying.
          }
        };
        void this.#ask();
      });
    } finally {
      this.#signal.removeEventListener("abort", abort);
      this.#ask = this.#end = undefined;
      queue.length = 0;
      close();
    }
  }
}

/** Whether resuming is impossible, wrong, or slower than listing again. */
function whyRelist(at: FollowTarget["at"], position: Position): Relist | undefined {
  if (at === undefined) return { cause: "empty", why: "there is no copy yet" };
  if (position.clusterId !== at.clusterId) {
    return { cause: "cluster", why: `it is a copy of cluster ${at.clusterId}, and this is ${position.clusterId}` };
  }
  const missed = position.revision - at.revision;
  if (missed < 0)
    return { cause: "restored", why: `the store is at revision ${position.revision}, behind its own ${at.revision}` };
  if (position.term < at.term) return { cause: "restored", why: `raft is in term ${position.term}, before its own ${at.term}` };
  if (missed > mostReplayed) return { cause: "gap", why: `${missed} revisions were missed` };
  return undefined;
}
