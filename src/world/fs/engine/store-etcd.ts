import type { Logger } from "pino";
import { passOn } from "../../../clock.ts";
import type { Clock } from "../../../clock.ts";
import { Session, lock, readRecords, recordTxn, watchRange } from "../../../etcd/index.ts";
import type { EtcdClient, KeyRecord, KeyValue, RecordAnswer, RecordTxn, WatchNews } from "../../../etcd/index.ts";
import type { KeyRange, Keys } from "../../../keys.ts";
import { WorldError } from "../../error.ts";
import type { Difference, Handler, News } from "../../watch/news.ts";
import type { Moment, ScanOptions, Scanned, Store, StoreCall, StoreLease, StoreLock } from "./store.ts";

export interface EtcdStoreParts {
  readonly client: () => Promise<EtcdClient>;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
  /** Of leases: how long what a crashed process wrote ahead is left. */
  readonly ttlMs: number;
}

/** Objects of 1 MiB, over a line that may be slow. The caller's signal ends it earlier. */
const timeoutMs = 30_000;
const pageSize = 5_000;

export function etcdStore(parts: EtcdStoreParts): Store {
  return new EtcdStore(parts);
}

class EtcdStore implements Store {
  readonly keys: Keys;
  readonly clock: Clock;
  readonly #parts: EtcdStoreParts;
  readonly #over = new AbortController();
  readonly #held = new Set<() => Promise<void>>();

  constructor(parts: EtcdStoreParts) {
    this.#parts = parts;
    this.keys = parts.keys;
    this.clock = parts.clock;
  }

  async scan(range: KeyRange, options: ScanOptions = {}): Promise<Scanned> {
    return await this.#scan(range, options, undefined);
  }

  async moment(call: StoreCall = {}): Promise<Moment> {
    const { start } = this.keys.fs.log;
    const found = await readRecords(await this.#client(), { start, end: `${start}\0` }, { ...callOf(call), keysOnly: true });
    const { revision } = found;
    return { revision, scan: (range, options = {}) => this.#scan(range, options, revision) };
  }

  async #scan(range: KeyRange, options: ScanOptions, of: number | undefined): Promise<Scanned> {
    const { limit = Infinity, keysOnly = false, descending = false } = options;
    const client = await this.#client();
    const call = callOf(options);
    const records: KeyRecord[] = [];
    let { start, end } = range;
    let revision = of;
    for (;;) {
      const page = await readRecords(
        client,
        { start, end },
        {
          ...call,
          limit: Math.min(limit - records.length, keysOnly ? pageSize : 500),
          keysOnly,
          descending,
          ...(revision === undefined ? {} : { revision }),
        },
      );
      for (const record of page.records) records.push(record);
      revision ??= page.revision;
      const last = page.records.at(-1);
      if (!page.more || last === undefined || records.length >= limit) return { records, revision };
      if (descending) end = last.key;
      else start = `${last.key}\0`;
    }
  }

  async txn(txn: RecordTxn, options: StoreCall = {}): Promise<RecordAnswer & { revision: number }> {
    return await recordTxn(await this.#client(), txn, { ...callOf(options), what: "change the files" });
  }

  async lease(signal?: AbortSignal): Promise<StoreLease> {
    const { clock, ttlMs, log } = this.#parts;
    const client = await this.#client();
    const opening = new AbortController();
    const release = passOn([signal, this.#over.signal], opening);
    let session: Session;
    try {
      session = await Session.open(client, { ttlMs, clock, ...(log === undefined ? {} : { log }) }, opening.signal);
    } finally {
      release();
    }
    const close = async (): Promise<void> => {
      this.#held.delete(close);
      await session.close();
    };
    this.#held.add(close);
    if (this.#over.signal.aborted) await close();
    return {
      id: session.lease,
      signal: session.signal,
      check: () => {
        session.check();
      },
      close,
    };
  }

  async lock(key: string, signal?: AbortSignal): Promise<StoreLock> {
    const { clock, ttlMs, log } = this.#parts;
    const client = await this.#client();
    const waiting = new AbortController();
    const stopWaiting = passOn([signal, this.#over.signal], waiting);
    try {
      const held = await lock({ client, name: key, clock, ttlMs, ...(log === undefined ? {} : { log }) }, waiting.signal);
      const release = async (): Promise<void> => {
        this.#held.delete(release);
        await held.release();
      };
      this.#held.add(release);
      return { fence: () => held.fence(), [Symbol.asyncDispose]: release };
    } finally {
      stopWaiting();
    }
  }

  watch(key: string) {
    return (handler: Handler<KeyRecord>): (() => void) => {
      const own = new AbortController();
      const release = passOn([this.#over.signal], own);
      let liveMs = this.clock.nowMs();
      const onNews = (news: WatchNews): void | Promise<void> => {
        if (own.signal.aborted) return;
        if (news.kind === "state" && news.live) liveMs = this.clock.nowMs();
        return handler.onNews(newsOf(news, () => Math.round(this.clock.nowMs() - liveMs)));
      };
      const run = async (): Promise<never> => {
        const { clock, log } = this.#parts;
        const client = await this.#client();
        const deps = { clock, ...(log === undefined ? {} : { log }) };
        return await watchRange(client, { start: key, end: `${key}\0` }, onNews, deps, own.signal);
      };
      run()
        .catch((error: unknown) => {
          if (!own.signal.aborted || error === this.#over.signal.reason) handler.onFailure(error);
        })
        .finally(release);
      return () => {
        own.abort(new DOMException("The watch is over", "AbortError"));
      };
    };
  }

  async close(): Promise<void> {
    this.#over.abort(new WorldError("CLOSED", "Cannot use the files: the World was closed"));
    await Promise.allSettled([...this.#held].map((close) => close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #client(): Promise<EtcdClient> {
    this.#over.signal.throwIfAborted();
    return await this.#parts.client();
  }
}

function callOf({ signal, check }: StoreCall): {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly session?: { check(): void };
} {
  return {
    timeoutMs,
    ...(signal === undefined ? {} : { signal }),
    ...(check === undefined ? {} : { session: { check } }),
  };
}

function newsOf(news: WatchNews, lagMs: () => number): News<KeyRecord> {
  if (news.kind === "state") return { kind: "state", live: news.live, lagMs: news.live ? 0 : lagMs() };
  const { revision } = news;
  if (news.kind === "snapshot")
    return { kind: "snapshot", items: new Map(news.entries.map((one) => [one.key, recordOf(one)])), revision };
  const changes = new Map<string, Difference<KeyRecord>>();
  for (const change of news.changes) {
    const key = change.type === "put" ? change.entry.key : change.key;
    const before = changes.get(key)?.before ?? (change.previous && recordOf(change.previous));
    changes.set(key, { before, after: change.type === "put" ? recordOf(change.entry) : undefined });
  }
  return { kind: news.resynced ? "resynced" : "changes", changes, revision };
}

function recordOf({ key, value, createRevision, modRevision, lease }: KeyValue): KeyRecord {
  return { key, value: Buffer.from(value, "utf8"), createRevision, modRevision, lease };
}
