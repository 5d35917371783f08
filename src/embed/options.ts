import type { Logger } from "pino";

/** What {@link EtcdServer.start} takes: one etcd server, and nothing about why it should run. */
export interface EtcdServerOptions {
  /** Path of the etcd to run. */
  readonly binary: string;
  /** etcd's `--name`. */
  readonly name: string;
  /** Absolute, without a slash at the end. Created with mode 0700 where it is missing; `<dataDir>.lock` beside it says who uses it. */
  readonly dataDir: string;
  readonly listenClientUrls: readonly string[];
  readonly listenPeerUrls: readonly string[];
  readonly advertiseClientUrls: readonly string[];
  readonly advertisePeerUrls: readonly string[];
  /** For client URLs with `https`. */
  readonly clientTls?: ServerTls;
  /** For peer URLs with `https`: also what it shows its peers when it connects to them. */
  readonly peerTls?: ServerTls;
  /** How to begin where the data dir is empty. Undefined: continue from the data dir. Without effect where the data dir has data. */
  readonly boot?: Boot;
  /** etcd's own check of member changes. Default false: it delays every learner by 5 s and forbids replacing learner-first. */
  readonly strictReconfigCheck?: boolean;
  /** How much history periodic auto-compaction keeps, as etcd writes durations. Default `"10m"`. */
  readonly autoCompactionRetention?: string;
  /** Default 4 GiB. */
  readonly quotaBackendBytes?: number;
  /** Default 512. */
  readonly maxTxnOps?: number;
  /** How often a client may ping, as etcd writes durations. Default `"2s"`. */
  readonly grpcKeepaliveMinTime?: string;
  /** Default: etcd's own, 100. */
  readonly heartbeatMs?: number;
  /** Default: etcd's own, 1,000. */
  readonly electionMs?: number;
  /** How long all tries together may take until it serves. Default 60,000. A voter without quorum serves only once there is one. */
  readonly startTimeoutMs?: number;
  /** How long after SIGTERM it is killed. Default 15,000. */
  readonly stopTimeoutMs?: number;
  /** How often it is started, 500 ms apart, while the cluster's members are not the ones `boot` listed. Default 5. */
  readonly startTries?: number;
  /** The whole environment of etcd besides a fixed `PATH`: nothing of ours reaches it. Default none. */
  readonly env?: Readonly<Record<string, string>>;
  /** Folder that `unix` URLs are below, which etcd has no other way to say. Default: this process's. */
  readonly cwd?: string;
  /** Gets etcd's log, line by line, at etcd's levels. Default: nowhere. */
  readonly log?: Logger;
}

/** What a server shows, and asks for, at its `https` URLs of one side. Files in PEM. */
export interface ServerTls {
  readonly certFile: string;
  readonly keyFile: string;
  /** Of the authorities whose certificates count. etcd reads it when it starts; the other two for every connection. */
  readonly trustedCaFile?: string;
  /** Whoever has no certificate of those is refused. */
  readonly clientCertAuth: boolean;
}

/** How a server with an empty data dir begins. */
export interface Boot {
  /** `new`: found a cluster of the members listed; `existing`: join one that lists this server already. */
  readonly state: "new" | "existing";
  /** `--initial-cluster-token`: keeps clusters apart that use the same addresses. */
  readonly token: string;
  /**
   * Asked before every try, so that a list that was outdated is read again. One entry has the server's own name and peer
   * URLs; the names of the others are free but must differ (their ids in hex do).
   */
  readonly initialCluster: (signal: AbortSignal) => Promise<readonly InitialMember[]>;
}

export interface InitialMember {
  readonly name: string;
  readonly peerUrls: readonly string[];
}

export const serverDefaults = {
  strictReconfigCheck: false,
  autoCompactionRetention: "10m",
  quotaBackendBytes: 4 * 1024 ** 3,
  maxTxnOps: 512,
  grpcKeepaliveMinTime: "2s",
  startTimeoutMs: 60_000,
  stopTimeoutMs: 15_000,
  startTries: 5,
  retryAfterMs: 500,
} as const;

/** etcd's command line for one try. `members` is what `boot.initialCluster` said just now; undefined: continue from the data dir. */
export function serverFlags(options: EtcdServerOptions, members: readonly InitialMember[] | undefined): string[] {
  const flags: Record<string, string | number | boolean | undefined> = {
    name: options.name,
    "data-dir": options.dataDir,
    "listen-client-urls": options.listenClientUrls.join(","),
    "listen-peer-urls": options.listenPeerUrls.join(","),
    "advertise-client-urls": options.advertiseClientUrls.join(","),
    "initial-advertise-peer-urls": options.advertisePeerUrls.join(","),
    logger: "zap",
    "log-outputs": "stderr",
    "log-level": "info",
    // 3.4 has it off: a server that comes back from a cut would unseat a raft leader that works.
    "pre-vote": true,
    "strict-reconfig-check": options.strictReconfigCheck ?? serverDefaults.strictReconfigCheck,
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": options.autoCompactionRetention ?? serverDefaults.autoCompactionRetention,
    "quota-backend-bytes": options.quotaBackendBytes ?? serverDefaults.quotaBackendBytes,
    "max-txn-ops": options.maxTxnOps ?? serverDefaults.maxTxnOps,
    "grpc-keepalive-min-time": options.grpcKeepaliveMinTime ?? serverDefaults.grpcKeepaliveMinTime,
    "heartbeat-interval": options.heartbeatMs,
    "election-timeout": options.electionMs,
    ...tlsFlags("", options.clientTls),
    ...tlsFlags("peer-", options.peerTls),
    ...(options.boot && members
      ? {
          "initial-cluster": members.flatMap(({ name, peerUrls }) => peerUrls.map((url) => `${name}=${url}`)).join(","),
          "initial-cluster-state": options.boot.state,
          "initial-cluster-token": options.boot.token,
        }
      : {}),
  };
  return Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag}=${value}`]));
}

function tlsFlags(side: "" | "peer-", tls: ServerTls | undefined): Record<string, string | boolean | undefined> {
  if (tls === undefined) return {};
  return {
    [`${side}cert-file`]: tls.certFile,
    [`${side}key-file`]: tls.keyFile,
    [`${side}trusted-ca-file`]: tls.trustedCaFile,
    [`${side}client-cert-auth`]: tls.clientCertAuth ? true : undefined,
  };
}
