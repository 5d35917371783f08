import type { ServerExit } from "../embed/index.ts";

/** Where an agent is in its life. */
export type AgentPhase = "starting" | "safe-mode" | "joining" | "running" | "leaving" | "stopping" | "stopped";

/** What this host is in the cluster. */
export type AgentRole =
  /** Its server votes. */
  | "voter"
  /** Its server follows without a vote. */
  | "learner"
  /** It volunteers and has no seat. */
  | "spare"
  /** It only connects. */
  | "client";

/** What an agent knows of itself and, as of its last news, of its cluster. */
export interface AgentStatus {
  readonly hostname: string;
  readonly phase: AgentPhase;
  readonly role: AgentRole;
  /** The agent that leads; undefined while none does or it is not known. */
  readonly leader: string | undefined;
  readonly leading: boolean;
  /** Folder of everything it keeps. */
  readonly prefix: string | undefined;
  readonly clusterId: string | undefined;
  readonly memberId: string | undefined;
  /** Process id of its etcd. */
  readonly serverPid: number | undefined;
  /** Where it serves clients; empty while it runs no server. */
  readonly clientUrls: readonly string[];
  /** Endpoints it uses. */
  readonly endpoints: readonly string[];
  /** Hosts with a seat. */
  readonly members: readonly string[];
  readonly idealClusterSize: number | undefined;
  readonly failureTolerance: number | undefined;
  /** What the chooser does or waits for, and why, in one sentence. */
  readonly because: string | undefined;
  /** What is wrong with this host, in one sentence. */
  readonly problem: string | undefined;
}

/** How an agent ended. */
export interface AgentExit {
  /** What the command line exits with. */
  readonly exitCode: number;
  /** Why it failed; undefined after an orderly end. */
  readonly error: unknown;
  /** `left`: its seat is gone; `stopped`: it keeps its seat and data; `failed`: see `error`. */
  readonly how: "left" | "stopped" | "failed";
  /** What the operator should know, e.g. which host to start first. */
  readonly notice: string | undefined;
}

export type { ServerExit };
