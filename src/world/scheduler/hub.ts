import { passOn } from "../../clock.ts";
import { campaign } from "../../etcd/index.ts";
import type { Leadership } from "../../etcd/index.ts";
import { isRetryable } from "../../errors.ts";
import { inTime } from "../../etcd/signals.ts";
import type { Context } from "../context.ts";
import { WorldError } from "../error.ts";
import { Leading } from "./leading.ts";
import { Leases } from "./leases.ts";

/** What a World needs of one that takes part. */
export interface Participant {
  /** Fires when it is ending. */
  readonly signal: AbortSignal;
  /** Idempotent. */
  shutdown(): Promise<void>;
}

interface Standing {
  readonly stop: AbortController;
  readonly over: Promise<void>;
}

/** Between two candidacies, and after one that came to nothing for a reason that stays. */
const againMs = { soon: 250, later: 5_000 };
/** For what was published last to be told, when the last one ends. */
const settleMs = 500;

/** All that one World takes part in. While there is anything, it stands for election as the scheduler, and schedules while it leads. */
export class Hub {
  readonly context: Context;
  readonly leases: Leases;
  /** By namespace; undefined while it is beginning. */
  readonly participants = new Map<string, Participant | undefined>();
  /** By namespace: the create revision of the last place that was given up. What is there of it still is only to be deleted. */
  readonly givenUp = new Map<string, number>();
  readonly #over = new AbortController();
  readonly #tasks = new Set<Promise<void>>();
  #standing: Standing | undefined;
  #leading: Leading | undefined;
  #holds = false;

  constructor(context: Context) {
    this.context = context;
    this.leases = new Leases(context, this.#over.signal);
  }

  /** @throws WorldError CONFLICT where that namespace has one already */
  enter(name: string): void {
    if (this.participants.has(name)) {
      const message = `Cannot take part in ${JSON.stringify(name)}: this World does already`;
      throw new WorldError("CONFLICT", message, { data: { reason: "taking-part" } });
    }
    this.participants.set(name, undefined);
    if (!this.#holds) this.context.hold(() => this.#close());
    this.#holds = true;
    this.#standing ??= this.#stand();
  }

  /** It has written at that revision that it is gone; undefined where it could not. Settles when others know. */
  async leave(name: string, revision: number | undefined): Promise<void> {
    this.participants.delete(name);
    const leading = this.#leading;
    if (leading !== undefined && revision !== undefined) await this.#atMost(settleMs, leading.settled(revision));
    if (this.participants.size > 0) return;
    const standing = this.#standing;
    this.#standing = undefined;
    standing?.stop.abort(new DOMException("Nobody here takes part any more", "AbortError"));
    await standing?.over;
  }

  /** Tries until it succeeds or the World is closed. Settles then, or when `ms` have passed. */
  async insist(ms: number, task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, log } = this.context;
    const { signal } = this.#over;
    const isOver = (): boolean => signal.aborted;
    const trying = (async () => {
      while (!isOver()) {
        try {
          await task(signal);
          return;
        } catch (error) {
          if (isOver()) return;
          log?.debug({ err: error }, "what takes part no more could not say so yet");
          await clock.sleep(isRetryable(error) ? againMs.soon : againMs.later, signal).catch(() => undefined);
        }
      }
    })();
    this.#tasks.add(trying);
    void trying.finally(() => this.#tasks.delete(trying));
    await this.#atMost(ms, trying);
  }

  #stand(): Standing {
    const stop = new AbortController();
    const release = passOn([this.#over.signal], stop);
    return { stop, over: this.#campaigns(stop.signal).finally(release) };
  }

  /** Never rejects. */
  async #campaigns(signal: AbortSignal): Promise<void> {
    const { context } = this;
    const isOver = (): boolean => signal.aborted;
    while (!isOver()) {
      let leadership: Leadership | undefined;
      try {
        const opened = context.opened ?? (await context.open());
        const session = await this.leases.shared(context.sessionTtlMs, signal);
        const { clock, log, hostname: value, keys } = context;
        const { prefix } = keys.scheduler.schedulers;
        const logged = log === undefined ? {} : { log };
        const { client } = opened.replica;
        leadership = await campaign({ client, session, prefix, value, clock, clears: true, ...logged }, signal);
        log?.info({ revision: leadership.revision }, "this host schedules");
        this.#leading = new Leading(context, opened, leadership);
        await this.#leading.run(signal);
      } catch (error) {
        if (!isOver()) {
          context.log?.debug({ err: error }, "this host does not schedule");
          await pause(context, isRetryable(error) ? againMs.soon : againMs.later, signal);
        }
      } finally {
        this.#leading = undefined;
        await leadership?.resign();
      }
    }
  }

  /** What takes part ends first, so that others have its places at once; then what schedules; then the leases. */
  async #close(): Promise<void> {
    await Promise.allSettled([...this.participants.values()].map(async (one) => one?.shutdown()));
    this.#over.abort(this.context.over.reason);
    const standing = this.#standing?.over ?? Promise.resolve();
    await Promise.all([standing, this.leases.close()]);
  }

  async #atMost(ms: number, settled: Promise<unknown>): Promise<void> {
    const enough = new AbortController();
    const late = this.context.clock.sleep(ms, enough.signal).catch(() => undefined);
    await Promise.race([late, settled]);
    enough.abort(inTime);
    await late;
  }
}

async function pause({ clock }: Context, ms: number, signal: AbortSignal): Promise<void> {
  await clock.sleep(ms, signal).catch(() => undefined);
}
