import type { Logger } from "pino";
import { aborted, type Clock } from "../../clock.ts";
import type { FileLogin, TlsFiles } from "../../etcd/index.ts";
import { defaultMostBytes } from "./feeder-settings.ts";
import { ReplicaFolder } from "./folder.ts";
import { FeederLink } from "./link.ts";

export interface WarmOptions {
  readonly folder: string;
  readonly namespace: string;
  readonly endpoints: readonly string[];
  /** Hex. */
  readonly clusterId: string;
  /** A group whose programs may use the folder too. */
  readonly worldGroup: string | undefined;
  readonly tls: TlsFiles | undefined;
  readonly login: FileLogin | undefined;
  readonly socket: string | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Keeps the feeder of a folder running, as one of its users, and never opens the file: a process that does so cannot be harmed by it.
 * Where no replica can be kept, that is logged, and nothing else. Ends by the signal only.
 */
export async function keepReplicaWarm(options: WarmOptions, signal: AbortSignal): Promise<never> {
  const { namespace, endpoints, clusterId, worldGroup, tls, login, socket, clock, log } = options;
  const folder = new ReplicaFolder(options.folder);
  try {
    await folder.make(worldGroup);
  } catch (error) {
    log.warn({ err: error }, "no replica is kept");
    return await aborted(signal);
  }
  const settings = {
    folder: folder.path,
    namespace,
    endpoints,
    clusterId,
    mostBytes: defaultMostBytes,
    ...(tls === undefined ? {} : { tls }),
    ...(login === undefined ? {} : { login }),
    ...(socket === undefined ? {} : { socket }),
    ...(worldGroup === undefined ? {} : { group: worldGroup }),
  };
  let told: string | undefined;
  const link = new FeederLink(folder, settings, clock, log, () => {
    const state = link.state;
    const now = state === undefined ? undefined : `${state.pid} ${state.file ?? ""} ${String(state.live)}`;
    if (now === told || state === undefined) return;
    told = now;
    log.debug({ feeder: state.pid, file: state.file, live: state.live, relists: state.relists }, "the replica is kept");
  });
  try {
    return await aborted(signal);
  } finally {
    await link.close();
    if (!(await link.ended())) log.debug("the feeder goes on: somebody else uses it");
  }
}
