import type { FileLogin, TlsFiles } from "../../etcd/index.ts";
import type { SshRoute } from "../../ssh/index.ts";

/** What a feeder is started with. */
export interface FeederSettings {
  readonly folder: string;
  readonly namespace: string;
  /** Seeds; what the folder knows is added. */
  readonly endpoints: readonly string[];
  /** Hex; what is there of another cluster is no copy of this one. */
  readonly clusterId?: string;
  readonly group?: string;
  readonly mostBytes: number;
  /** How the endpoints are reached; it logs in by itself, as whoever started it may be gone. No secret: the keys are files. */
  readonly ssh?: SshRoute;
  /** Files that it reads by itself, likewise. */
  readonly tls?: TlsFiles;
  readonly login?: FileLogin;
  /** A unix socket that all endpoints are behind. */
  readonly socket?: string;
  /** What there is is not to be used: why. */
  readonly distrust?: string;
  /** Where the machine's boot id is read: for tests. */
  readonly bootIdPath?: string;
}

/** What a file may take unless somebody says otherwise. */
export const defaultMostBytes = 1024 * 1024 * 1024;

/** Exit codes of the feeder's process that its starter understands. */
export const feederExit = { done: 0, another: 3 } as const;
