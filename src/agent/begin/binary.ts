import type { Logger } from "pino";
import { findBinary } from "../../embed/find.ts";
import type { EtcdClient, Membership } from "../../etcd/index.ts";
import type { ResolvedOptions } from "../resolve.ts";

/** The etcd this host runs. */
export interface Binary {
  readonly path: string;
  readonly version: string;
  readonly major: number;
  readonly minor: number;
}

/** @throws QuorateError NO_ETCD, INVALID_ETCD */
export async function chooseBinary(options: ResolvedOptions, log: Logger, signal: AbortSignal): Promise<Binary> {
  const {
    path,
    version: { major, minor, text },
  } = await findBinary(options.etcdBin, log, signal);
  return { path, version: text, major, minor };
}

/** Why this etcd cannot serve in that cluster; undefined when it can. An older minor version than the cluster's dies on joining. */
export async function fitsCluster(
  binary: Binary,
  client: EtcdClient,
  { endpoint }: Membership,
  signal: AbortSignal,
): Promise<string | undefined> {
  const status = await client.status(endpoint, { signal, timeoutMs: 2_000 }).catch(() => undefined);
  signal.throwIfAborted();
  const match = /^(\d+)\.(\d+)\./.exec(status?.version ?? "");
  if (!match) return undefined;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  if (binary.major > major || (binary.major === major && binary.minor >= minor)) return undefined;
  return `its etcd ${binary.version} is older than the cluster's ${status?.version ?? ""}: install a newer one (quorate etcd install) and start again`;
}
