import type { Logger } from "pino";
import type { Chooser } from "../chooser/index.ts";

/** What `startAgent` takes. Every option has a default but `hostname` where the machine's own name does not fit. */
export interface AgentOptions {
  /** Name of this host in the cluster, unique: `[A-Za-z0-9._-]`, at most 253 characters. Default: the machine's host name. */
  readonly hostname?: string;
  /** Client URLs to join through. Empty: be the first server, or continue what the prefix holds. Default `[]`. */
  readonly seeds?: readonly string[];
  /**
   * Found a cluster together with those that it names, as etcd writes them: `h1=http://192.0.2.1:2380,h2=http://192.0.2.2:2380`, this host
   * among them by its `hostname` and `advertiseServerUrls`. Ignored once this host belongs to a cluster. Not with `seeds`.
   */
  readonly initialCluster?: string;
  /** `existing`: those that `initialCluster` or `discoverySrv` names are there already, and this host joins them. Default `new`. */
  readonly initialClusterState?: "new" | "existing";
  /** Tells that cluster from another with the same addresses. Default `quorate`. */
  readonly initialClusterToken?: string;
  /**
   * URL of a token at an etcd that serves the v2 protocol: the hosts that are told the same one find each other there. As many as the token
   * says found a cluster, the others join it. Not with `seeds`.
   */
  readonly discovery?: string;
  /** Client URLs of an etcd that has the token `discoveryToken`, in its v3 store. */
  readonly discoveryEndpoints?: readonly string[];
  readonly discoveryToken?: string;
  /** Domain whose SRV records `_etcd-server._tcp` name the hosts that found a cluster, in place of `initialCluster`; with `existing`, those
   * of `_etcd-client._tcp` to join through. */
  readonly discoverySrv?: string;
  /** What the names of these services end in, after a dash. */
  readonly discoverySrvName?: string;
  /**
   * Found a cluster with so many of those at `seeds`, which all have these same options: more than half of the seeds, one of which is this
   * host's own client URL. Those that come later join. Ignored once this host belongs to a cluster. Where `clientUrls` is not given it is the
   * seed whose host is an address or the name of this machine, and `serverUrls` the port after it.
   */
  readonly expect?: number;
  /** Where the etcd server listens for clients. Default `["http://127.0.0.1:2379"]`. */
  readonly clientUrls?: readonly string[];
  /** Where the etcd server listens for its peers. Default `["http://127.0.0.1:2380"]`. */
  readonly serverUrls?: readonly string[];
  /** What others are told to use instead of `clientUrls`. Needed where those listen on an unspecified address. */
  readonly advertiseClientUrls?: readonly string[];
  /** What others are told to use instead of `serverUrls`. */
  readonly advertiseServerUrls?: readonly string[];
  /** Absolute folder for everything this agent keeps. Default `/var/lib/quorate` for root, else `quorate` in the user's state folder. */
  readonly prefix?: string;
  /** Use a new temporary folder as prefix and remove it at the end. Default false. */
  readonly tmpPrefix?: boolean;
  /** Whether this agent may be asked to run a server. False needs `seeds`; any etcd will do then. Default true. */
  readonly server?: boolean;
  /** Written by the founder of a cluster; ignored by everyone else, with a notice in the log. 1 to 1,000. Default 5. */
  readonly idealClusterSize?: number;
  /** Where Quorate's keys start. Default `/_mgmt`. */
  readonly namespace?: string;
  /** Seats are spread over zones. Default `""`. */
  readonly zone?: string;
  /** Seats go to higher priorities first. -1,000 to 1,000. Default 0. */
  readonly priority?: number;
  /** How long this agent's keys outlive it, in milliseconds; etcd grants whole seconds, 2 at least. Default 10,000. */
  readonly sessionTtlMs?: number;
  // The cluster's policy: written by the founder of a cluster. Where another agent's differ, the cluster's rule, and log and status say so.
  /** Seats that are filled at most, whatever the size. 1 to 15. Default 7. */
  readonly maxSeats?: number;
  /** Learners kept in sync beyond the size, to step in at once. Default 0. */
  readonly standbys?: 0 | 1;
  /** Run etcd with its own `--strict-reconfig-check` as well. Default false. */
  readonly strictReconfigCheck?: boolean;
  /** Fill an even number of seats with voters. Default false. */
  readonly evenVoters?: boolean;
  /** Uninterrupted health of a learner before it becomes a voter, in milliseconds. Default 0. */
  readonly stabilizationMs?: number;
  /** A nominee that has not started its server by then is given up, in milliseconds. Default 60,000. */
  readonly nomineeTimeoutMs?: number;
  /** A learner that is behind and stands still for so long is given up, in milliseconds. Default 60,000. */
  readonly stallTimeoutMs?: number;
  /** An agent that announced a restart keeps its seat for so long, in milliseconds; 2,000 at least. Default 300,000. */
  readonly restartGraceMs?: number;
  /**
   * Who should hold the seats. Its name is written into the policy by the founder, and only agents that have the chooser of that name
   * lead; all have the built-in one. Default: `dynamicSize`.
   */
  readonly chooser?: Chooser;
  /**
   * How long a part has to be converged before it counts, in milliseconds: each of the agent's own, and of `agent.world.converger` unless it
   * says otherwise. Default 0.
   */
  readonly convergedTimeoutMs?: number;
  /** End once all hosts are converged, as after `maxRuntimeMs`. Needs `convergedTimeoutMs`. Default false. */
  readonly convergedExit?: boolean;
  /** A file that gets a line `true` or `false` whenever it changes whether all hosts are converged; the first one is `false`. */
  readonly convergedStatusFile?: string;
  /** End after so many milliseconds: in place, as `stop()` does, or by leaving. 0, the default: never. */
  readonly maxRuntimeMs?: number;
  /** An end by `convergedExit` or `maxRuntimeMs` leaves, as with a temporary prefix it always does. Default false. */
  readonly leaveOnTerminate?: boolean;
  /** Keep a copy of the World's keys warm, in `world` under the prefix, for the programs of this host. Default false. */
  readonly replica?: boolean;
  /** A group, by name or number, whose programs may read that copy too. Default: the agent's own user alone. */
  readonly worldGroup?: string;
  /** Take over a cluster that Quorate did not found. Default false. */
  readonly adopt?: boolean;
  /** Found a new cluster although this prefix belonged to one; its data is kept aside. Default false. */
  readonly newCluster?: boolean;
  /** The prefix was moved here from another machine, on which nothing runs on it any more. Default false. */
  readonly moved?: boolean;
  /**
   * Certificate and key in PEM for `clientUrls`, which then begin with `https`, and for this agent's own connections to those of others. Read
   * anew for every connection: they may be replaced at any time.
   */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Authorities in PEM that sign the certificates of `clientUrls`, and of clients. Default: those that Node and etcd trust. */
  readonly trustedCaFile?: string;
  /** Refuse clients that show no certificate of these authorities. Default false. */
  readonly clientCertAuth?: boolean;
  /** The same for `serverUrls`, which servers reach each other at. */
  readonly peerCertFile?: string;
  readonly peerKeyFile?: string;
  readonly peerTrustedCaFile?: string;
  readonly peerClientCertAuth?: boolean;
  /**
   * Have all certificates made, in place of files: whoever founds a cluster makes its authorities, and whoever joins one is given certificates by
   * any of its agents. They are kept in `tls` under the prefix, and renewed there. Who shows none is refused, at all URLs. Default false.
   */
  readonly autoTls?: boolean;
  /** The file that holds a token of `quorate token create`. Read by whoever joins and has no certificates yet. */
  readonly joinTokenFile?: string;
  /** `https` URLs at which this agent gives them. Default: the host of the first server URL, and the port after it. */
  readonly joinUrls?: readonly string[];
  /**
   * Whom this agent logs in as where the cluster has authentication, and the file that holds the password, which nobody else may read. etcd lets
   * nobody change members who has not the role `root`. Both or none; they do no harm where there is no authentication yet.
   */
  readonly user?: string;
  readonly passwordFile?: string;
  /**
   * One agent alone, whose server is behind two unix sockets in its folder and at no port. Not with seeds or URLs. Default false.
   */
  readonly noNetwork?: boolean;
  /** Allow plain http beyond loopback. Default false. */
  readonly insecure?: boolean;
  /** The etcd to run. Default: the managed store, then PATH. */
  readonly etcdBin?: string;
  /** etcd's own `--auto-compaction-retention`, periodic. Default `"10m"`. */
  readonly autoCompactionRetention?: string;
  /** etcd's own `--quota-backend-bytes`. Default 4 GiB. */
  readonly quotaBackendBytes?: number;
  /** Where to log. Default: nowhere; the library prints nothing by itself. */
  readonly logger?: Logger;
  /** Log at `debug` where `logger` allows it less. Default false. */
  readonly debug?: boolean;
}
