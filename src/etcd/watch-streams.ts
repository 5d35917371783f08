import type { IEvent, IWatchRequest, IWatchResponse } from "etcd3";
import { QuorateError } from "../errors.ts";
import type { Caller } from "./caller.ts";
import { bytes, revisionOf, toNumber } from "./codec.ts";
import { mayBeStaleToken } from "./credentials.ts";
import { failureOf, isTooLarge, lateFailure } from "./failure.ts";
import { status } from "./membership.ts";
import type { Circumstances } from "./failure.ts";
import { openStream } from "./streams.ts";
import type { EndpointStream } from "./streams.ts";

/** Why a watch ended, as far as it matters for going on. `oversize`: what was to come does not fit in one message. */
export type Ended = { readonly why: "lost"; readonly failure: QuorateError } | { readonly why: "compacted" | "oversize" };

/** What the stream tells one of its watches. None may throw. */
export interface WatchHandlers {
  readonly onCreated: () => void;
  readonly onEvents: (events: readonly IEvent[]) => void;
  /** Everything up to `revision` was told. Only after `requestProgress`. */
  readonly onProgress: (revision: number) => void;
  /** Once and last, unless it was closed. */
  readonly onEnd: (ended: Ended) => void;
}

/** One watch of a stream that may carry others. */
export interface StreamWatch {
  /** Idempotent. Nothing is told afterwards. */
  close(): void;
  /**
   * Asks for a progress reply; the server says nothing while one of the stream's watches is behind.
   *
   * @throws QuorateError ETCD_REFUSED where etcd is too old to be believed, or as every call
   */
  requestProgress(): Promise<void>;
}

interface Asked {
  readonly start: string;
  readonly end: string;
  readonly startRevision: number;
}

interface Member {
  readonly id: number;
  readonly asked: Asked;
  readonly handlers: WatchHandlers;
  readonly answered: AbortController;
  /** Store revision at its creation; undefined before the server has told of that. */
  createdAt: number | undefined;
  /** Requests for progress that had left before it was asked for: their replies say nothing of it. */
  askedBefore: number;
}

const openTimeoutMs = 2_000;

/** All watches of one client: one stream for each endpoint that is watched. */
export class WatchStreams {
  readonly #caller: Caller;
  readonly #streams = new Map<string, SharedStream>();

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** Everything, also that it cannot be opened, is told by the handlers, and not before this has returned. */
  watch(endpoint: string, asked: Asked, handlers: WatchHandlers): StreamWatch {
    let stream = this.#streams.get(endpoint);
    if (stream === undefined) {
      const opened = new SharedStream(this.#caller, endpoint, () => {
        if (this.#streams.get(endpoint) === opened) this.#streams.delete(endpoint);
      });
      stream = opened;
      this.#streams.set(endpoint, stream);
    }
    return stream.add(asked, handlers);
  }
}

/** One stream to one endpoint. It goes with its last watch, and takes them all with it when it is lost. */
class SharedStream {
  readonly #caller: Caller;
  readonly #endpoint: string;
  readonly #onOver: () => void;
  readonly #watches = new Map<number, Member>();
  /** In the order in which the server answers. */
  #creating: Member[] = [];
  readonly #dialling = new AbortController();
  #stream: EndpointStream<IWatchRequest> | undefined;
  #lastId = 0;
  #responses = 0;
  #over = false;
  #progressInOrder: Promise<boolean> | undefined;
  /** Requests for progress that have left. */
  #asked = 0;
  /** How many of those are over for sure, answered or not: the server answers in order, and not all. */
  #settled = 0;

  constructor(caller: Caller, endpoint: string, onOver: () => void) {
    this.#caller = caller;
    this.#endpoint = endpoint;
    this.#onOver = onOver;
    void this.#open();
  }

  add(asked: Asked, handlers: WatchHandlers): StreamWatch {
    // Never used twice on one stream: what is late for an old one reaches nobody.
    const member: Member = {
      id: ++this.#lastId,
      asked,
      handlers,
      answered: new AbortController(),
      createdAt: undefined,
      askedBefore: 0,
    };
    this.#watches.set(member.id, member);
    if (this.#stream) this.#create(this.#stream, member);
    return {
      close: () => {
        this.#leave(member);
      },
      requestProgress: () => this.#requestProgress(),
    };
  }

  async #open(): Promise<void> {
    try {
      const stream = await openStream<IWatchRequest, IWatchResponse>(
        this.#caller,
        this.#endpoint,
        { service: "Watch", method: "watch", what: this.#what },
        {
          onData: (response) => {
            this.#take(response);
          },
          onEnd: (failure) => {
            this.#end(isTooLarge(failure) ? { why: "oversize" } : { why: "lost", failure });
          },
        },
        { signal: this.#dialling.signal, timeoutMs: openTimeoutMs },
      );
      if (this.#over) {
        stream.close();
        return;
      }
      this.#stream = stream;
      for (const member of this.#watches.values()) this.#create(stream, member);
    } catch (error) {
      // Nobody is left to be told when the dialling was ended from here.
      if (!this.#over)
        this.#end({ why: "lost", failure: failureOf(error, { what: this.#what, endpoint: this.#endpoint, sent: false }) });
    }
  }

  #create(stream: EndpointStream<IWatchRequest>, member: Member): void {
    const { start, end, startRevision } = member.asked;
    this.#creating.push(member);
    member.askedBefore = this.#asked;
    stream.write({
      create_request: { key: bytes(start), range_end: bytes(end), start_revision: startRevision, watch_id: member.id },
    });
    const before = this.#responses;
    this.#caller.clock.sleep(openTimeoutMs, member.answered.signal).then(
      () => {
        if (this.#over) return;
        // A stream on which others are served is not dead: it is this watch alone that gives up.
        if (this.#responses > before) this.#finish(member, { why: "lost", failure: lateFailure(this.#of(member)) });
        else this.#end({ why: "lost", failure: stream.stalled() });
      },
      () => undefined,
    );
  }

  #take(response: IWatchResponse): void {
    this.#responses++;
    const member = response.created ? this.#answered(response) : this.#watches.get(toNumber(response.watch_id));
    if (response.canceled) {
      if (member) this.#finish(member, this.#expired(endOf(response, this.#of(member))));
      return;
    }
    if (response.created) {
      if (member && this.#watches.has(member.id)) {
        member.createdAt = revisionOf(response.header);
        member.handlers.onCreated();
      }
    } else if (response.events.length === 0) {
      const revision = revisionOf(response.header);
      if (member) member.handlers.onProgress(revision);
      else this.#tellProgress(revision);
    }
    if (member && response.events.length > 0 && this.#watches.has(member.id)) {
      // Whatever was on its way when it began has come.
      this.#settled = Math.max(this.#settled, member.askedBefore);
      member.handlers.onEvents(response.events);
    }
  }

  /**
   * It was asked for, and holds for all that the server had when it was: not for those it tells of their creation only later, nor for those
   * that were created while the reply was on its way, which a creation may overtake. What they begin with may be on its way still.
   */
  #tellProgress(revision: number): void {
    this.#settled++;
    for (const one of [...this.#watches.values()]) {
      const { createdAt, askedBefore } = one;
      if (createdAt === undefined) continue;
      // A reply that is older than the watch is of no later revision than its creation.
      if (revision > createdAt) this.#settled = Math.max(this.#settled, askedBefore + 1);
      if (this.#settled > askedBefore) one.handlers.onProgress(revision);
    }
  }

  /** Who is meant by an answer to a creation. Refused ones have no id; the server answers one after the other. */
  #answered(response: IWatchResponse): Member | undefined {
    const id = toNumber(response.watch_id);
    const member = this.#creating.find((one) => one.id === id) ?? this.#creating[0];
    this.#creating = this.#creating.filter((one) => one !== member);
    member?.answered.abort();
    return member;
  }

  /** With a token that was got earlier a refusal may be the token's: the next watch goes on a stream with another; those on this one stay. */
  #expired(ended: Ended): Ended {
    const { credentials } = this.#caller;
    const pass = this.#stream?.pass;
    if (ended.why !== "lost" || !credentials || !pass || credentials.isFresh(pass) || !mayBeStaleToken(ended.failure))
      return ended;
    void credentials.forget(pass.token);
    this.#onOver();
    const details = { retryable: true, cause: ended.failure, data: { endpoint: this.#endpoint } };
    return { why: "lost", failure: new QuorateError("UNREACHABLE", `Cannot ${this.#what}: its token may have expired`, details) };
  }

  #leave(member: Member): void {
    if (!this.#watches.delete(member.id)) return;
    member.answered.abort();
    if (this.#watches.size === 0) this.#end(undefined);
    else this.#stream?.write({ cancel_request: { watch_id: member.id } });
  }

  #finish(member: Member, ended: Ended): void {
    if (!this.#watches.has(member.id)) return;
    this.#leave(member);
    member.handlers.onEnd(ended);
  }

  #end(ended: Ended | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver();
    this.#dialling.abort(new Error("Nobody watches any more"));
    this.#stream?.close();
    const members = [...this.#watches.values()];
    this.#watches.clear();
    for (const { answered } of members) answered.abort();
    if (ended) for (const { handlers } of members) handlers.onEnd(ended);
  }

  async #requestProgress(): Promise<void> {
    this.#progressInOrder ??= this.#isProgressInOrder();
    try {
      await this.#progressInOrder;
    } catch (error) {
      this.#progressInOrder = undefined;
      throw error;
    }
    if (!(await this.#progressInOrder)) {
      const message = `Cannot ask for progress: the etcd at ${this.#endpoint} answers before it has told what comes before`;
      const hint = "Use etcd 3.5.8 or newer, or 3.4.25 or newer.";
      throw new QuorateError("ETCD_REFUSED", message, { hint, data: { endpoint: this.#endpoint } });
    }
    if (this.#over || this.#stream === undefined) return;
    this.#asked++;
    this.#stream.write({ progress_request: {} });
  }

  /** Older ones answer out of order (FACTS.md). A server that was exchanged has ended this stream. */
  async #isProgressInOrder(): Promise<boolean> {
    const { version } = await status(this.#caller, this.#endpoint, {});
    const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
    if (major !== 3) return major > 3;
    return minor > 5 || (minor === 5 && patch >= 8) || (minor === 4 && patch >= 25);
  }

  get #what(): string {
    const first = this.#watches.values().next().value;
    return `watch ${first?.asked.start ?? "keys"}`;
  }

  #of({ asked }: Member): Circumstances {
    return { what: `watch ${asked.start}`, endpoint: this.#endpoint, sent: true };
  }
}

/** A watch that etcd ended by itself, with its own words. */
function endOf(response: IWatchResponse, circumstances: Circumstances): Ended {
  if (toNumber(response.compact_revision) > 0) return { why: "compacted" };
  const { what, endpoint } = circumstances;
  const reason = response.cancel_reason;
  if (reason === "") {
    const details = { retryable: true, data: { endpoint } };
    return { why: "lost", failure: new QuorateError("UNREACHABLE", `Cannot ${what}: ${endpoint} ended it`, details) };
  }
  // The store's own words, about a range that has no keys.
  const refused = reason.startsWith("mvcc: ");
  return { why: "lost", failure: failureOf({ code: refused ? 3 : 2, details: reason }, circumstances) };
}
