import { randomBytes, randomUUID } from "node:crypto";
import { rm, statfs } from "node:fs/promises";
import type { Logger } from "pino";
import type { Clock } from "../clock.ts";
import { archiveDataDir, assertPortsFree, dnsCluster, dnsEndpoints, EtcdServer, inspectDataDir } from "../embed/index.ts";
import type { ArchiveOptions, DataDirState, EtcdServerOptions, ServerTls } from "../embed/index.ts";
import { EtcdClient, wiresTo, type EtcdClientOptions } from "../etcd/index.ts";
import { prepareCertificates } from "./authority/prepare.ts";
import { chooseBinary, type Binary } from "./begin/binary.ts";
import { bootOfMachine, type Boot } from "./begin/crashes.ts";
import { openRegistry } from "./begin/registry.ts";
import { idOfMachine } from "./begin/same-machine.ts";
import { Prefix } from "./begin/state.ts";
import { temporaryPrefixRoot, type ResolvedOptions } from "./resolve.ts";
import { withoutNetwork } from "./no-network.ts";
import { filesOf, serverTlsOf } from "./resolve-tls.ts";
import { keepSnapshot, type KeepSnapshot } from "./server/keep-snapshot.ts";
import { inspectFiles } from "./server/certificates.ts";
import { answerPreflights, fetchText, PreflightStub, type PreflightAnswer } from "./server/preflight-stub.ts";

/** A server, whoever made it. */
export type RunningServer = Pick<EtcdServer, keyof EtcdServer>;

/**
 * What an agent does to its host and to the network, besides the clock: all of it goes through here, so that whole agents can live
 * in a simulation. Each call promises, and throws, what the function of its name does.
 */
export interface Machine {
  connect(options: EtcdClientOptions): EtcdClient;
  assertPortsFree(urls: readonly string[]): Promise<void>;
  /** Undefined: a temporary folder. */
  openPrefix(folder: string | undefined, hostname: string): Promise<Prefix>;
  chooseBinary(options: ResolvedOptions, log: Logger, signal: AbortSignal): Promise<Binary>;
  inspectDataDir(dir: string): Promise<DataDirState>;
  archiveDataDir(dir: string, options: ArchiveOptions): Promise<string | undefined>;
  removeDataDir(dir: string): Promise<void>;
  keepSnapshot(client: EtcdClient, endpoint: string, how: KeepSnapshot, signal: AbortSignal): Promise<string>;
  startServer(options: EtcdServerOptions, deps: { readonly clock: Clock }, signal: AbortSignal): Promise<RunningServer>;
  /** Answers pre-flights on these URLs until it is closed. Rejects with the listen error. */
  listen(urls: readonly string[], answer: (nonce: string) => Promise<PreflightAnswer>): Promise<{ close(): Promise<void> }>;
  /** Answers what is asked for at that path on these URLs until it is closed. Rejects with the listen error. */
  tell(urls: readonly string[], path: string, what: () => object): Promise<{ close(): Promise<void> }>;
  /** An initial cluster, by DNS. */
  readonly dnsCluster: typeof dnsCluster;
  /** Client URLs, by DNS. */
  readonly dnsEndpoints: typeof dnsEndpoints;
  readonly openRegistry: typeof openRegistry;
  /** One small GET at a server URL. */
  fetchText(url: string, timeoutMs: number, clock: Clock, signal: AbortSignal): Promise<string>;
  /** The same at a client URL. */
  fetchClientText(url: string, timeoutMs: number, clock: Clock, signal: AbortSignal): Promise<string>;
  readonly prepareCertificates: typeof prepareCertificates;
  readonly inspectFiles: typeof inspectFiles;
  /** Of the file system a folder is on, in bytes. */
  freeBytes(folder: string): Promise<number>;
  /** Undefined where the machine does not tell. */
  boot(): Boot | undefined;
  /** Its own name, for itself alone; undefined where it has none. */
  id(): string | undefined;
  readonly randomBytes: (size: number) => Buffer;
  readonly randomUUID: () => string;
}

/** The machine this program runs on, for an agent with these certificates, this login, and a network or none. */
export function machineWith({
  tls: { clients, peers },
  login,
  noNetwork,
}: Pick<ResolvedOptions, "tls" | "login" | "noNetwork">): Machine {
  const [toClients, toPeers] = [{ tls: filesOf(clients) }, { tls: filesOf(peers) }];
  const [ofClients, ofPeers] = [{ tls: serverTlsOf(clients) }, { tls: serverTlsOf(peers) }];
  const machine: Machine = {
    ...thisMachine,
    connect: (options) => EtcdClient.create({ wires: wiresTo(toClients), ...options, ...(login === undefined ? {} : { login }) }),
    listen: (urls, answer) => answerPreflights(urls, answer, ofPeers),
    tell: (urls, path, what) => tellAt(urls, path, what, ofClients.tls),
    fetchText: (url, timeoutMs, clock, signal) => fetchText(url, timeoutMs, clock, signal, toPeers),
    fetchClientText: (url, timeoutMs, clock, signal) => fetchText(url, timeoutMs, clock, signal, toClients),
  };
  return noNetwork ? withoutNetwork(machine) : machine;
}

function tellAt(urls: readonly string[], path: string, what: () => object, tls?: ServerTls): Promise<PreflightStub> {
  return PreflightStub.open(urls, (asked) => (asked === path ? Promise.resolve(what()) : undefined), { tls });
}

/** The machine this program runs on. */
export const thisMachine: Machine = {
  connect: (options) => EtcdClient.create(options),
  assertPortsFree,
  openPrefix: (folder, hostname) => Prefix.open(folder, temporaryPrefixRoot(), hostname),
  chooseBinary,
  inspectDataDir,
  archiveDataDir,
  removeDataDir: (dir) => rm(dir, { recursive: true, force: true }),
  keepSnapshot,
  startServer: (options, deps, signal) => EtcdServer.start(options, deps, signal),
  listen: (urls, answer) => answerPreflights(urls, answer),
  tell: (urls, path, what) => tellAt(urls, path, what),
  dnsCluster,
  dnsEndpoints,
  openRegistry,
  fetchText,
  fetchClientText: fetchText,
  prepareCertificates,
  inspectFiles,
  freeBytes: async (folder) => {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
  boot: bootOfMachine,
  id: idOfMachine,
  randomBytes,
  randomUUID,
};
