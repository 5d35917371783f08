/** The names and sizes of Go's package `embed`, as users of it know them. URLs and durations are as etcd writes them. */
export const clusterStateFlagNew = "new";
export const clusterStateFlagExisting = "existing";

export const defaultName = "default";
export const defaultMaxSnapshots = 5;
export const defaultMaxWALs = 5;
export const defaultSnapCount = 100_000;
export const defaultMaxTxnOps = 128;
/** Bytes. */
export const defaultMaxRequestBytes = 1.5 * 1024 * 1024;
export const defaultGRPCKeepAliveMinTime = "5s";
export const defaultGRPCKeepAliveInterval = "2h";
export const defaultGRPCKeepAliveTimeout = "20s";
/** What a `quotaBackendBytes` of 0 means to etcd, in bytes. */
export const defaultQuotaBytes = 2 * 1024 ** 3;
/** What etcd warns beyond, in bytes. */
export const maxQuotaBytes = 8 * 1024 ** 3;

export const defaultListenPeerURLs = "http://localhost:2380";
export const defaultListenClientURLs = "http://localhost:2379";
export const defaultInitialAdvertisePeerURLs = "http://localhost:2380";
export const defaultAdvertiseClientURLs = "http://localhost:2379";
export const defaultInitialClusterToken = "etcd-cluster";

export const defaultLogOutput = "default";
export const defaultStrictReconfigCheck = true;
export const defaultEnableV2 = true;

export const compactorModePeriodic = "periodic";
export const compactorModeRevision = "revision";

/** Milliseconds: an election may not take longer. */
export const maxElectionMs = 50_000;
