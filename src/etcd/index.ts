export { EtcdClient } from "./client.ts";
export type { EtcdClientOptions } from "./client.ts";
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
