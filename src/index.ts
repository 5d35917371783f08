export { Agent, startAgent } from "./agent/index.ts";
export type { AgentDeps, AgentExit, AgentOptions, AgentPhase, AgentRole, AgentStatus } from "./agent/index.ts";
export type { ServerExit } from "./embed/index.ts";
export { dynamicSize } from "./chooser/index.ts";
export type {
  AgentName,
  Choose,
  Chooser,
  ChooserPolicy,
  ClusterSnapshot,
  MemberSeen,
  NominationSeen,
  VolunteerSeen,
} from "./chooser/index.ts";
export { QuorateError, exitCodes, isRetryable, type ErrorCode } from "./errors.ts";
export { systemClock, type Clock } from "./clock.ts";
