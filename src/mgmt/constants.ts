/**
 * The constants of mgmt's `etcd`, `etcd/interfaces`, `etcd/chooser`, `etcd/scheduler` and `lib` packages, by name and value, for programs that
 * come from there. Durations are in milliseconds, but for the scheduler's {@link DefaultSessionTTL}, which is in seconds there as well.
 * Where Quorate goes by another value of its own, that is said.
 *
 * The last mgmt with an elastic etcd is the one of January 2026: of it are the constants that newer ones have no more.
 */

/** What all keys are below. Also `openWorld`'s default. It must not end with a slash. */
export const NS = "/_mgmt";

/** Where file systems are named, below the namespace: `etcdfs:///fs/NAME`. */
export const MetadataPrefix = "/fs";

/** Where the data of file systems lies, below the namespace. */
export const StoragePrefix = "/storage";

/** Where agents lie that have been asked to hold a seat. */
export const NominatedPath = "/nominated/";

/** Where agents lie that offer to run a server. */
export const VolunteerPath = "/volunteer/";

/** Where the client URLs lie that servers are reached at. */
export const EndpointsPath = "/endpoints/";

/** What the choosers' data is below. */
export const ChooserPath = "/chooser";

/** Where the ideal size is, below {@link ChooserPath}. */
export const IdealDynamicSizePath = "/dynamicsize/idealclustersize";

/** Where each host says whether it is converged. */
export const ConvergedPath = "/converged/";

/** What the scheduler's data is below. */
export const SchedulerPath = "/scheduler/";

/** etcd's own `embed.DefaultListenClientURLs`. Quorate's agents listen at `http://127.0.0.1:2379`, as `localhost` is `::1` for some resolvers. */
export const DefaultClientURL = "http://localhost:2379";

/** etcd's own `embed.DefaultListenPeerURLs`. */
export const DefaultServerURL = "http://localhost:2380";

/** Operations of one transaction, of the servers that mgmt starts, and Quorate. Other etcds take 128, and an atomic batch beyond that is TOO_LARGE. */
export const DefaultMaxTxnOps = 512;

/** Members that a new cluster is to have. Quorate's default, too. */
export const DefaultIdealDynamicSize = 5;

/** For the start of an agent. */
export const RunStartupTimeout = 30_000;

/** For one connection. */
export const ClientDialTimeout = 5_000;

/**
 * How often a connection is asked whether it lives. For reference only: an etcd that is not told otherwise takes pings that come more often than
 * every 5 s for abuse, and closes the connection (`too_many_pings`). A World asks every 5 s.
 */
export const ClientDialKeepAliveTime = 2_000;

/** For the answer to that. */
export const ClientDialKeepAliveTimeout = 6_000;

/** How often the members are asked for while one is added or removed. */
export const MemberChangeInterval = 500;

/** How often the members are asked for by `watchMembers`, here as well. */
export const MemberChangePollingInterval = 1_000;

/** For a member that is to go to go by itself. */
export const SelfRemoveTimeout = 10_000;

/** For an end by force. */
export const ForceExitTimeout = 15_000;

/** How long what hangs on a session outlives a host that died. Also `openWorld`'s default, there in seconds: `sessionTtl: 10`. */
export const SessionTTL = 10_000;

/** Whether those that volunteer insist on a raft leader. Every watch and session of a World does. */
export const RequireLeaderCtx = false;

/** By which name the host's own state is told to the converger. */
export const ConvergerHostnameNamespace = "etcd-hostname";

/** For the start of a server. */
export const MaxServerStartTimeout = 60_000;

/** For the end of a server. */
export const MaxServerCloseTimeout = 15_000;

/** How often the start of a server is tried again. */
export const MaxServerRetries = 5;

/** Between two such tries. */
export const ServerRetryWait = 500;

/** In seconds: how long a host that died stays scheduled. */
export const DefaultSessionTTL = 10;

/** Hosts that are scheduled where nobody says how many. */
export const DefaultMaxCount = 1;

/** By which hosts are scheduled where nobody says how. */
export const DefaultStrategy = "rr";
