import type { Context } from "../context.ts";
import { textOf } from "../names.ts";
import type { Entry } from "../replica/index.ts";
import { followed } from "../watch/followed.ts";
import type { OwnSession, Sessions } from "../parts/session.ts";
import type { PartsHere } from "./here.ts";

const pauseMs = { first: 100, most: 2_000 };

/** The key in which this program says whether it is converged. */
interface Own {
  readonly key: string;
  readonly session: OwnSession;
  /** Undefined where it is not written, or somebody else has written it since. */
  said: string | undefined;
  /** Ends the watch of it. */
  readonly end: () => void;
}

/** Says in the cluster whether this program is converged, on the World's session: again on the next one, and where others have deleted it. */
export class Publisher {
  readonly #context: Context;
  readonly #sessions: Sessions;
  readonly #here: PartsHere;
  readonly #over = new AbortController();
  #running: Promise<void> | undefined;
  #own: Own | undefined;
  #rung = false;
  #wake: () => void = () => undefined;

  constructor(context: Context, sessions: Sessions, here: PartsHere) {
    this.#context = context;
    this.#sessions = sessions;
    this.#here = here;
  }

  /** Begins with the first call; ends with the World. */
  start(): void {
    if (this.#running !== undefined) return;
    this.#here.onChange(() => {
      this.#ring();
    });
    this.#context.hold(async () => {
      this.#over.abort(this.#context.over.reason);
      this.#ring();
      await this.#running;
    });
    this.#running = this.#run(this.#over.signal);
  }

  #ring(): void {
    this.#rung = true;
    this.#wake();
  }

  /** Settles with the next ring, or at once where it rang since the last one. */
  async #ringing(): Promise<void> {
    if (!this.#rung) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#rung = false;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#context;
    for (let pause = pauseMs.first; !signal.aborted;) {
      this.#rung = false;
      try {
        await this.#say(this.#here.converged, signal);
        pause = pauseMs.first;
        await this.#ringing();
      } catch (error) {
        if (this.#over.signal.aborted) break;
        log?.warn({ err: error }, "it could not be said whether this program is converged; trying again");
        await clock.sleep(pause, signal).catch(() => undefined);
        pause = Math.min(2 * pause, pauseMs.most);
      }
    }
    this.#own?.end();
  }

  async #say(converged: boolean | undefined, signal: AbortSignal): Promise<void> {
    const opened = await this.#context.open();
    if (converged === undefined) {
      const own = this.#own;
      if (own?.said !== undefined) await opened.writes.del(own.key, { signal });
      if (own !== undefined) own.said = undefined;
      return;
    }
    const own = await this.#ownKey(signal);
    const value = String(converged);
    if (own.said === value) return;
    // What was written is not known until there is an answer.
    own.said = undefined;
    await opened.writes.put(own.key, value, { lease: own.session.lease, session: own.session, signal });
    own.said = value;
  }

  async #ownKey(signal: AbortSignal): Promise<Own> {
    const session = await this.#sessions.shared(signal);
    if (this.#own?.session === session) return this.#own;
    this.#own?.end();
    const { keys, hostname } = this.#context;
    const key = keys.converged.key(hostname, session.leaseId);
    const lost = (): void => {
      this.#ring();
    };
    session.signal.addEventListener("abort", lost, { once: true });
    const stop = this.#follow(key, session.lease);
    const end = (): void => {
      session.signal.removeEventListener("abort", lost);
      stop();
    };
    return (this.#own = { key, session, said: undefined, end });
  }

  #follow(key: string, lease: string): () => void {
    const itemOf = (entry: Entry): Entry => entry;
    const source = followed(this.#context, { range: { start: key, end: `${key}\u0000` }, itemOf }, `watch ${key}`);
    return source({
      onNews: (news) => {
        if (news.kind !== "changes" && news.kind !== "resynced") return;
        const own = this.#own;
        const after = news.changes.get(key)?.after;
        if (own?.key !== key || own.said === undefined) return;
        if (after?.lease === lease && textOf(after.value) === own.said) return;
        own.said = undefined;
        this.#ring();
      },
      onFailure: () => undefined,
    });
  }
}
