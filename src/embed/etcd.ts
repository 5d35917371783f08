import { readFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import type { Logger } from "pino";
import { type Observable, ReplaySubject } from "rxjs";
import { type Clock, aborted, firstOf, systemClock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { Config } from "./config/config.ts";
import { copyOf, resolveFiles } from "./config/copy.ts";
import { flagsOf, minorOf } from "./config/flags.ts";
import type { TLSInfo } from "./config/tls-info.ts";
import { addressOf, isUnix } from "./config/urls.ts";
import { dataDirOf } from "./config/values.ts";
import { type DataDir, openDataDir } from "./data-dir.ts";
import { whyGone } from "./failure.ts";
import { findBinary } from "./find.ts";
import { Front } from "./front/index.ts";
import { serverDefaults } from "./options.ts";
import { assertPortsFree } from "./ports.ts";
import { type ShownCertificate, untilServing } from "./probe.ts";
import { EtcdProcess, type ServerExit } from "./process.ts";

/** What {@link startEtcd} takes beside the configuration. */
export interface StartEtcdOptions {
  /** Path of the etcd to run. Default: that of `QUORATE_ETCD_BIN`, of the store, of `PATH`, or of the distribution, in this order. */
  readonly etcdBin?: string;
  /** Gets etcd's log, line by line, at etcd's levels, in place of the stderr that `logOutput` is by default. */
  readonly log?: Logger;
  /** How long after SIGTERM it is killed. Default 15,000. */
  readonly stopTimeoutMs?: number;
  /** Ends the start, and nothing once it has settled. */
  readonly signal?: AbortSignal;
  /** Default: this machine's. */
  readonly clock?: Clock;
}

/** An etcd that runs as a child of this process, and dies with it. */
export interface Etcd extends AsyncDisposable {
  readonly server: {
    readonly pid: number;
    /** Settles when it serves clients, which a voter does once its cluster has a quorum. Rejects where it ends before. */
    readonly ready: Promise<void>;
    /** SIGTERM, then SIGKILL after `stopTimeoutMs`. Settles when it is gone and its data folder free. */
    stop(): Promise<ServerExit>;
  };
  /** URLs it listens on for clients, each with the port it got where 0 was asked for. */
  readonly clients: readonly string[];
  /** URLs it listens on for peers. */
  readonly peers: readonly string[];
  /** What ends it later without being asked for: one error, also for who subscribes afterwards. Completes with the server. */
  readonly err$: Observable<Error>;
  /** Stops the server as `stop` does, and lets go of the client URLs. */
  close(): Promise<void>;
  /** A copy of what it runs with. */
  config(): Config;
}

/**
 * Starts an etcd and settles when it has started, which is not yet to have joined: that is `server.ready`. One that has to discover its
 * cluster, or to ask others about it, has done so by then. There is no limit of time but that of `signal`.
 *
 * @throws ConfigError as `validate`, and UnsupportedByEtcd, before anything starts. QuorateError NO_ETCD, INVALID_ETCD; PORT_IN_USE naming
 * the holder; DATA_DIR_IN_USE, DATA_DIR_UNUSABLE; SERVER_EXITED. Rejects with the signal's reason when aborted. Whatever goes wrong, no
 * process is left.
 */
export async function startEtcd(config: Config, options: StartEtcdOptions = {}): Promise<Etcd> {
  const { log, clock = systemClock, signal = new AbortController().signal } = options;
  signal.throwIfAborted();
  config.validate();
  const binary = await findBinary(options.etcdBin, log, signal);
  const own = copyOf(config);
  own.dir = dataDirOf(config);
  await resolvePorts(own);
  const outputs = own.setupLogging();
  // Before anything starts: whether this etcd has it all.
  flagsOf(own, binary.version);
  const writesRaw = log === undefined || own.logOutputs !== undefined || own.logOutput !== "default";

  await using started = new Undo();
  await assertPortsFree([...own.lcUrls, ...own.lpUrls, ...(own.listenClientHttpUrls ?? []), ...own.listenMetricsUrls]);
  const dataDir = started.also(await openDataDir(own.dir, clock, signal, log, own.walDir));
  if (Front.isNeeded(own)) await own.clientSelfCert();
  const front = Front.isNeeded(own) ? started.also(await Front.listen(own, { log, clock })) : undefined;
  await dataDir.prepare();
  const etcd = await EtcdProcess.spawn(
    {
      binary: binary.path,
      args: flagsOf(forEtcd(own, outputs.outputs, front, minorOf(binary.version) === "3.4"), binary.version),
      env: {},
      fd: dataDir.fd,
      log,
      ...(front === undefined ? {} : { cwd: front.folder }),
      ...(writesRaw ? { onLine: outputs.write } : {}),
    },
    clock,
  );
  const stopTimeoutMs = options.stopTimeoutMs ?? serverDefaults.stopTimeoutMs;
  started.also({ close: () => etcd.stop(stopTimeoutMs) });
  const whatServes = { name: own.name, binary: binary.path, listenClientUrls: own.lcUrls, listenPeerUrls: own.lpUrls };
  const serving = async (url: string | undefined, tls: TLSInfo, until: AbortSignal): Promise<ServerExit | undefined> =>
    firstOf(
      until,
      async (own) => {
        if (url !== undefined) await untilServing(url, clock, own, await certificateOf(tls));
        return undefined;
      },
      (own) => Promise.race([etcd.exited, aborted(own)]),
    );
  const exit = await serving(own.lpUrls[0], own.peerTLSInfo, signal);
  if (exit !== undefined) throw await whyGone(whatServes, etcd, exit);
  await dataDir.booted();
  started.keep();
  return new RunningEtcd(own, etcd, dataDir, front, stopTimeoutMs, async (until) => {
    const exit = await serving(front?.probeUrl ?? own.lcUrls[0], own.clientTLSInfo, until);
    if (exit !== undefined) throw await whyGone(whatServes, etcd, exit);
    front?.serve();
  });
}

class RunningEtcd implements Etcd {
  readonly server: Etcd["server"];
  readonly clients: readonly string[];
  readonly peers: readonly string[];
  readonly err$: Observable<Error>;
  readonly #config: Config;
  readonly #process: EtcdProcess;
  readonly #front: Front | undefined;
  readonly #stopTimeoutMs: number;
  readonly #gone: Promise<ServerExit>;

  constructor(
    config: Config,
    etcd: EtcdProcess,
    dataDir: DataDir,
    front: Front | undefined,
    stopTimeoutMs: number,
    ready: (until: AbortSignal) => Promise<void>,
  ) {
    this.#config = config;
    this.#process = etcd;
    this.#front = front;
    this.#stopTimeoutMs = stopTimeoutMs;
    this.clients = [...config.lcUrls];
    this.peers = [...config.lpUrls];
    const errors = new ReplaySubject<Error>(1);
    this.err$ = errors.asObservable();
    this.#gone = etcd.exited.then(async (exit) => {
      await dataDir.close();
      await front?.close();
      if (!exit.asked) errors.next(ended(config.name, exit, etcd));
      errors.complete();
      return exit;
    });
    const isReady = ready(new AbortController().signal);
    // Who does not wait for it need not hear of it: `err$` tells as well.
    isReady.catch(() => undefined);
    this.server = { pid: etcd.pid ?? 0, ready: isReady, stop: () => this.#stop() };
  }

  async close(): Promise<void> {
    await this.#stop();
    await this.#front?.close();
  }

  config(): Config {
    return copyOf(this.#config);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #stop(): Promise<ServerExit> {
    await this.#process.stop(this.#stopTimeoutMs);
    return this.#gone;
  }
}

function ended(name: string, exit: ServerExit, { reading }: EtcdProcess): Error {
  const how = exit.signal === null ? `status ${exit.code}` : exit.signal;
  return new QuorateError("SERVER_EXITED", `The etcd server ${name} ended with ${how} (${reading.reason})`, {
    data: { ...exit },
  });
}

/** What has to be undone, the last first, unless it is kept. */
class Undo implements AsyncDisposable {
  readonly #closes: { close(): unknown }[] = [];
  #isKept = false;

  also<T extends { close(): unknown }>(one: T): T {
    this.#closes.unshift(one);
    return one;
  }

  keep(): void {
    this.#isKept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isKept) return;
    for (const one of this.#closes) await one.close();
  }
}

/** What etcd itself is told: it always logs to its stderr as well, which is read here, and listens behind the front where there is one. */
function forEtcd(config: Config, outputs: readonly string[], front: Front | undefined, is34: boolean): Config {
  const told = copyOf(config);
  if (is34) {
    told.logger ??= "zap";
    // There `debug` is that of the log of old alone.
    if (told.debug) told.logLevel ??= "debug";
  }
  told.logOutput = "default";
  // The log of old takes one output.
  told.logOutputs = told.logger === "capnslog" ? [outputs[0] ?? "stderr"] : [...outputs, "stderr"];
  if (front !== undefined) {
    told.lcUrls = [front.etcdUrl];
    told.clientTLSInfo = {
      ...told.clientTLSInfo,
      certFile: "",
      keyFile: "",
      clientCertAuth: false,
      trustedCAFile: "",
      allowedHostnames: [],
    };
    told.clientAutoTLS = false;
    // It works in another folder than we do.
    resolveFiles(told);
  }
  return told;
}

/** Gives each URL with port 0 a free port. What is advertised with port 0 is what is listened on at the same place of the list. */
async function resolvePorts(config: Config): Promise<void> {
  const pairs: readonly (readonly [string[], string[]])[] = [
    [config.lcUrls, config.acUrls],
    [config.lpUrls, config.apUrls],
    [config.listenMetricsUrls, []],
  ];
  for (const [listened, advertised] of pairs) {
    for (const [i, url] of listened.entries()) {
      if (!isPortOpen(url)) continue;
      const port = await freePort(addressOf(url, "the URLs to listen on").host);
      listened[i] = withPort(url, port);
      const told = advertised[i];
      if (told === undefined || !isPortOpen(told)) continue;
      advertised[i] = withPort(told, port);
      if (advertised === config.apUrls)
        config.initialCluster = config.initialCluster.replaceAll(`=${told}`, `=${withPort(told, port)}`);
    }
  }
}

function isPortOpen(url: string): boolean {
  return !isUnix(url) && /:0\/?$/.test(url);
}

function withPort(url: string, port: number): string {
  return url.replace(/:0\/?$/, `:${port}`);
}

function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: host === "localhost" || host === "" ? "127.0.0.1" : host, port: 0, exclusive: true }, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** What a server that wants to see a certificate is shown, so that it has nothing to complain about. */
async function certificateOf({ certFile, keyFile }: TLSInfo): Promise<ShownCertificate | undefined> {
  if (certFile === "" || keyFile === "") return undefined;
  const [cert, key] = await Promise.all([readFile(certFile, "utf8"), readFile(keyFile, "utf8")]);
  return { cert, key };
}
