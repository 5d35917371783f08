import type { Clock } from "../../../clock.ts";
import type { Compare, KeyRecord, RecordAnswer, RecordTxn } from "../../../etcd/index.ts";
import type { DeployKeys, FsKeys, KeyRange } from "../../../keys.ts";
import type { Source } from "../../watch/news.ts";

export interface StoreCall {
  readonly signal?: AbortSignal | undefined;
  /** Called each time right before a request leaves; what it throws is what the call rejects with. */
  readonly check?: (() => void) | undefined;
}

export interface ScanOptions extends StoreCall {
  readonly keysOnly?: boolean;
  /** Default: all of them. */
  readonly limit?: number | undefined;
  readonly descending?: boolean;
}

/** What is written under it is deleted when it ends. */
export interface StoreLease {
  readonly id: string;
  /** Fires before the store can end it. */
  readonly signal: AbortSignal;
  /** Throws the signal's reason once it is over, by the clock and not by timers. */
  check(): void;
  /** Ends it. Idempotent. */
  close(): Promise<void>;
}

/** One holder at a time, in all processes that share the store. */
export interface StoreLock extends AsyncDisposable {
  /** Holds while nobody else can have it. */
  fence(): Compare;
}

export interface Scanned {
  readonly records: readonly KeyRecord[];
  readonly revision: number;
}

/** The store as it was at one revision. */
export interface Moment {
  readonly revision: number;
  scan(range: KeyRange, options?: ScanOptions): Promise<Scanned>;
}

/**
 * Where objects are, and the few records that say which of them are trees: keys and values, with transactions, revisions and leases, as etcd
 * has them. Everything that may fail rejects with WorldError or QuorateError.
 */
export interface Store extends AsyncDisposable {
  readonly keys: { readonly fs: FsKeys; readonly deploys: DeployKeys };
  readonly clock: Clock;
  /** Linearizable, and all of one revision. */
  scan(range: KeyRange, options?: ScanOptions): Promise<Scanned>;
  /** For several scans of one revision, which is as of now. */
  moment(call?: StoreCall): Promise<Moment>;
  /** May be carried out twice: whoever sends one sees to it that this does no harm. At most 100 operations, 1.25 MiB. */
  txn(txn: RecordTxn, options?: StoreCall): Promise<RecordAnswer & { readonly revision: number }>;
  lease(signal?: AbortSignal): Promise<StoreLease>;
  /** Waits for it. */
  lock(key: string, signal?: AbortSignal): Promise<StoreLock>;
  /** News of one key. */
  watch(key: string): Source<KeyRecord>;
  /** Ends leases and watches. Idempotent. */
  close(): Promise<void>;
}

/** Nested transactions in one: etcd's own default takes 128 operations, and counts the outer one. */
export const mostInTxn = 100;
/** Of values in one transaction: etcd takes 1.5 MiB. */
export const mostBytesInTxn = 1024 * 1024 + 64 * 1024;
