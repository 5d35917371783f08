export { openWorld } from "./open.ts";
export type { WorldOptions, WorldTls } from "./open.ts";
export type { SshLogin, SshOptions } from "../ssh/index.ts";
export { WorldError } from "./error.ts";
export type { Outcome, WorldErrorCode } from "./error.ts";
export type { Etcd3Client } from "./api/client.ts";
export type { BatchBuilder, BatchDeleteOptions, BatchOptions, BatchResult, BatchWriteOptions } from "./api/batch.ts";
export type {
  CallOptions,
  Change,
  DeleteOptions,
  Fence,
  Lease,
  ListEvent,
  Read,
  ReadMode,
  ReadOptions,
  Session,
  StateEvent,
  Value,
  ValueEvent,
  Watch,
  WatchOptions,
  WriteOptions,
  Written,
} from "./api/common.ts";
export type { Convergence, ConvergedHere, Converger, ConvergerPart, PartOptions } from "./api/converger.ts";
export type { AddDeployOptions, Deploy, Deploys, DeployTree, NewDeploy } from "./api/deploys.ts";
export type { Member, Members, MembersWatchOptions } from "./api/members.ts";
export type {
  Exported,
  ExportOptions,
  ExportResult,
  Resource,
  ResourceConflict,
  ResourceFilter,
  ResourceFilters,
  ResourceKey,
  Resources,
} from "./api/resources.ts";
export type {
  CandidateFacts,
  Contradiction,
  NamedSchedule,
  Place,
  Schedule,
  ScheduleRules,
  SchedulerOptions,
  Schedules,
  Scheduling,
  Strategy,
} from "./api/scheduler.ts";
export type { HostEntry, IdealClusterSize, SizeValue, Str, StrMap, StrMapValue } from "./api/strings.ts";
export type { Leadership, Lock, Malformed, TtlOptions, World, WorldStatus } from "./api/world.ts";
export type {
  Fs,
  FsChange,
  FsCommitted,
  FsEvent,
  FsGcOptions,
  FsGcResult,
  FsKind,
  FsLogEntry,
  FsProgress,
  FsSnapshot,
  FsTransferOptions,
  FsTransferred,
  FsVersion,
  FsWatchEvent,
} from "./api/fs.ts";
export type {
  FsCallOptions,
  FsCpOptions,
  FsDirent,
  FsEncoding,
  FsFiles,
  FsFlags,
  FsHandle,
  FsMkdirOptions,
  FsReader,
  FsReadFileOptions,
  FsReadStreamOptions,
  FsRmOptions,
  FsSlice,
  FsStats,
  FsWriteFileOptions,
  FsWriteStreamOptions,
} from "./api/fs-files.ts";
export { FsConflict, FsError } from "./fs/error.ts";
