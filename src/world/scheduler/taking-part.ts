import { randomUUID } from "node:crypto";
import { Doorbell, passOn, raced } from "../../clock.ts";
import type { Session, Written as Done } from "../../etcd/index.ts";
import { isRetryable } from "../../errors.ts";
import type { Contradiction } from "../api/scheduler.ts";
import type { Written } from "../api/common.ts";
import type { Context, Opened } from "../context.ts";
import { WorldError, asWorldError } from "../error.ts";
import { ttlMsOf } from "../ttl.ts";
import { patiently } from "../write.ts";
import type { Hub, Participant } from "./hub.ts";
import { OwnKeys } from "./own-keys.ts";
import type { Heard } from "./own-keys.ts";
import { OwnPlace } from "./place.ts";
import { candidateText, parseCandidate } from "./records.ts";
import type { Facts } from "./records.ts";
import { differences, parseRules, resolveRules, rulesText } from "./rules.ts";
import type { Rules, StoredRules } from "./rules.ts";

const againMs = { soon: 250, later: 2_000 };
/** For others to hear that it has ended. */
const endMs = 1_000;

export interface Parts {
  readonly name: string;
  /** By whoever takes part. */
  readonly given: StoredRules;
  /** What is in force, written at that revision. */
  readonly agreed: { readonly rules: StoredRules; readonly revision: number };
  readonly facts: Facts;
}

/** What hangs on what, from one session to the next. */
interface Epoch {
  /** What the place hangs on, and the candidacy unless it is kept. */
  readonly session: Session;
  /** What a candidacy hangs on that outlives its session. */
  readonly keeping: Session | undefined;
  /** Lease of the candidacy, decimal, "0" for none. */
  readonly lease: string;
  readonly signal: AbortSignal;
}

/**
 * One host in one namespace: it keeps the key of its candidacy, takes the place that the schedule gives it and lets go of one that it
 * takes away. News ring, and a loop looks at what is there and does one thing at a time.
 *
 * The place is a key on the session's lease, written only where the result is still the one that lists this host, and the candidacy still
 * this program's. It goes with the lease, or is deleted once the place's signal has fired; never before. See INVARIANTS.md.
 */
export class TakingPart implements Participant {
  readonly name: string;
  readonly #hub: Hub;
  readonly #context: Context;
  readonly #opened: Opened;
  readonly #given: StoredRules;
  readonly #instance = randomUUID();
  readonly #bell = new Doorbell();
  readonly #over = new AbortController();
  readonly #keys: OwnKeys;
  readonly #running: Promise<void>;
  readonly #listeners = new Set<() => void>();
  #rules: StoredRules;
  #rulesRevision: number;
  #facts: Facts;
  #place: OwnPlace | undefined;
  /** At which its candidacy was written last, and what; 0 before. */
  #joinedAt = 0;
  #writtenText: string | undefined;
  /** Of the news that were looked at last. */
  #lastRevision = 0;
  /** Why it could not be written, where trying again is of little use. */
  #failure: WorldError | undefined;
  #epoch: Epoch | undefined;
  #ended: Promise<void> | undefined;

  constructor(hub: Hub, opened: Opened, { name, given, agreed, facts }: Parts) {
    this.name = name;
    this.#hub = hub;
    this.#context = hub.context;
    this.#opened = opened;
    this.#given = given;
    this.#rules = agreed.rules;
    this.#rulesRevision = agreed.revision;
    this.#facts = facts;
    const ring = (): void => {
      this.#bell.ring();
    };
    this.#keys = new OwnKeys(hub.context, opened, name, ring, (error) => {
      this.#over.abort(error);
    });
    this.#running = this.#run();
  }

  get facts(): Facts {
    return this.#facts;
  }

  /** Fires when it takes part no more. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  get place(): OwnPlace | undefined {
    try {
      this.#place?.check();
      return this.#place;
    } catch {
      return undefined;
    }
  }

  get contradiction(): Contradiction | undefined {
    const differs = differences(this.#given, this.#rules);
    if (differs.length === 0) return undefined;
    return { differs, stored: { ...this.#rules }, given: { ...this.#given } };
  }

  /** The candidacy is written. @throws why it cannot be; the signal's reason */
  async joined(signal: AbortSignal): Promise<void> {
    await this.#until(() => {
      if (this.#failure !== undefined) throw this.#failure;
      return this.#joinedAt > 0;
    }, signal);
  }

  async whenScheduled(signal: AbortSignal): Promise<OwnPlace> {
    await this.#until(() => this.place !== undefined, signal);
    return this.#place!;
  }

  /** Written when this resolves. */
  async update(facts: Facts, signal: AbortSignal): Promise<Written> {
    const before = this.#candidateText();
    this.#facts = facts;
    const text = this.#candidateText();
    this.#bell.ring();
    await this.#until(() => this.#writtenText === text || this.#candidateText() !== text, signal);
    return { changed: before !== text, revision: this.#joinedAt };
  }

  /** Takes 2 s at most. Idempotent. */
  shutdown(withdraw = false): Promise<void> {
    return (this.#ended ??= this.#shutdown(withdraw));
  }

  async #shutdown(withdraw: boolean): Promise<void> {
    this.#over.abort(new WorldError("CLOSED", `Cannot take part in ${JSON.stringify(this.name)}: it was shut down`));
    this.#endPlace(this.#over.signal.reason);
    await this.#running;
    const epoch = this.#epoch;
    const isKept = epoch !== undefined && epoch.lease !== epoch.session.lease && !withdraw;
    let at: number | undefined;
    if (epoch !== undefined) {
      await this.#hub.insist(endMs, async (signal) => {
        at = await this.#sayGoodbye(epoch, isKept, signal);
        await epoch.keeping?.abandon();
      });
    }
    await this.#keys.stop();
    await this.#hub.leave(this.name, at);
  }

  /**
   * First the candidacy: after that nothing that is on its way can take the place any more. Then whatever place there is under this
   * session. Returns at which revision; undefined where there was nothing of it any more.
   */
  async #sayGoodbye({ session, lease }: Epoch, isKept: boolean, signal: AbortSignal): Promise<number | undefined> {
    const { writes } = this.#opened;
    const own = this.#ownKeys();
    const kept = candidateText({ ...this.#facts, instance: "" });
    const endCandidacy = (modRevision: number): Promise<Done> => {
      const options = { signal, when: { modRevision } };
      return patiently(writes, signal, () => {
        if (!isKept) return writes.del(own.candidate, options);
        return writes.put(own.candidate, kept, lease === "0" ? options : { ...options, lease });
      });
    };
    let at: number | undefined;
    // Behind a write of it that is under way, also where none is known to have happened: no key is of revision 1.
    for (let modRevision = Math.max(1, this.#joinedAt); modRevision > 0;) {
      const done = await endCandidacy(modRevision).catch((error: unknown) => {
        // The lease that it was to be kept on is over, and it with that.
        if (asWorldError(error, { what: "end a candidacy" }).code === "SESSION_LOST") return undefined;
        throw error;
      });
      if (done?.succeeded === true) at = done.revision;
      // It may have been written once more without an answer.
      const isOwn = done?.entry !== undefined && parseCandidate(done.entry.value, "")?.instance === this.#instance;
      modRevision = isOwn ? done.entry.modRevision : 0;
    }
    const place = await patiently(writes, signal, () => writes.del(own.place, { signal, when: { lease: session.lease } }));
    return place.succeeded ? place.revision : at;
  }

  #ownKeys(): { readonly candidate: string; readonly place: string } {
    const { hostname, keys } = this.#context;
    return { candidate: keys.scheduler.candidate(this.name, hostname), place: keys.scheduler.place(this.name, hostname) };
  }

  #candidateText(): string {
    return candidateText({ ...this.#facts, instance: this.#instance });
  }

  async #until(condition: () => boolean, signal: AbortSignal): Promise<void> {
    const own = new AbortController();
    const release = passOn([signal, this.#over.signal], own);
    try {
      for (;;) {
        if (condition()) return;
        own.signal.throwIfAborted();
        let listener: (() => void) | undefined;
        const told = new Promise<void>((resolve) => {
          this.#listeners.add((listener = resolve));
        });
        try {
          await raced(told, own.signal);
        } finally {
          this.#listeners.delete(listener!);
        }
      }
    } finally {
      release();
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#over;
    const isOver = (): boolean => signal.aborted;
    while (!isOver()) {
      try {
        await this.#live(await this.#begin(signal));
      } catch (error) {
        if (isOver()) break;
        await this.#failed(error);
      }
      if (!isOver()) await this.#epoch?.keeping?.abandon();
    }
    this.#endPlace(signal.reason);
    this.#tell();
    void this.shutdown();
  }

  async #failed(error: unknown): Promise<void> {
    const failure = asWorldError(error, { what: `take part in ${JSON.stringify(this.name)}` });
    const passes = failure.code === "OUTCOME_UNKNOWN" || isRetryable(failure);
    this.#context.log?.debug({ err: failure, namespace: this.name }, "taking part has to be tried again");
    if (!passes) {
      this.#failure = failure;
      this.#tell();
    }
    await this.#context.clock.sleep(passes ? againMs.soon : againMs.later, this.#over.signal).catch(() => undefined);
  }

  async #begin(over: AbortSignal): Promise<Epoch> {
    const { reuseLease, persist, sessionTtl } = resolveRules(this.#rules);
    const ttlMs = sessionTtl === undefined ? this.#context.sessionTtlMs : ttlMsOf(sessionTtl);
    const session = await this.#hub.leases.shared(ttlMs, over);
    const keptMs = keptMsOf({ reuseLease, persist }, ttlMs);
    const keeping = keptMs === undefined || keptMs === Infinity ? undefined : await this.#hub.leases.lasting(keptMs, over);
    const ended = new AbortController();
    const release = passOn([over, session.signal, keeping?.signal], ended);
    ended.signal.addEventListener("abort", release, { once: true });
    const lease = keptMs === Infinity ? "0" : (keeping ?? session).lease;
    this.#epoch = { session, keeping, lease, signal: ended.signal };
    return this.#epoch;
  }

  /** Until the session, or all of it, is over: then it rejects with the reason. */
  async #live(epoch: Epoch): Promise<never> {
    for (;;) {
      let again = true;
      try {
        again = await this.#step(epoch);
      } catch (error) {
        epoch.signal.throwIfAborted();
        await this.#failed(error);
      }
      if (!again) await this.#bell.wait(epoch.signal);
    }
  }

  /** One thing of what is to be done. Whether to look again at once; else there is nothing to do before the next news. */
  async #step(epoch: Epoch): Promise<boolean> {
    const { revision, candidateRevision, options } = this.#keys;
    epoch.signal.throwIfAborted();
    if (revision === 0 || candidateRevision === 0) return false;
    if (revision < this.#lastRevision) this.#beginAnew();
    this.#lastRevision = revision;
    this.#judgePlace(epoch);
    if (options === undefined) {
      await this.#write(
        epoch,
        { put: this.#context.keys.scheduler.options(this.name), value: rulesText(this.#rules) },
        { createRevision: 0 },
      );
      return false;
    }
    this.#heedOptions(options);
    if (await this.#stand(epoch)) return true;
    return await this.#takeOrLetGo(epoch);
  }

  /** The cluster was restored from a backup: what was written is another's past. */
  #beginAnew(): void {
    this.#hub.givenUp.delete(this.name);
    this.#joinedAt = this.#rulesRevision = 0;
  }

  #heedOptions({ record: text, modRevision }: Heard<string>): void {
    if (modRevision <= this.#rulesRevision) return;
    this.#rulesRevision = modRevision;
    const parsed = text === undefined ? undefined : parseRules(text);
    if (parsed === undefined || "refused" in parsed) return;
    this.#rules = parsed.rules;
    const { contradiction } = this;
    if (contradiction !== undefined)
      this.#context.log?.warn({ namespace: this.name, ...contradiction }, "the options in force are not those given here");
  }

  /** Keeps the candidacy as it is to be. Whether it has written it. */
  async #stand(epoch: Epoch): Promise<boolean> {
    const { candidate: heard, candidateRevision } = this.#keys;
    // What was written last is not heard of yet.
    if (candidateRevision < this.#joinedAt) return false;
    const text = this.#candidateText();
    const isOwn = heard?.record?.instance === this.#instance;
    if (heard !== undefined && !isOwn && this.#joinedAt > 0 && heard.modRevision > this.#joinedAt) {
      this.#takenOver();
      return false;
    }
    if (isOwn && heard.lease === epoch.lease && candidateText(heard.record) === text) {
      this.#hasJoined(heard.modRevision, text);
      return false;
    }
    const { candidate } = this.#ownKeys();
    const when = heard === undefined ? { createRevision: 0 } : { modRevision: heard.modRevision };
    const put = { put: candidate, value: text, ...(epoch.lease === "0" ? {} : { lease: epoch.lease }) };
    const written = await this.#write(epoch, put, when);
    if (written === undefined) return false;
    this.#hasJoined(written, text);
    return true;
  }

  #hasJoined(revision: number, text: string): void {
    if (this.#joinedAt === revision && this.#writtenText === text) return;
    this.#joinedAt = revision;
    this.#writtenText = text;
    this.#failure = undefined;
    this.#tell();
  }

  #takenOver(): void {
    const message = `Cannot take part in ${JSON.stringify(this.name)}: another program takes part for ${this.#context.hostname}`;
    this.#over.abort(new WorldError("CONFLICT", message, { data: { reason: "taken-over" } }));
  }

  /** Ends a place that is not this host's any more. */
  #judgePlace({ session }: Epoch): void {
    const place = this.#place;
    if (place === undefined) return;
    const what = `hold a place in ${JSON.stringify(this.name)}`;
    const { key } = place;
    if (place.signal.aborted || !this.#isListed()) {
      this.#endPlace(new WorldError("CLOSED", `Cannot ${what}: this host is not scheduled any more`, { key }));
    } else if (this.#keys.revision >= place.revision && this.#keys.place?.createRevision !== place.revision) {
      this.#endPlace(new WorldError("SESSION_LOST", `Cannot ${what}: its key is gone`, { key, retryable: true }));
    } else if (session.signal.aborted) place.check();
  }

  #isListed(): boolean {
    return this.#keys.result?.record?.hosts.includes(this.#context.hostname) === true;
  }

  /** Takes a place that is this host's, or deletes one that is not any more. Whether to look again at once. */
  async #takeOrLetGo(epoch: Epoch): Promise<boolean> {
    if (this.#place !== undefined) return false;
    const { place: heard, result, revision } = this.#keys;
    const givenUp = this.#hub.givenUp.get(this.name) ?? 0;
    const createRevision = heard?.createRevision ?? 0;
    if (givenUp > 0 && (createRevision === givenUp || revision < givenUp)) {
      await this.#write(epoch, { del: this.#ownKeys().place }, { createRevision: givenUp });
      return false;
    }
    const isListed = this.#isListed();
    if (heard === undefined) return isListed && result !== undefined && (await this.#take(epoch, result.modRevision));
    // Of a former life, or of another program: it goes with its lease, or is given up.
    if (heard.lease !== epoch.session.lease) return false;
    // One that was given up is not this host's again, whatever it looks like: its deletion may be on its way.
    if (createRevision > givenUp && isListed && this.#keys.candidate?.record?.instance === this.#instance) {
      this.#hasPlace(createRevision, epoch);
      return false;
    }
    this.#hub.givenUp.set(this.name, createRevision);
    await this.#write(epoch, { del: this.#ownKeys().place }, { createRevision });
    return false;
  }

  async #take(epoch: Epoch, resultRevision: number): Promise<boolean> {
    const { scheduler: keys } = this.#context.keys;
    const { writes } = this.#opened;
    const { signal, session } = epoch;
    const own = this.#ownKeys();
    const write = {
      compare: [
        { key: keys.result(this.name), modRevision: resultRevision },
        { key: own.candidate, modRevision: this.#joinedAt },
        { key: own.place, createRevision: 0 },
      ],
      then: [{ put: own.place, value: "", lease: session.lease }],
    };
    const { succeeded, revision } = await patiently(writes, signal, () => writes.atomic(write, { signal, session }));
    if (!succeeded) return false;
    this.#hasPlace(revision, epoch);
    return true;
  }

  #hasPlace(revision: number, { session }: Epoch): void {
    this.#place = new OwnPlace(this.#ownKeys().place, revision, session, `hold a place in ${JSON.stringify(this.name)}`);
    this.#context.log?.info({ namespace: this.name, revision }, "this host is scheduled");
    this.#tell();
  }

  #endPlace(reason: unknown): void {
    const place = this.#place;
    if (place === undefined) return;
    this.#place = undefined;
    this.#hub.givenUp.set(this.name, Math.max(place.revision, this.#hub.givenUp.get(this.name) ?? 0));
    place.end(reason);
    this.#context.log?.info({ namespace: this.name, revision: place.revision }, "this host is scheduled no more");
    this.#tell();
  }

  /** The revision; undefined where the condition does not hold. */
  async #write(
    { signal, session }: Epoch,
    op: { readonly put: string; readonly value: string; readonly lease?: string } | { readonly del: string },
    when: { readonly createRevision: number } | { readonly modRevision: number },
  ): Promise<number | undefined> {
    const { writes } = this.#opened;
    const options = { signal, session, when };
    const { succeeded, revision } = await patiently(writes, signal, () => {
      if ("del" in op) return writes.del(op.del, options);
      return writes.put(op.put, op.value, op.lease === undefined ? options : { ...options, lease: op.lease });
    });
    return succeeded ? revision : undefined;
  }
}

/** How long a candidacy outlives its program, in milliseconds; undefined: as long as its session. */
function keptMsOf({ reuseLease, persist }: Pick<Rules, "reuseLease" | "persist">, ttlMs: number): number | undefined {
  if (persist === true) return Infinity;
  if (persist !== false) return ttlMs + ttlMsOf(persist.grace);
  return reuseLease ? ttlMs : undefined;
}
