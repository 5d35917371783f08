export { connect } from "./connect.ts";
export type {
  Changed,
  Changes,
  ConnectOptions,
  MembersResult,
  MgmtWorld,
  ResDelete,
  ResExport,
  ResFilter,
  ResOutput,
  SchedulerResult,
  SetOptions,
  WatchOptions,
} from "./api.ts";
export * from "./constants.ts";
export { WorldError } from "../world/index.ts";
