export { EtcdClient } from "./client.ts";
export type { EtcdClientOptions } from "./client.ts";
export { succeeds } from "./successor.ts";
export type { Succession } from "./successor.ts";
export type { FileLogin, Login } from "./credentials.ts";
export type { CallHooks, Reaching, Link, LinkHandlers, LinkStream, Rpcs, StreamMethod, Wires } from "./link.ts";
export { followMembers, MemberEndpoints } from "./member-endpoints.ts";
export { rpcsOver, wiresBy, wiresTo } from "./link.ts";
export { certificatesIn, checkTls, lifeOf, readTls } from "./tls.ts";
export type { TlsFiles, TlsTexts } from "./tls.ts";
export type { Dial, Way } from "./local-end.ts";
export type {
  CallOptions,
  Compare,
  EndpointStatus,
  KeyValue,
  MemberRow,
  Membership,
  Op,
  RangeResult,
  Txn,
  TxnResult,
} from "./types.ts";
export { grantedMs, grantLease, Session } from "./session.ts";
export type { SessionOptions } from "./session.ts";
export { untilLapsed } from "./lapse.ts";
export type { Lapsing } from "./lapse.ts";
export { receiveSnapshot } from "./snapshot.ts";
export { openWatch, watchRange } from "./watch.ts";
export type { Change, OnNews, WatchDeps, Watching, WatchNews } from "./watch.ts";
export { campaign, isCandidate } from "./election.ts";
export type { CampaignOptions, Leadership } from "./election.ts";
export { isOfEndpoint, mayHaveHappened, mayPass, reasonOf } from "./failure.ts";
export { Batch } from "./batch.ts";
export { batchMarkers } from "./batch-marker.ts";
export { Deadlines } from "./deadlines.ts";
export type { AtomicWrite, BatchOptions, Look, SingleOptions, When, WriteOp, WriteOptions, Written } from "./batch.ts";
export { alarms, compact, defragment, disarm, isNoSpace } from "./upkeep.ts";
export type { Alarm } from "./upkeep.ts";
export { lock } from "./lock.ts";
export type { HeldLock, LockOptions } from "./lock.ts";
export { readRecords, recordTxn } from "./records.ts";
export type { KeyRecord, RecordAnswer, RecordOp, RecordPage, RecordTxn } from "./records.ts";
