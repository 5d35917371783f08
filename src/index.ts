export { Agent, startAgent } from "./agent/index.ts";
export type { AgentDeps, AgentExit, AgentOptions, AgentPhase, AgentRole, AgentStatus } from "./agent/index.ts";
export type { ServerExit } from "./embed/index.ts";
export { QuorateError, exitCodes, isRetryable, type ErrorCode } from "./errors.ts";
export { systemClock, type Clock } from "./clock.ts";
