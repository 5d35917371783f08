import type { Logger } from "pino";
import { QuorateError, messageOf, type ErrorCode } from "../errors.ts";
import { findEtcd } from "./store.mjs";
import { etcdVersion, type BinaryVersion } from "./version.ts";

/** An etcd that can be run here. */
export interface EtcdBinary {
  readonly path: string;
  readonly version: BinaryVersion;
}

/**
 * The etcd that is named, or the one of the environment, the store, `PATH`, or the distribution, in this order.
 *
 * @throws QuorateError NO_ETCD, INVALID_ETCD. Rejects with the signal's reason when aborted.
 */
export async function findBinary(etcdBin: string | undefined, log: Logger | undefined, signal: AbortSignal): Promise<EtcdBinary> {
  try {
    const found = await findEtcd({
      etcdBin,
      log: (line) => {
        log?.info(line);
      },
      signal,
    });
    if (found.warning !== undefined) log?.warn({ etcd: found.binary }, found.warning);
    return { path: found.binary, version: await etcdVersion(found.binary) };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof QuorateError) throw error;
    const { code, hint } = error as { code?: unknown; hint?: unknown };
    if (code !== "NO_ETCD" && code !== "INVALID_ETCD") throw error;
    throw new QuorateError(code satisfies ErrorCode, messageOf(error), {
      cause: (error as Error).cause,
      ...(typeof hint === "string" ? { hint } : {}),
    });
  }
}
