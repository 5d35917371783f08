import { QuorateError } from "../errors.ts";
import type { EtcdServerOptions } from "./options.ts";
import { assertPortsFree } from "./ports.ts";
import type { EtcdProcess, ServerExit } from "./process.ts";

/** Whether another list of members may help: etcd compared the one it got with what the cluster's members say. */
export function isStale(error: Error): boolean {
  return error instanceof QuorateError && error.data["staleMembers"] === true;
}

const staleReasons =
  /member count is unequal|error validating peerURLs|unmatched member|cannot fetch cluster info from peer urls/;

/** What a server that ended before it served has to tell. */
export async function whyGone(
  options: Pick<EtcdServerOptions, "name" | "binary" | "listenClientUrls" | "listenPeerUrls">,
  etcd: EtcdProcess,
  exit: ServerExit,
): Promise<Error> {
  const { name, binary, listenClientUrls, listenPeerUrls } = options;
  const { reason } = etcd.reading;
  if (etcd.spawnError !== undefined || exit.code === 126 || exit.code === 127) {
    return new QuorateError("INVALID_ETCD", `Cannot start the etcd server ${name}: ${binary} does not run`, {
      cause: etcd.spawnError ?? new Error(reason),
      data: { binary },
    });
  }
  if (reason.includes("address already in use")) {
    try {
      await assertPortsFree([...listenClientUrls, ...listenPeerUrls]);
    } catch (error) {
      if (error instanceof Error) return error;
    }
    return new QuorateError("PORT_IN_USE", `Cannot start the etcd server ${name}: a port was in use a moment ago (${reason})`, {
      retryable: true,
    });
  }
  const staleMembers = staleReasons.test(reason);
  return new QuorateError("SERVER_EXITED", `Cannot start the etcd server ${name}: it ended with ${ending(exit)} (${reason})`, {
    retryable: staleMembers,
    data: { ...exit, staleMembers },
  });
}

/** A server that runs but did not come to serve in time. */
export function tooSlow(name: string, ms: number, etcd: EtcdProcess | undefined): Error {
  return new QuorateError("SERVER_START_TIMEOUT", `Cannot start the etcd server ${name}: it does not serve after ${ms} ms`, {
    retryable: true,
    data: { lastLines: etcd === undefined ? [] : [...etcd.reading.lastLines] },
  });
}

function ending(exit: ServerExit): string {
  return exit.signal === null ? `status ${exit.code}` : exit.signal;
}
