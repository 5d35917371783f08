import type { Config } from "./config.ts";
import type { TLSInfo } from "./tls-info.ts";

/** The etcds whose flags differ. Later ones count as the last. */
export const minors = ["3.4", "3.5", "3.6", "3.7"] as const;
export type Minor = (typeof minors)[number];

export type TLSSide = "clientTLSInfo" | "peerTLSInfo";

type FieldName = {
  [Name in keyof Config]: Config[Name] extends (...args: never[]) => unknown ? never : Name;
}[keyof Config];

/** A field that is a flag, or one of those of a {@link TLSInfo}. */
export type FieldPath = Exclude<FieldName, TLSSide | "userHandlers" | "serviceRegister"> | `${TLSSide}.${keyof TLSInfo}`;

export interface FieldSpec {
  readonly kind: "string" | "boolean" | "number" | "duration" | "list" | "urls";
  /** Its key in etcd's configuration file; within a section, after a dot. Undefined: it is not in files. */
  readonly file: string | undefined;
  /** The flag without dashes, or with the one value it is given where the field is true; undefined where that etcd has none. */
  readonly flags: Readonly<Record<Minor, string | undefined>>;
  /** Where its flag is `feature-gates`: the name of the gate. */
  readonly gate?: string;
}

type Flags = FieldSpec["flags"];

const since34 = (name: string): Flags => ({ "3.4": name, "3.5": name, "3.6": name, "3.7": name });
const since35 = (name: string): Flags => ({ ...since34(name), "3.4": undefined });
const since36 = (name: string): Flags => ({ ...since35(name), "3.5": undefined });
const until34 = (name: string): Flags => ({ "3.4": name, "3.5": undefined, "3.6": undefined, "3.7": undefined });
const until35 = (name: string): Flags => ({ ...until34(name), "3.5": name });
const until36 = (name: string): Flags => ({ ...until35(name), "3.6": name });
/** Its flag began with `experimental-` until 3.5. */
const experimental = (name: string, since: "3.4" | "3.5" = "3.4"): Flags => ({
  ...since36(name),
  "3.4": since === "3.4" ? `experimental-${name}` : undefined,
  "3.5": `experimental-${name}`,
});
/** Its flag began with `experimental-` until 3.5, and is a feature gate since. */
const gated = (name: string, since: "3.4" | "3.5" = "3.4"): Flags => ({
  ...experimental(name, since),
  "3.6": gates,
  "3.7": gates,
});

/** The flag that several fields share. */
export const gates = "feature-gates";

function field(kind: FieldSpec["kind"], flags: Flags, more: Partial<FieldSpec> = {}): FieldSpec {
  // Files use the name of the oldest flag there is.
  const oldest = Object.values(flags).find((flag) => flag !== undefined);
  return { kind, flags, file: oldest, ...more };
}

/**
 * Every field with its flag for each etcd. 3.4 and 3.5 were asked themselves (`etcd --help`, and `--version` with the flag beside it), 3.6
 * and 3.7 are as their upgrade guides and the source of `server/embed/config.go` say.
 */
export const fields: Readonly<Record<FieldPath, FieldSpec>> = {
  name: field("string", since34("name")),
  dir: field("string", since34("data-dir")),
  walDir: field("string", since34("wal-dir")),
  lpUrls: field("urls", since34("listen-peer-urls")),
  lcUrls: field("urls", since34("listen-client-urls")),
  listenClientHttpUrls: field("urls", since35("listen-client-http-urls")),
  corsInfo: field("list", since34("cors")),
  hostWhitelist: field("list", since34("host-whitelist")),

  maxSnapFiles: field("number", until36("max-snapshots")),
  maxWalFiles: field("number", since34("max-wals")),
  snapCount: field("number", since34("snapshot-count")),
  snapshotCatchUpEntries: field("number", experimental("snapshot-catchup-entries", "3.5")),
  autoCompactionMode: field("string", since34("auto-compaction-mode")),
  autoCompactionRetention: field("string", since34("auto-compaction-retention")),
  compactionBatchLimit: field("number", experimental("compaction-batch-limit")),
  compactionSleepInterval: field("duration", experimental("compaction-sleep-interval", "3.5")),
  quotaBackendBytes: field("number", since34("quota-backend-bytes")),
  backendFreelistType: field("string", {
    ...since35("backend-bbolt-freelist-type"),
    "3.4": "experimental-backend-bbolt-freelist-type",
  }),
  backendBatchInterval: field("duration", since34("backend-batch-interval")),
  backendBatchLimit: field("number", since34("backend-batch-limit")),
  bootstrapDefragThresholdMegabytes: field("number", experimental("bootstrap-defrag-threshold-megabytes", "3.5")),
  memoryMlock: field("boolean", experimental("memory-mlock", "3.5")),
  unsafeNoFsync: field("boolean", since34("unsafe-no-fsync")),

  tickMs: field("number", since34("heartbeat-interval")),
  electionMs: field("number", since34("election-timeout")),
  initialElectionTickAdvance: field("boolean", since34("initial-election-tick-advance")),
  preVote: field("boolean", since34("pre-vote")),
  maxTxnOps: field("number", since34("max-txn-ops")),
  maxRequestBytes: field("number", since34("max-request-bytes")),
  maxConcurrentStreams: field("number", since34("max-concurrent-streams")),
  gRPCKeepAliveMinTime: field("duration", since34("grpc-keepalive-min-time")),
  gRPCKeepAliveInterval: field("duration", since34("grpc-keepalive-interval")),
  gRPCKeepAliveTimeout: field("duration", since34("grpc-keepalive-timeout")),
  enableGRPCGateway: field("boolean", since34("enable-grpc-gateway")),
  // Files have them in a section of their own.
  socketReusePort: field("boolean", since35("socket-reuse-port"), { file: "socket-options.reuse-port" }),
  socketReuseAddress: field("boolean", since35("socket-reuse-address"), { file: "socket-options.reuse-address" }),
  raftReadTimeout: field("duration", since35("raft-read-timeout"), { file: undefined }),
  raftWriteTimeout: field("duration", since35("raft-write-timeout"), { file: undefined }),
  maxLearners: field("number", since36("max-learners")),
  watchProgressNotifyInterval: field("duration", experimental("watch-progress-notify-interval")),
  enableLeaseCheckpoint: field("boolean", gated("enable-lease-checkpoint"), { gate: "LeaseCheckpoint" }),
  enableLeaseCheckpointPersist: field("boolean", gated("enable-lease-checkpoint-persist"), { gate: "LeaseCheckpointPersist" }),
  warningApplyDuration: field("duration", experimental("warning-apply-duration")),
  warningUnaryRequestDuration: field("duration", since36("warning-unary-request-duration")),
  downgradeCheckTime: field("duration", experimental("downgrade-check-time", "3.5")),
  stopGRPCServiceOnDefrag: field("boolean", gated("stop-grpc-service-on-defrag", "3.5"), { gate: "StopGRPCServiceOnDefrag" }),
  txnModeWriteWithSharedBuffer: field("boolean", gated("txn-mode-write-with-shared-buffer", "3.5"), {
    gate: "TxnModeWriteWithSharedBuffer",
  }),

  apUrls: field("urls", since34("initial-advertise-peer-urls")),
  acUrls: field("urls", since34("advertise-client-urls")),
  clusterState: field("string", since34("initial-cluster-state")),
  dnsCluster: field("string", since34("discovery-srv")),
  dnsClusterServiceName: field("string", since34("discovery-srv-name")),
  durl: field("string", until36("discovery")),
  dproxy: field("string", until36("discovery-proxy")),
  discoveryFallback: field("string", until36("discovery-fallback")),
  discoveryEndpoints: field("list", since36("discovery-endpoints"), { file: undefined }),
  discoveryToken: field("string", since36("discovery-token"), { file: undefined }),
  initialCluster: field("string", since34("initial-cluster")),
  initialClusterToken: field("string", since34("initial-cluster-token")),
  strictReconfigCheck: field("boolean", since34("strict-reconfig-check")),
  enableV2: field("boolean", until35("enable-v2")),
  v2Deprecation: field("string", { ...since35("v2-deprecation"), "3.7": undefined }),
  forceNewCluster: field("boolean", since34("force-new-cluster")),

  "clientTLSInfo.certFile": field("string", since34("cert-file"), { file: "client-transport-security.cert-file" }),
  "clientTLSInfo.keyFile": field("string", since34("key-file"), { file: "client-transport-security.key-file" }),
  "clientTLSInfo.clientCertFile": field("string", since35("client-cert-file"), {
    file: "client-transport-security.client-cert-file",
  }),
  "clientTLSInfo.clientKeyFile": field("string", since35("client-key-file"), {
    file: "client-transport-security.client-key-file",
  }),
  "clientTLSInfo.clientCertAuth": field("boolean", since34("client-cert-auth"), {
    file: "client-transport-security.client-cert-auth",
  }),
  "clientTLSInfo.trustedCAFile": field("string", since34("trusted-ca-file"), {
    file: "client-transport-security.trusted-ca-file",
  }),
  "clientTLSInfo.crlFile": field("string", since34("client-crl-file"), { file: undefined }),
  "clientTLSInfo.allowedCNs": field("list", none(), { file: undefined }),
  "clientTLSInfo.allowedHostnames": field("list", since34("client-cert-allowed-hostname"), {
    file: "client-transport-security.allowed-hostname",
  }),
  "clientTLSInfo.skipClientSANVerify": field("boolean", none(), { file: undefined }),
  clientAutoTLS: field("boolean", since34("auto-tls"), { file: "client-transport-security.auto-tls" }),
  "peerTLSInfo.certFile": field("string", since34("peer-cert-file"), { file: "peer-transport-security.cert-file" }),
  "peerTLSInfo.keyFile": field("string", since34("peer-key-file"), { file: "peer-transport-security.key-file" }),
  "peerTLSInfo.clientCertFile": field("string", since35("peer-client-cert-file"), {
    file: "peer-transport-security.client-cert-file",
  }),
  "peerTLSInfo.clientKeyFile": field("string", since35("peer-client-key-file"), {
    file: "peer-transport-security.client-key-file",
  }),
  "peerTLSInfo.clientCertAuth": field("boolean", since34("peer-client-cert-auth"), {
    file: "peer-transport-security.client-cert-auth",
  }),
  "peerTLSInfo.trustedCAFile": field("string", since34("peer-trusted-ca-file"), {
    file: "peer-transport-security.trusted-ca-file",
  }),
  "peerTLSInfo.crlFile": field("string", since34("peer-crl-file"), { file: undefined }),
  "peerTLSInfo.allowedCNs": field("list", since34("peer-cert-allowed-cn"), { file: "peer-transport-security.allowed-cn" }),
  "peerTLSInfo.allowedHostnames": field("list", since34("peer-cert-allowed-hostname"), {
    file: "peer-transport-security.allowed-hostname",
  }),
  "peerTLSInfo.skipClientSANVerify": field("boolean", experimental("peer-skip-client-san-verification"), {
    file: "peer-transport-security.skip-client-san-verification",
  }),
  peerAutoTLS: field("boolean", since34("peer-auto-tls"), { file: "peer-transport-security.auto-tls" }),
  selfSignedCertValidity: field("number", since35("self-signed-cert-validity")),
  cipherSuites: field("list", since34("cipher-suites")),
  tlsMinVersion: field("string", since35("tls-min-version")),
  tlsMaxVersion: field("string", since35("tls-max-version")),
  authToken: field("string", since34("auth-token")),
  authTokenTTL: field("number", since34("auth-token-ttl")),
  bcryptCost: field("number", since34("bcrypt-cost")),

  debug: field("boolean", { ...since35("log-level=debug"), "3.4": "debug" }),
  logPkgLevels: field("string", until34("log-package-levels")),
  logOutput: field("string", since34("log-outputs"), { file: "log-output" }),
  logOutputs: field("list", since34("log-outputs")),
  logger: field("string", since34("logger")),
  logLevel: field("string", since34("log-level")),
  logFormat: field("string", since36("log-format")),
  enableLogRotation: field("boolean", since35("enable-log-rotation")),
  logRotationConfigJSON: field("string", since35("log-rotation-config-json")),
  enablePprof: field("boolean", since34("enable-pprof")),
  metrics: field("string", since34("metrics")),
  listenMetricsUrls: field("urls", since34("listen-metrics-urls")),
  enableDistributedTracing: field("boolean", experimental("enable-distributed-tracing", "3.5")),
  distributedTracingAddress: field("string", experimental("distributed-tracing-address", "3.5")),
  distributedTracingServiceName: field("string", experimental("distributed-tracing-service-name", "3.5")),
  distributedTracingServiceInstanceID: field("string", experimental("distributed-tracing-instance-id", "3.5")),
  distributedTracingSamplingRatePerMillion: field("number", experimental("distributed-tracing-sampling-rate", "3.5")),

  experimentalInitialCorruptCheck: field("boolean", gated("initial-corrupt-check"), { gate: "InitialCorruptCheck" }),
  experimentalCorruptCheckTime: field("duration", experimental("corrupt-check-time")),
  compactHashCheckEnabled: field("boolean", gated("compact-hash-check-enabled", "3.5"), { gate: "CompactHashCheck" }),
  compactHashCheckTime: field("duration", experimental("compact-hash-check-time", "3.5")),
  experimentalEnableV2V3: field("string", until35("experimental-enable-v2v3")),
};

function none(): Flags {
  return { "3.4": undefined, "3.5": undefined, "3.6": undefined, "3.7": undefined };
}
