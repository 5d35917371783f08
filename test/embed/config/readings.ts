import { generateKeyPairSync } from "node:crypto";
import { connect as connectHttp2 } from "node:http2";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, connect, type AddressInfo } from "node:net";
import { join } from "node:path";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { expect, onTestFinished } from "vitest";
import { newConfig, type Config, type Etcd, type FieldPath } from "../../../src/embed/index.ts";
import { newAuthority, type Certificate } from "../../support/certificates.ts";
import { etcdAtLeast } from "../../support/etcd.ts";
import { ask, temporaryFolder } from "../../support/etcd-server.ts";
import { freePorts } from "../../support/ports.ts";

/** By what an etcd shows that a field has come through. */
export type By = "log" | "behaviour" | "metrics" | "argument";

/** What can be looked at of one that runs. */
export interface Running {
  readonly etcd: Etcd;
  /** A client URL. */
  readonly url: string;
  /** Lines of its log until now. */
  readonly log: () => Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** The text of its log until now. */
  readonly text: () => Promise<string>;
  readonly args: readonly string[];
}

export interface Reading {
  readonly value: unknown;
  readonly by: By;
  /** Reads it back, and throws where it is not there. */
  readonly seen: (running: Running) => unknown;
  /** What is read; the value by default. */
  readonly as?: unknown;
}

/** Fields that one etcd can have set at once. */
export interface Group {
  /** Of no interest here, but needed for the others. */
  readonly with?: Partial<Config>;
  readonly fields: Partial<Record<FieldPath, Reading>>;
}

const is35 = etcdAtLeast(3, 5);

/** What it says in the first line about itself. */
function logged(value: unknown, key: string, as: unknown = value): Reading {
  return {
    value,
    by: "log",
    as,
    seen: async ({ log }) => (await log()).find(({ msg }) => msg === "starting an etcd server")?.[key],
  };
}

/** For those that nothing else shows. */
function argument(value: unknown, flag: string): Reading {
  return {
    value,
    by: "argument",
    as: `--${flag}=${String(value)}`,
    seen: ({ args }) => args.find((arg) => arg.startsWith(`--${flag}=`)),
  };
}

function behaves(value: unknown, seen: Reading["seen"], as: unknown): Reading {
  return { value, by: "behaviour", seen, as };
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

const put = (url: string, key: string, value: string): Promise<unknown> =>
  ask(url, "kv/put", { key: base64(key), value: base64(value) });

const refusal = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => "taken",
    (error: unknown) => String(error),
  );

/** The first bytes that a client of HTTP/2 says, and no more: a preface and settings that change nothing. */
const http2Hello = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]);

/** Settles when the server hangs up on a client that answers nothing. */
function hungUp(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) }, () => socket.write(http2Hello));
  onTestFinished(() => void socket.destroy());
  socket.resume();
  return new Promise((resolve) => socket.once("close", () => resolve("hung up")).on("error", () => undefined));
}

/** How a TLS handshake comes out. */
export function handshake<T>(url: string, options: ConnectionOptions, read: (socket: TLSSocket) => T): Promise<T | string> {
  const { port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connectTls({ host: "127.0.0.1", port: Number(port), rejectUnauthorized: false, ...options });
    onTestFinished(() => void socket.destroy());
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.once("secureConnect", () => resolve(read(socket)));
  });
}

/** A place that something connects to: settles with the first bytes it says. */
export async function listener(): Promise<{ readonly address: string; readonly heard: Promise<string> }> {
  const server = createServer();
  const heard = new Promise<string>((resolve) => {
    server.on("connection", (socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (bytes) => resolve(bytes.toString("latin1")));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, heard };
}

const metricsOf = async (url: string): Promise<string> => (await fetch(`${url}/metrics`)).text();

const said: Group = {
  fields: {
    name: logged("other", "name"),
    tickMs: logged(50, "heartbeat-interval", "50ms"),
    electionMs: logged(500, "election-timeout", "500ms"),
    initialElectionTickAdvance: logged(false, "initial-election-tick-advance"),
    snapCount: logged(5_000, "snapshot-count"),
    initialClusterToken: logged("token-of-this-test", "initial-cluster-token"),
    corsInfo: logged(["http://a.example:80"], "cors"),
    hostWhitelist: logged(["127.0.0.1", "a.example"], "host-whitelist"),
    quotaBackendBytes: {
      value: 100_000_000,
      by: "metrics",
      as: true,
      seen: async ({ url }) => (await metricsOf(url)).includes("etcd_server_quota_backend_bytes 1e+08"),
    },
    preVote: logged(!is35, "pre-vote"),
    forceNewCluster: logged(true, "force-new-cluster"),
    autoCompactionMode: logged("revision", "auto-compaction-mode"),
    autoCompactionRetention: logged("5000", "auto-compaction-retention", "5µs"),
    experimentalInitialCorruptCheck: logged(true, "initial-corrupt-check"),
    experimentalCorruptCheckTime: logged("7h", "corrupt-check-time-interval", "7h0m0s"),
    maxSnapFiles: is35 ? logged(7, "max-snapshots") : argument(7, "max-snapshots"),
    maxWalFiles: is35 ? logged(8, "max-wals") : argument(8, "max-wals"),
    ...(is35
      ? {
          snapshotCatchUpEntries: logged(4_000, "snapshot-catchup-entries"),
          downgradeCheckTime: logged("9s", "downgrade-check-interval"),
          compactHashCheckEnabled: logged(true, "compact-check-time-enabled"),
          compactHashCheckTime: logged("3m", "compact-check-time-interval", "3m0s"),
        }
      : {}),
  },
};

const served: Group = {
  fields: {
    maxTxnOps: behaves(
      2,
      ({ url }) => {
        const one = { requestPut: { key: base64("a"), value: base64("1") } };
        const many = ["a", "b", "c"].map((key) => ({ requestPut: { ...one.requestPut, key: base64(key) } }));
        return refusal(ask(url, "kv/txn", { success: many }));
      },
      /too many operations/,
    ),
    maxRequestBytes: behaves(20_000, ({ url }) => refusal(put(url, "a", "x".repeat(30_000))), /request is too large/),
    maxConcurrentStreams: behaves(
      7,
      ({ url }) =>
        new Promise((resolve, reject) => {
          const session = connectHttp2(url);
          onTestFinished(() => session.destroy());
          session.once("error", reject).once("remoteSettings", ({ maxConcurrentStreams }) => resolve(maxConcurrentStreams));
        }),
      7,
    ),
    gRPCKeepAliveInterval: behaves(
      "1s",
      ({ url }) =>
        new Promise((resolve) => {
          const session = connectHttp2(url);
          onTestFinished(() => session.destroy());
          session.once("ping", () => resolve("pinged"));
        }),
      "pinged",
    ),
    gRPCKeepAliveTimeout: behaves("500ms", ({ url }) => hungUp(url), "hung up"),
    gRPCKeepAliveMinTime: behaves(
      "1ms",
      async ({ url }) => {
        const session = connectHttp2(url);
        onTestFinished(() => session.destroy());
        let isSentAway = false;
        session.on("goaway", () => (isSentAway = true)).on("error", () => undefined);
        // Without a call that is open etcd takes no pings at all.
        const watch = session.request({
          ":method": "POST",
          ":path": "/etcdserverpb.Watch/Watch",
          "content-type": "application/grpc",
          te: "trailers",
        });
        watch.on("error", () => undefined);
        for (let count = 0; count < 8 && !session.destroyed; count += 1) {
          await new Promise<void>((resolve) => session.ping(() => setTimeout(resolve, 5)));
        }
        return (isSentAway as boolean) ? "sent away" : "stays";
      },
      "stays",
    ),
    warningApplyDuration: {
      value: "1ns",
      by: "log",
      as: "1ns",
      seen: async ({ url, log }) => {
        await put(url, "slow", "1");
        return (await log()).find(({ msg }) => /apply request took too long|request .* took too long/.test(String(msg)))?.[
          "expected-duration"
        ];
      },
    },
    metrics: {
      value: "extensive",
      by: "metrics",
      as: true,
      seen: async ({ url }) => (await metricsOf(url)).includes("grpc_server_handling_seconds_bucket"),
    },
    enablePprof: behaves(true, async ({ url }) => (await fetch(`${url}/debug/pprof/cmdline`)).status, 200),
    debug: { value: true, by: "log", as: true, seen: async ({ log }) => (await log()).some(({ level }) => level === "debug") },
    watchProgressNotifyInterval: behaves(
      "200ms",
      async ({ url }) => {
        const stop = new AbortController();
        onTestFinished(() => stop.abort());
        const watch = await fetch(`${url}/v3/watch`, {
          method: "POST",
          body: JSON.stringify({ create_request: { key: base64("quiet"), progress_notify: true } }),
          signal: stop.signal,
        });
        let answers = 0;
        const reader = watch.body!.getReader();
        while (answers < 2) {
          const { value } = (await reader.read()) as { value?: Uint8Array };
          answers += Buffer.from(value ?? [])
            .toString()
            .split("\n")
            .filter((line) => line !== "").length;
        }
        return answers >= 2;
      },
      true,
    ),
  },
};

const lenient: Group = {
  fields: {
    strictReconfigCheck: behaves(
      false,
      async ({ url }) => {
        // With the check, a second one that is not there would be refused.
        for (const port of [1, 2])
          await ask(url, "cluster/member/add", { peerURLs: [`http://127.0.0.1:${port}`], isLearner: true }).catch(
            () => undefined,
          );
        return refusal(ask(url, "cluster/member/add", { peerURLs: ["http://127.0.0.1:3"] }));
      },
      "taken",
    ),
  },
};

const withoutGateway: Group = {
  fields: {
    enableGRPCGateway: behaves(
      false,
      async ({ url }) => (await fetch(`${url}/v3/kv/range`, { method: "POST", body: "{}" })).status,
      404,
    ),
    enableV2: behaves(false, async ({ url }) => (await fetch(`${url}/v2/keys`)).status, 404),
    logLevel: {
      value: "warn",
      by: "log",
      as: false,
      seen: async ({ log }) => (await log()).some(({ level }) => level === "info"),
    },
  },
};

/** What an etcd does with these shows only in its speed, after hours, or where a disk or a machine fails. */
const unseen: Group = {
  fields: {
    compactionBatchLimit: argument(500, "experimental-compaction-batch-limit"),
    backendFreelistType: argument("array", `${is35 ? "" : "experimental-"}backend-bbolt-freelist-type`),
    backendBatchInterval: argument("50ms", "backend-batch-interval"),
    backendBatchLimit: argument(5_000, "backend-batch-limit"),
    unsafeNoFsync: argument(true, "unsafe-no-fsync"),
    enableLeaseCheckpoint: argument(true, "experimental-enable-lease-checkpoint"),
    enableLeaseCheckpointPersist: argument(true, "experimental-enable-lease-checkpoint-persist"),
    bcryptCost: argument(5, "bcrypt-cost"),
    authTokenTTL: argument(7, "auth-token-ttl"),
    discoveryFallback: argument("exit", "discovery-fallback"),
    "clientTLSInfo.crlFile": argument("/nowhere.crl", "client-crl-file"),
    "peerTLSInfo.crlFile": argument("/nowhere.crl", "peer-crl-file"),
    experimentalEnableV2V3: argument("/v2", "experimental-enable-v2v3"),
    ...(is35
      ? {
          compactionSleepInterval: argument("20ms", "experimental-compaction-sleep-interval"),
          stopGRPCServiceOnDefrag: argument(true, "experimental-stop-grpc-service-on-defrag"),
          txnModeWriteWithSharedBuffer: argument(false, "experimental-txn-mode-write-with-shared-buffer"),
          raftReadTimeout: argument("6s", "raft-read-timeout"),
          raftWriteTimeout: argument("7s", "raft-write-timeout"),
          v2Deprecation: argument("not-yet", "v2-deprecation"),
          memoryMlock: argument(false, "experimental-memory-mlock"),
          bootstrapDefragThresholdMegabytes: argument(10, "experimental-bootstrap-defrag-threshold-megabytes"),
          enableDistributedTracing: argument(false, "experimental-enable-distributed-tracing"),
          distributedTracingAddress: argument("127.0.0.1:1", "experimental-distributed-tracing-address"),
          distributedTracingServiceName: argument("mine", "experimental-distributed-tracing-service-name"),
          distributedTracingServiceInstanceID: argument("one", "experimental-distributed-tracing-instance-id"),
          distributedTracingSamplingRatePerMillion: argument(7, "experimental-distributed-tracing-sampling-rate"),
          logRotationConfigJSON: argument('{"maxsize":7}', "log-rotation-config-json"),
          enableLogRotation: argument(true, "enable-log-rotation"),
        }
      : { logPkgLevels: argument("raft=ERROR", "log-package-levels") }),
  },
};

async function places(): Promise<Group> {
  const folder = await temporaryFolder();
  const [client, second, peer, metrics, http] = (await freePorts(5)).map((port) => `http://127.0.0.1:${port}`) as [
    string,
    string,
    string,
    string,
    string,
  ];
  return {
    fields: {
      dir: logged(join(folder, "data"), "data-dir"),
      walDir: logged(join(folder, "wal"), "wal-dir"),
      lcUrls: logged([client, second], "listen-client-urls"),
      acUrls: logged([client, second], "advertise-client-urls"),
      lpUrls: logged([peer], "listen-peer-urls"),
      apUrls: logged([peer], "initial-advertise-peer-urls"),
      initialCluster: logged(`default=${peer}`, "initial-cluster"),
      listenMetricsUrls: {
        value: [metrics],
        by: "metrics",
        as: true,
        seen: async () => (await metricsOf(metrics)).includes("etcd_server_has_leader 1"),
      },
      logOutputs: {
        value: [join(folder, "one.log"), join(folder, "two.log")],
        by: "log",
        as: true,
        seen: async () => (await readFile(join(folder, "two.log"), "utf8")).includes("starting an etcd server"),
      },
      ...(is35
        ? {
            listenClientHttpUrls: behaves([http], async () => (await fetch(`${http}/version`)).status, 200),
            socketReusePort: {
              value: true,
              by: "log",
              as: true,
              seen: async ({ log }: Running) =>
                (await log()).find(({ msg }) => msg === "configuring socket options")?.["reuse-port"],
            } as const,
            socketReuseAddress: {
              value: true,
              by: "log",
              as: true,
              seen: async ({ log }: Running) =>
                (await log()).find(({ msg }) => msg === "configuring socket options")?.["reuse-address"],
            } as const,
          }
        : {}),
    },
  };
}

/** Whether a client that speaks no later TLS gets in, with that certificate or none. */
const letsIn = (url: string, shown?: Certificate): Promise<string> =>
  handshake(url, { maxVersion: "TLSv1.2", ...(shown === undefined ? {} : { cert: shown.cert, key: shown.key }) }, () => "let in");

const fingerprintAt = (url: string, shown: Certificate): Promise<string> =>
  handshake(url, { cert: shown.cert, key: shown.key }, (socket) => socket.getPeerCertificate().fingerprint256);

const tlsInfo =
  (msg: string): Reading["seen"] =>
  async ({ log }) => {
    const line = (await log()).find((one) => one["msg"] === msg);
    return line?.["tls-info"];
  };

/** A side of TLS: certificate, client's certificate, and who is let in. */
async function secured(side: "client" | "peer"): Promise<Group> {
  const authority = await newAuthority();
  const [server, friend, stranger, client] = await Promise.all([
    authority.issue("server"),
    authority.issue("friend", ["friend.example", "127.0.0.1"]),
    authority.issue("stranger", ["stranger.example"]),
    authority.issue("client"),
  ]);
  const at = ({ url, etcd }: Running): string => (side === "client" ? url : (etcd.peers[0] ?? ""));
  const info = `${side}TLSInfo` as const;
  const urls = ["https://127.0.0.1:0"];
  const onlyFriend: Reading["seen"] = async (running) => [
    await letsIn(at(running)),
    await letsIn(at(running), stranger),
    await letsIn(at(running), friend),
  ];
  const refused = expect.stringMatching(/^ERR_SSL|^ECONNRESET/) as string;
  return {
    with:
      side === "client" ? { lcUrls: urls, acUrls: urls } : { lpUrls: urls, apUrls: urls, initialCluster: `default=${urls[0]}` },
    fields: {
      [`${info}.certFile`]: behaves(server.certFile, (running) => fingerprintAt(at(running), friend), server.fingerprint),
      [`${info}.keyFile`]: behaves(server.keyFile, (running) => fingerprintAt(at(running), friend), server.fingerprint),
      [`${info}.trustedCAFile`]: behaves(authority.certFile, (running) => letsIn(at(running), friend), "let in"),
      [`${info}.clientCertAuth`]: behaves(true, (running) => letsIn(at(running)), refused),
      [`${info}.allowedHostnames`]: behaves(["friend.example"], onlyFriend, [refused, refused, "let in"]),
      ...(is35
        ? {
            [`${info}.clientCertFile`]: {
              value: client.certFile,
              by: "log",
              as: new RegExp(client.certFile),
              seen: tlsInfo(`starting with ${side} TLS`),
            },
            [`${info}.clientKeyFile`]: {
              value: client.keyFile,
              by: "log",
              as: new RegExp(client.keyFile),
              seen: tlsInfo(`starting with ${side} TLS`),
            },
          }
        : {}),
    },
  };
}

async function named(): Promise<Group> {
  const authority = await newAuthority();
  const [server, friend, stranger] = await Promise.all([
    authority.issue("server"),
    authority.issue("friend"),
    authority.issue("stranger"),
  ]);
  const urls = ["https://127.0.0.1:0"];
  const refused = expect.stringMatching(/^ERR_SSL|^ECONNRESET/) as string;
  return {
    with: {
      lpUrls: urls,
      apUrls: urls,
      initialCluster: `default=${urls[0]}`,
      peerTLSInfo: {
        ...newConfig().peerTLSInfo,
        certFile: server.certFile,
        keyFile: server.keyFile,
        clientCertAuth: true,
        trustedCAFile: authority.certFile,
      },
    },
    fields: {
      "peerTLSInfo.allowedCNs": behaves(
        ["friend"],
        async ({ etcd }) => [await letsIn(etcd.peers[0]!, stranger), await letsIn(etcd.peers[0]!, friend)],
        [refused, "let in"],
      ),
      "peerTLSInfo.skipClientSANVerify": argument(true, "experimental-peer-skip-client-san-verification"),
    },
  };
}

function selfMade(): Group {
  const urls = ["https://127.0.0.1:0"];
  const years = is35 ? 3 : 1;
  const validAt = (url: string): Promise<number | string> =>
    handshake(url, {}, (socket) => {
      const { valid_from: from, valid_to: to } = socket.getPeerCertificate();
      return Math.round((Date.parse(to) - Date.parse(from)) / 31_536_000_000);
    });
  return {
    with: { lcUrls: urls, acUrls: urls, lpUrls: urls, apUrls: urls, initialCluster: `default=${urls[0]}` },
    fields: {
      clientAutoTLS: behaves(true, ({ url }) => validAt(url), years),
      peerAutoTLS: behaves(true, ({ etcd }) => validAt(etcd.peers[0]!), years),
      // Go itself would speak the one that is left out.
      cipherSuites: behaves(
        ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        ({ url }) => handshake(url, { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-CHACHA20-POLY1305" }, () => "spoken"),
        expect.stringMatching(/^ERR_SSL/),
      ),
      ...(is35
        ? {
            selfSignedCertValidity: behaves(3, ({ url }) => validAt(url), 3),
            tlsMinVersion: behaves(
              "TLS1.2",
              ({ url }) => handshake(url, { maxVersion: "TLSv1.1", minVersion: "TLSv1" }, () => "let in"),
              expect.stringMatching(/^ERR_SSL/),
            ),
            tlsMaxVersion: behaves("TLS1.2", ({ url }) => handshake(url, {}, (socket) => socket.getProtocol()), "TLSv1.2"),
          }
        : {}),
    },
  };
}

async function signed(): Promise<Group> {
  const folder = await temporaryFolder();
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const [pub, priv] = [join(folder, "pub.pem"), join(folder, "priv.pem")];
  await writeFile(pub, publicKey);
  await writeFile(priv, privateKey, { mode: 0o600 });
  return {
    fields: {
      authToken: behaves(
        `jwt,pub-key=${pub},priv-key=${priv},sign-method=RS256,ttl=10m`,
        async ({ url }) => {
          await ask(url, "auth/user/add", { name: "root", password: "p" });
          await ask(url, "auth/role/add", { name: "root" });
          await ask(url, "auth/user/grant", { user: "root", role: "root" });
          await ask(url, "auth/enable", {});
          const { token } = await ask<{ token: string }>(url, "auth/authenticate", { name: "root", password: "p" });
          return token.split(".").length;
        },
        3,
      ),
    },
  };
}

/** Each makes its own etcd. */
export const groups: Readonly<Record<string, () => Group | Promise<Group>>> = {
  "what it says of itself as it starts": () => said,
  "what its clients are served": () => served,
  "changes of members that its check would refuse": () => lenient,
  "what is switched off": () => withoutGateway,
  "what nothing but its arguments shows": () => unseen,
  "where it is": places,
  "TLS towards clients": () => secured("client"),
  "TLS among peers": () => secured("peer"),
  "whom it lets in by name": named,
  "certificates that it makes itself": selfMade,
  "the tokens of those who log in": signed,
};

/** Fields that show in what it says before it gives up. */
export const refusals: readonly {
  readonly field: FieldPath;
  readonly value: unknown;
  readonly with: Partial<Config>;
  readonly says: RegExp;
}[] = [
  { field: "clusterState", value: "existing", with: {}, says: /cannot fetch cluster info from peer urls/ },
  { field: "dnsCluster", value: "quorate.invalid", with: { initialCluster: "" }, says: /quorate\.invalid/ },
  {
    field: "dnsClusterServiceName",
    value: "blue",
    with: { initialCluster: "", dnsCluster: "quorate.invalid" },
    says: /etcd-server(-ssl)?-blue/,
  },
];

/** Fields that other tests show. */
export const elsewhere: Partial<Readonly<Record<FieldPath, By>>> = {
  durl: "behaviour",
  dproxy: "behaviour",
  logOutput: "behaviour",
  logger: "behaviour",
};
