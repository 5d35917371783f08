import { pino } from "pino";
import type { Config } from "./config.ts";

/** Where an etcd's log goes. */
export interface LogSetup {
  /** What etcd itself writes to: files, or the journal of systemd. */
  readonly outputs: readonly string[];
  /** Writes a line, as etcd wrote it, to those of this process's stdout and stderr that are asked for. */
  readonly write: (line: string) => void;
}

/** Names of outputs that are those of a process. `default` is stderr. */
const descriptors: Readonly<Record<string, number>> = { stdout: 1, stderr: 2, default: 2 };

export function setupLogging({ logOutput, logOutputs = [logOutput] }: Config): LogSetup {
  const ours = new Set(logOutputs.flatMap((output) => descriptors[output] ?? []));
  const streams = [...ours].map((fd) => pino.destination({ fd, sync: true }));
  return {
    // etcd itself takes /dev/null for a wish that there be no log at all.
    outputs: [...new Set(logOutputs)].filter((output) => descriptors[output] === undefined && output !== "/dev/null"),
    write: (line) => {
      for (const stream of streams) stream.write(`${line}\n`);
    },
  };
}
