import type { ReadMode, ReadOptions } from "./api/common.ts";
import type { ReadOptions as ReplicaReadOptions } from "./replica/index.ts";
import { invalid } from "./write.ts";

const modes: ReadonlySet<unknown> = new Set(["local", "session", "linearizable", "direct", undefined]);

/** For the replica, which takes its fast ways where nothing is given. @throws WorldError INVALID_OPTION */
export function readOptions(options: ReadOptions): ReplicaReadOptions {
  const { read, signal, timeoutMs } = options;
  if (!isMode(read)) throw invalid("read", `is ${JSON.stringify(read)}, which is no read mode`);
  return {
    ...(read === undefined ? {} : { read }),
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

function isMode(read: ReadMode | undefined): boolean {
  if (typeof read !== "object") return modes.has(read);
  const of: unknown = "atLeast" in read ? read.atLeast : read.maxStaleMs;
  return typeof of === "number" && of >= 0;
}
