import { Doorbell, passOn } from "../../clock.ts";
import type { Compare, Leadership } from "../../etcd/index.ts";
import { isRetryable } from "../../errors.ts";
import type { Context, Opened } from "../context.ts";
import { asWorldError } from "../error.ts";
import { patiently } from "../write.ts";
import { Model } from "./model.ts";
import type { Namespace, Publication } from "./model.ts";
import { resultText } from "./records.ts";

/** Between two tries of what could not be published, and of what cannot be for now. */
const againMs = { soon: 250, later: 5_000 };

/**
 * What the elected scheduler does, as long as it leads: it follows all that is scheduled and publishes, namespace by namespace, what has to
 * change. A namespace that cannot be published is tried again by itself.
 */
export class Leading {
  readonly #context: Context;
  readonly #opened: Opened;
  readonly #leadership: Leadership;
  readonly #model: Model;
  readonly #bell = new Doorbell();
  readonly #dirty = new Set<string>();
  /** Under way. */
  readonly #busy = new Set<string>();
  /** At which they were published last: they are looked at again once that is heard. */
  readonly #published = new Map<string, number>();
  readonly #waiting = new Set<() => void>();

  constructor(context: Context, opened: Opened, leadership: Leadership) {
    this.#context = context;
    this.#opened = opened;
    this.#leadership = leadership;
    this.#model = new Model(context.keys.scheduler, (key, why) => {
      context.malformed.note(key, why);
    });
  }

  /** Until the leadership or the signal ends: then it rejects with the reason. */
  async run(signal: AbortSignal): Promise<never> {
    const own = new AbortController();
    const release = passOn([signal, this.#leadership.signal], own);
    const following = this.#opened.replica.follow(this.#context.keys.scheduler, (news) => {
      for (const name of this.#model.apply(news)) this.#dirty.add(name);
      this.#bell.ring();
    });
    const lost = (error: unknown): void => {
      own.abort(error);
    };
    following.over.then(lost, lost);
    try {
      for (;;) {
        await this.#bell.wait(own.signal);
        this.#publishAll(own.signal);
      }
    } finally {
      own.abort(new DOMException("Another one schedules", "AbortError"));
      release();
      for (const tell of this.#waiting) tell();
      await following.stop();
    }
  }

  /** Resolves when all that was so at that revision is published, or nobody leads here any more. */
  settled(revision: number): Promise<void> {
    return new Promise((resolve) => {
      const tell = (): void => {
        const done = this.#model.revision >= revision && this.#dirty.size === 0 && this.#busy.size === 0;
        if (!done && !this.#leadership.signal.aborted) return;
        this.#waiting.delete(tell);
        resolve();
      };
      this.#waiting.add(tell);
      tell();
    });
  }

  #publishAll(signal: AbortSignal): void {
    for (const name of this.#dirty) {
      if (this.#busy.has(name)) continue;
      this.#dirty.delete(name);
      // What it rests on is not heard yet; it is dirty again then.
      if (this.#model.revision < (this.#published.get(name) ?? 0)) continue;
      const publication = this.#model.next(name);
      if (publication === undefined) continue;
      this.#busy.add(name);
      void this.#publish(this.#model.namespaces.get(name)!, publication, signal);
    }
    for (const tell of [...this.#waiting]) tell();
  }

  /** Never rejects. */
  async #publish(seen: Namespace, publication: Publication, signal: AbortSignal): Promise<void> {
    const { name } = seen;
    try {
      const revision = await this.#write(seen, publication, signal);
      if (revision !== undefined) this.#published.set(name, revision);
      // Something has changed that is not heard yet, or nobody leads here.
      else this.#again(name, againMs.soon, signal);
    } catch (error) {
      if (!signal.aborted) {
        const failure = asWorldError(error, { what: `publish the schedule of ${JSON.stringify(name)}` });
        this.#context.log?.warn({ err: failure, namespace: name }, "a schedule could not be published");
        this.#again(name, isRetryable(failure) ? againMs.soon : againMs.later, signal);
      }
    } finally {
      this.#busy.delete(name);
      this.#bell.ring();
    }
  }

  /** The revision; undefined where a condition does not hold. */
  async #write(seen: Namespace, { planned, generation }: Publication, signal: AbortSignal): Promise<number | undefined> {
    const { scheduler: keys } = this.#context.keys;
    const { name, resultRevision, optionsRevision } = seen;
    const { writes } = this.#opened;
    const fence = this.#leadership.fence();
    const { hosts, cursor, problem, proofs } = planned;
    const value = resultText({ hosts, generation, cursor, problem, scheduler: this.#leadership.revision });
    const compare: Compare[] = [
      asOf(keys.result(name), resultRevision),
      asOf(keys.options(name), optionsRevision),
      ...proofs.map((host) => asOf(keys.place(name, host), 0)),
    ];
    const session = { check: () => void this.#leadership.fence() };
    const write = { compare, fence, then: [{ put: keys.result(name), value }] };
    const { succeeded, revision } = await patiently(writes, signal, () => writes.atomic(write, { signal, session }));
    if (succeeded) this.#context.log?.debug({ namespace: name, hosts, generation, revision }, "published a schedule");
    return succeeded ? revision : undefined;
  }

  #again(name: string, ms: number, signal: AbortSignal): void {
    const ring = (): void => {
      this.#dirty.add(name);
      this.#bell.ring();
    };
    this.#context.clock.sleep(ms, signal).then(ring, () => undefined);
  }
}

/** 0: it must not be there. */
function asOf(key: string, modRevision: number): Compare {
  return modRevision === 0 ? { key, createRevision: 0 } : { key, modRevision };
}
