export { lookAtReplicas } from "./look.ts";
export type { ReplicaLook } from "./look.ts";
export { openReplica } from "./open.ts";
export { Replica } from "./replica.ts";
export { ReplicaWrites } from "./writes.ts";
export type { Entry, EntryChange } from "./entry.ts";
export type { Relist, RelistCause } from "./protocol.ts";
export type {
  DirectLook,
  Following,
  FollowOptions,
  Look,
  OnReplicaNews,
  ReadMany,
  ReadMode,
  ReadOne,
  ReadOptions,
  ReadPoint,
  ReplicaMetrics,
  ReplicaNews,
  ReplicaOptions,
  ReplicaStatus,
  Select,
} from "./types.ts";
