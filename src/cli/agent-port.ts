import type { AgentOptions } from "../agent/options.ts";
export interface Agent {
  readonly ready: Promise<void>;
  readonly exited: Promise<{ readonly exitCode: number; readonly error?: unknown }>;
  leave(): Promise<void>;
  stop(): Promise<void>;
  hurry(): void;
}
export declare function startAgent(options: AgentOptions, deps: { signal: AbortSignal }): Agent;
