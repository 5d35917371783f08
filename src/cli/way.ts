import { systemClock } from "../clock.ts";
import { wiresBy, type Wires } from "../etcd/index.ts";
import { sshRoute, type SshOptions } from "../ssh/index.ts";

/** How the endpoints of a command are reached. */
export interface CommandWay {
  /** As an option of a client; undefined: directly. */
  readonly wires: Wires | undefined;
  close(): void;
}

/**
 * Logs in where that is asked for, so that a command says at once that it cannot, and has its whole time for the cluster.
 *
 * @throws QuorateError UNREACHABLE, DENIED, WRONG_HOST_KEY, INVALID_OPTION; the signal's reason
 */
export async function wayBy(ssh: SshOptions | undefined, signal: AbortSignal): Promise<CommandWay> {
  if (ssh === undefined) return { wires: undefined, close: () => undefined };
  const { Tunnels } = await import("../ssh/tunnels.ts");
  const tunnels = new Tunnels(sshRoute(ssh), systemClock);
  await tunnels.begin(signal);
  return {
    wires: wiresBy((url, own) => tunnels.dial(url, own)),
    close: () => {
      tunnels.close();
    },
  };
}
