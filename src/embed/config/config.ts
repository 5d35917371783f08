import type { IncomingMessage, ServerResponse } from "node:http";
import { networkInterfaces } from "node:os";
import type { Server } from "@grpc/grpc-js";
import * as is from "./constants.ts";
import { dnsCluster } from "./dns.ts";
import { initialMembers } from "./initial-cluster.ts";
import { type LogSetup, setupLogging } from "./logging.ts";
import { selfCert } from "./self-cert.ts";
import { type TLSInfo, isEmptyTLS, newTLSInfo } from "./tls-info.ts";
import { addressOf } from "./urls.ts";
import { validate } from "./validate.ts";

/** Answers what is asked for over HTTP. Over HTTP/2 it gets Node's compatible request and response. */
export type UserHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/**
 * An etcd server's configuration, and what can be done with it. The fields of the reference, Go's package `embed` of etcd 3.3, have its
 * defaults. Newer ones are undefined until they are set, which leaves them to the etcd that runs. Which flag of which etcd each of them is,
 * and what it is called in a configuration file, says the table `fields`.
 *
 * URLs are strings as etcd writes them, durations are Go's ("5m", "1h30m", "300ms").
 */
export class Config {
  // Member.
  /** Of this member, for people. */
  name = is.defaultName;
  /** Data folder. `""`: `<name>.etcd` in the working directory. */
  dir = "";
  /** Folder of the write-ahead log; `""`: in the data folder. */
  walDir = "";
  /** Where peers are listened for: IP addresses, or localhost. */
  lpUrls: string[] = [is.defaultListenPeerURLs];
  /** Where clients are listened for: IP addresses, or localhost. */
  lcUrls: string[] = [is.defaultListenClientURLs];
  /** Where clients are listened for that speak HTTP without gRPC; `lcUrls` has gRPC alone then. */
  listenClientHttpUrls: string[] | undefined;
  /** Origins that scripts of web pages may come from. */
  corsInfo: string[] = [];
  /** Host names that HTTP clients may ask for; empty: all. */
  hostWhitelist: string[] = [];

  // Storage and compaction.
  /** Snapshot files that are kept; 0: all. */
  maxSnapFiles = is.defaultMaxSnapshots;
  /** Files of the write-ahead log that are kept; 0: all. */
  maxWalFiles = is.defaultMaxWALs;
  /** Committed entries until a snapshot. */
  snapCount = is.defaultSnapCount;
  /** Entries kept after a snapshot for those that lag. */
  snapshotCatchUpEntries: number | undefined;
  /** `periodic`, `revision`, or `""`: periodic. */
  autoCompactionMode = "";
  /** How much history is kept: a duration ("5m"), a number of hours ("5"), or of revisions ("5000") by mode. `""` or "0": all of it. */
  autoCompactionRetention = "";
  /** Revisions deleted in one go. */
  compactionBatchLimit: number | undefined;
  compactionSleepInterval: string | undefined;
  /** Bytes; 0: etcd's own, 2 GiB. */
  quotaBackendBytes = 0;
  /** `array` or `map`. */
  backendFreelistType: string | undefined;
  backendBatchInterval: string | undefined;
  backendBatchLimit: number | undefined;
  bootstrapDefragThresholdMegabytes: number | undefined;
  memoryMlock: boolean | undefined;
  /** Loses data with the machine's power. */
  unsafeNoFsync: boolean | undefined;

  // Timing and limits.
  /** Milliseconds between heartbeats. */
  tickMs = 100;
  /** Milliseconds; at least five ticks, at most 50,000. */
  electionMs = 1_000;
  /** A server that starts waits less for its first election. */
  initialElectionTickAdvance = true;
  preVote: boolean | undefined;
  /** Operations in one transaction. */
  maxTxnOps = is.defaultMaxTxnOps;
  /** Bytes of one request. */
  maxRequestBytes = is.defaultMaxRequestBytes;
  /** Of one client. */
  maxConcurrentStreams: number | undefined;
  /** A client that pings more often is cut off. */
  gRPCKeepAliveMinTime = is.defaultGRPCKeepAliveMinTime;
  /** How often a client that says nothing is pinged; "0s": never. */
  gRPCKeepAliveInterval = is.defaultGRPCKeepAliveInterval;
  /** How long it has for the answer. */
  gRPCKeepAliveTimeout = is.defaultGRPCKeepAliveTimeout;
  enableGRPCGateway: boolean | undefined;
  socketReusePort: boolean | undefined;
  socketReuseAddress: boolean | undefined;
  raftReadTimeout: string | undefined;
  raftWriteTimeout: string | undefined;
  maxLearners: number | undefined;
  watchProgressNotifyInterval: string | undefined;
  enableLeaseCheckpoint: boolean | undefined;
  enableLeaseCheckpointPersist: boolean | undefined;
  warningApplyDuration: string | undefined;
  warningUnaryRequestDuration: string | undefined;
  downgradeCheckTime: string | undefined;
  stopGRPCServiceOnDefrag: boolean | undefined;
  txnModeWriteWithSharedBuffer: boolean | undefined;

  // Cluster.
  /** Peer URLs that the others are told. */
  apUrls: string[] = [is.defaultInitialAdvertisePeerURLs];
  /** Client URLs that the others are told. */
  acUrls: string[] = [is.defaultAdvertiseClientURLs];
  /** `new` or `existing`. */
  clusterState = is.clusterStateFlagNew;
  /** Domain whose SRV records name the members. */
  dnsCluster = "";
  /** What is appended to the name of the service there. */
  dnsClusterServiceName = "";
  /** URL of a discovery service of the v2 protocol. */
  durl = "";
  /** HTTP proxy on the way to it. */
  dproxy = "";
  /** `exit` or `proxy`: what follows where the discovery fails. */
  discoveryFallback: string | undefined;
  /** Endpoints of a discovery service of the v3 protocol. */
  discoveryEndpoints: string[] | undefined;
  discoveryToken: string | undefined;
  /** As "name=url,name=url"; `""` where another field says how the members find each other. */
  initialCluster = `${is.defaultName}=${is.defaultInitialAdvertisePeerURLs}`;
  initialClusterToken = is.defaultInitialClusterToken;
  /** Changes of members that would cost the quorum are refused. */
  strictReconfigCheck = is.defaultStrictReconfigCheck;
  enableV2 = is.defaultEnableV2;
  v2Deprecation: string | undefined;
  /** Forget the other members of the data folder; unsafe. */
  forceNewCluster = false;

  // Security.
  clientTLSInfo: TLSInfo = newTLSInfo();
  /** etcd makes itself a certificate, in the folder `fixtures/client` of the data. */
  clientAutoTLS = false;
  peerTLSInfo: TLSInfo = newTLSInfo();
  /** etcd makes itself a certificate, in the folder `fixtures/peer` of the data. */
  peerAutoTLS = false;
  /** Years that such a certificate is good for. */
  selfSignedCertValidity: number | undefined;
  /** Names of TLS cipher suites; empty: Go's choice. */
  cipherSuites: string[] = [];
  /** `TLS1.2` or `TLS1.3`. */
  tlsMinVersion: string | undefined;
  tlsMaxVersion: string | undefined;
  /** `simple`, or `jwt` with its options. */
  authToken = "simple";
  /** Seconds that a simple token lives. */
  authTokenTTL: number | undefined;
  bcryptCost: number | undefined;

  // Logging and debugging.
  debug = false;
  /** Levels of single packages, as "etcdserver=DEBUG,raft=WARNING". */
  logPkgLevels = "";
  /** `default`, `stdout`, `stderr`, or a file. */
  logOutput = is.defaultLogOutput;
  /** Several of those, in place of `logOutput`. */
  logOutputs: string[] | undefined;
  /** `zap` or, until etcd 3.4, `capnslog`. */
  logger: string | undefined;
  /** `debug`, `info`, `warn`, `error`, `panic` or `fatal`. */
  logLevel: string | undefined;
  /** `json` or `console`. */
  logFormat: string | undefined;
  enableLogRotation: boolean | undefined;
  logRotationConfigJSON: string | undefined;
  enablePprof = false;
  /** `basic` or `extensive`. */
  metrics = "basic";
  listenMetricsUrls: string[] = [];
  enableDistributedTracing: boolean | undefined;
  distributedTracingAddress: string | undefined;
  distributedTracingServiceName: string | undefined;
  distributedTracingServiceInstanceID: string | undefined;
  /** Of a million. */
  distributedTracingSamplingRatePerMillion: number | undefined;

  // Experimental in the reference.
  experimentalInitialCorruptCheck = false;
  /** "0s": never. */
  experimentalCorruptCheckTime = "0s";
  compactHashCheckEnabled: boolean | undefined;
  compactHashCheckTime: string | undefined;
  /** Prefix under which the v3 store serves v2 requests. */
  experimentalEnableV2V3 = "";

  // Extension.
  /**
   * Who answers on the client URLs for a path, and for all below it where it ends with a slash; the longest that fits. What etcd itself
   * answers cannot be taken from it. On a plain URL they answer HTTP/1 alone, as the reference's do: HTTP/2 is gRPC there.
   */
  userHandlers: Readonly<Record<string, UserHandler>> = {};
  /** Adds gRPC services that answer on the client URLs beside etcd's own. Called once, before etcd starts. */
  serviceRegister: ((server: Server) => void) | undefined;

  /**
   * Checks what can be known before anything starts, by the reference's rules. What is wrong first is told.
   *
   * @throws ConfigError
   */
  validate(): void {
    validate(this);
  }

  /**
   * With `clientAutoTLS` and no certificate of one's own: makes this server one, in the folder `fixtures/client` of its data, good for
   * `selfSignedCertValidity` years (default 1), or takes the one that is there, and sets `clientTLSInfo` to it. Otherwise nothing.
   */
  async clientSelfCert(): Promise<void> {
    if (this.clientAutoTLS && isEmptyTLS(this.clientTLSInfo))
      Object.assign(this.clientTLSInfo, await selfCert(this, "client", this.lcUrls));
  }

  /** As `clientSelfCert`, for `peerAutoTLS`, `peerTLSInfo` and the folder `fixtures/peer`. */
  async peerSelfCert(): Promise<void> {
    if (this.peerAutoTLS && isEmptyTLS(this.peerTLSInfo))
      Object.assign(this.peerTLSInfo, await selfCert(this, "peer", this.lpUrls));
  }

  /** Where the log goes by `logOutput` or `logOutputs`: what etcd writes to itself, and what this process writes for it. */
  setupLogging(): LogSetup {
    return setupLogging(this);
  }

  /** The `initialCluster` of this member alone, under that name; `""`: under the default name. `""` where it advertises no peer URL. */
  initialClusterFromName(name: string): string {
    return this.apUrls.map((url) => `${name === "" ? is.defaultName : name}=${url}`).join(",");
  }

  isNewCluster(): boolean {
    return this.clusterState === is.clusterStateFlagNew;
  }

  /** Heartbeats in an election timeout, rounded down. */
  electionTicks(): number {
    return Math.floor(this.electionMs / this.tickMs);
  }

  /**
   * Where the URLs that are advertised are the default ones and it listens on 0.0.0.0: advertises this host's first address that others can
   * reach. Where only the name was changed: `initialCluster` follows it. `defaultInitialCluster` is what that was by default.
   *
   * @returns the address that is used; `""` where none is
   * @throws ConfigError InvalidURL for a URL to listen on that is none
   */
  updateDefaultClusterFromName(defaultInitialCluster: string): string {
    const host = defaultHost();
    let used = "";
    const advertise = (listens: readonly string[], advertised: string[], byDefault: string): void => {
      const [first] = listens;
      if (host === undefined || first === undefined || advertised.length !== 1 || advertised[0] !== byDefault) return;
      const { host: on, port } = addressOf(first, "the URLs to listen on");
      if (on !== "0.0.0.0") return;
      advertised[0] = `http://${host}:${port}`;
      used = host;
    };
    advertise(this.lpUrls, this.apUrls, is.defaultInitialAdvertisePeerURLs);
    if (this.name !== is.defaultName && this.initialCluster === defaultInitialCluster)
      this.initialCluster = this.initialClusterFromName(this.name);
    advertise(this.lcUrls, this.acUrls, is.defaultAdvertiseClientURLs);
    return used;
  }

  /**
   * The members that a new cluster begins with, by name, and the token that tells it from others: with a discovery URL only this member is
   * known, and the token is that URL. With `dnsCluster` they are asked of DNS.
   *
   * @throws ConfigError InvalidInitialCluster, also where DNS names no members, or this one is not among them
   */
  async peerURLsMapAndToken(): Promise<{ readonly urlsMap: ReadonlyMap<string, readonly string[]>; readonly token: string }> {
    if (this.durl !== "") return { urlsMap: new Map([[this.name, [...this.apUrls]]]), token: this.durl };
    const cluster = this.dnsCluster === "" ? this.initialCluster : await dnsCluster(this);
    return { urlsMap: initialMembers(cluster), token: this.initialClusterToken };
  }
}

/** A configuration with every field as the reference has it by default. */
export function newConfig(): Config {
  return new Config();
}

/** The first IPv4 address of this host that is not its own alone. */
function defaultHost(): string | undefined {
  return Object.values(networkInterfaces())
    .flatMap((of) => of ?? [])
    .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
}
