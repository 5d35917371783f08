import pRetry from "p-retry";
import type { Observable } from "rxjs";
import { aborted, type Clock, within } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { type DataDir, openDataDir } from "./data-dir.ts";
import type { EtcdLogLine } from "./log.ts";
import { isStale, tooSlow, whyGone } from "./failure.ts";
import { type EtcdServerOptions, serverDefaults, serverFlags } from "./options.ts";
import { EtcdProcess, type ServerExit } from "./process.ts";

/** Node's timers fire at once where they are asked for more. */
const longestTimer = 2 ** 31 - 1;

/**
 * One etcd server. Holding this object means the process is yours: it is gone once `stop()`, or leaving an `await using`
 * scope, has settled, and it dies with this process. It never restarts by itself; whether to run a server is the agent's decision.
 */
export class EtcdServer implements AsyncDisposable {
  readonly pid: number;
  /** As etcd prints it: hex without padding. */
  readonly memberId: string;
  /** As etcd prints it: hex without padding. */
  readonly clusterId: string;
  /** Settles once, whatever ended the process, when the data dir is free again. Never rejects. */
  readonly exited: Promise<ServerExit>;
  /** Its log. A late subscriber gets the last 50 lines first. Completes when the process is gone. */
  readonly lines$: Observable<EtcdLogLine>;
  readonly #process: EtcdProcess;
  readonly #stopTimeoutMs: number;

  private constructor(etcd: EtcdProcess, identity: Identity, dataDir: DataDir, stopTimeoutMs: number) {
    this.pid = identity.pid;
    this.memberId = identity.memberId;
    this.clusterId = identity.clusterId;
    this.lines$ = etcd.lines$;
    this.#process = etcd;
    this.#stopTimeoutMs = stopTimeoutMs;
    this.exited = etcd.exited.then(async (exit) => {
      await dataDir.close();
      return exit;
    });
  }

  /**
   * Starts etcd and settles when it serves clients, a learner as well. A voter whose cluster has no quorum serves only once it has
   * one, which `startTimeoutMs` must allow for. Whatever goes wrong, no process is left.
   *
   * @throws QuorateError PORT_IN_USE naming the holder; DATA_DIR_IN_USE naming the holder; DATA_DIR_UNUSABLE (damaged, or nothing
   * to continue from); SERVER_EXITED with `data` { code, signal, lastLines, removed }; SERVER_START_TIMEOUT; INVALID_ETCD. Rejects
   * with the signal's reason when aborted.
   */
  static async start(options: EtcdServerOptions, deps: { readonly clock: Clock }, signal: AbortSignal): Promise<EtcdServer> {
    signal.throwIfAborted();
    const dataDir = await openDataDir(options.dataDir, deps.clock, signal, options.log);
    const stopTimeoutMs = options.stopTimeoutMs ?? serverDefaults.stopTimeoutMs;
    let latest: EtcdProcess | undefined;
    const startTimeoutMs = Math.min(options.startTimeoutMs ?? serverDefaults.startTimeoutMs, longestTimer);
    try {
      if (!dataDir.hasData && options.boot === undefined) {
        throw new QuorateError("DATA_DIR_UNUSABLE", `Cannot continue from the data dir ${options.dataDir}: it is empty`);
      }
      const etcd = await within(
        startTimeoutMs,
        deps.clock,
        signal,
        (own) =>
          withRetries(options, deps.clock, own, () => startOnce(options, dataDir, deps.clock, own, (etcd) => (latest = etcd))),
        () => tooSlow(options.name, startTimeoutMs, latest),
      );
      await dataDir.booted();
      return new EtcdServer(etcd, identityOf(options, etcd), dataDir, stopTimeoutMs);
    } catch (error) {
      await latest?.stop(stopTimeoutMs);
      await dataDir.close();
      throw error;
    }
  }

  /**
   * SIGTERM, then SIGKILL after `timeoutMs` (default: the option `stopTimeoutMs`). Settles when the process is gone and its data
   * dir free, also if it ended before. A further call with less time hurries the first. etcd loses nothing by SIGKILL: worth
   * knowing where a whole cluster stops, as a raft leader that is asked to stop waits 5 s and two election timeouts for a
   * successor that stops as well.
   */
  async stop(timeoutMs: number = this.#stopTimeoutMs): Promise<ServerExit> {
    await this.#process.stop(timeoutMs);
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

interface Identity {
  readonly pid: number;
  readonly memberId: string;
  readonly clusterId: string;
}

function identityOf({ binary }: EtcdServerOptions, { pid, reading: { memberId, clusterId } }: EtcdProcess): Identity {
  if (pid !== undefined && memberId !== undefined && clusterId !== undefined) return { pid, memberId, clusterId };
  throw new QuorateError(
    "INVALID_ETCD",
    `Cannot use ${binary} as etcd: it serves, but its log does not name its member and cluster`,
  );
}

function withRetries<T>(options: EtcdServerOptions, clock: Clock, signal: AbortSignal, start: () => Promise<T>): Promise<T> {
  return pRetry(start, {
    retries: (options.startTries ?? serverDefaults.startTries) - 1,
    minTimeout: 0,
    signal,
    shouldRetry: ({ error }) => isStale(error),
    onFailedAttempt: async ({ error, retriesLeft }) => {
      if (!isStale(error) || retriesLeft === 0) return;
      options.log?.info({ err: error }, "Starting etcd again with a fresh list of members");
      await clock.sleep(serverDefaults.retryAfterMs, signal);
    },
  });
}

async function startOnce(
  options: EtcdServerOptions,
  dataDir: DataDir,
  clock: Clock,
  signal: AbortSignal,
  onSpawn: (etcd: EtcdProcess) => void,
): Promise<EtcdProcess> {
  const members = dataDir.hasData ? undefined : await options.boot?.initialCluster(signal);
  await dataDir.prepare();
  const etcd = await EtcdProcess.spawn(
    {
      binary: options.binary,
      args: serverFlags(options, members),
      env: options.env ?? {},
      fd: dataDir.fd,
      log: options.log,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    },
    clock,
  );
  onSpawn(etcd);
  const exit = await Promise.race([etcd.readyOrGone, aborted(signal)]);
  if (exit !== undefined) throw await whyGone(options, etcd, exit);
  return etcd;
}
