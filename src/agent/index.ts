export { Agent, startAgent, type AgentDeps } from "./agent.ts";
export type { AgentOptions } from "./options.ts";
export type { AgentExit, AgentPhase, AgentRole, AgentStatus } from "./status.ts";
