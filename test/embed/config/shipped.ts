/** Files of options as etcd, distributions and charts ship them or make them: their options and values, for one member at these addresses. */

/** What etcd itself ships as its sample: everything named, most of it not set. */
export const sample = `# Human-readable name.
name: 'default'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
proxy-refresh-interval: 30000
proxy-dial-timeout: 1000
proxy-write-timeout: 5000
proxy-read-timeout: 0
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
`;

/** Where such a file finds its certificates, and is to keep its data. */
export interface Paths {
  readonly dir: string;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Of a small Kubernetes that runs etcd within: certificates on both sides, HTTP at a port of its own, checks, durations in nanoseconds. */
export const ofK3s = ({ dir, ca, cert, key }: Paths): string => `advertise-client-urls: https://127.0.0.1:2379
client-transport-security:
  cert-file: ${cert}
  client-cert-auth: true
  key-file: ${key}
  trusted-ca-file: ${ca}
data-dir: ${dir}
election-timeout: 5000
experimental-initial-corrupt-check: true
experimental-watch-progress-notify-interval: 5000000000
heartbeat-interval: 500
listen-client-http-urls: https://127.0.0.1:2382
listen-client-urls: https://127.0.0.1:2379
listen-metrics-urls: http://127.0.0.1:2381
listen-peer-urls: https://127.0.0.1:2380
log-outputs:
- stderr
logger: zap
name: node-34eb565b
peer-transport-security:
  cert-file: ${cert}
  client-cert-auth: true
  key-file: ${key}
  trusted-ca-file: ${ca}
snapshot-count: 10000
`;

/** Of servers that boot a data centre: every address named, and the checks for corruption that came with 3.5. */
export const ofBootServers = ({ dir, ca, cert, key }: Paths): string => `name: 'boot-0'
data-dir: '${dir}'
listen-peer-urls: https://127.0.0.1:2380
listen-client-urls: https://127.0.0.1:2379
listen-metrics-urls: http://127.0.0.1:2381
initial-advertise-peer-urls: https://127.0.0.1:2380
advertise-client-urls: https://127.0.0.1:2379
initial-cluster: boot-0=https://127.0.0.1:2380
initial-cluster-token: 'boot-cluster'
initial-cluster-state: 'new'
enable-v2: false
enable-pprof: true
client-transport-security:
  cert-file: ${cert}
  key-file: ${key}
  client-cert-auth: true
  trusted-ca-file: ${ca}
peer-transport-security:
  cert-file: ${cert}
  key-file: ${key}
  client-cert-auth: true
  trusted-ca-file: ${ca}
log-outputs: [stderr]
auto-compaction-mode: periodic
auto-compaction-retention: "1"
experimental-initial-corrupt-check: true
experimental-compact-hash-check-enabled: true
experimental-corrupt-check-time: 10800000000000
`;

/** Of a chart for a large cluster: no address at all, and what is tuned. */
export const ofLargeCluster = ({ dir }: Paths): string => `name: etcd-0
data-dir: ${dir}
quota-backend-bytes: 8589934592
snapshot-count: 50000
max-request-bytes: 1572864
grpc-keepalive-min-time: 5s
grpc-keepalive-interval: 2h
grpc-keepalive-timeout: 20s
auto-compaction-mode: periodic
auto-compaction-retention: "1h"
heartbeat-interval: 250
election-timeout: 2500
enable-grpc-gateway: true
log-level: info
`;
