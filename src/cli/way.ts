import { systemClock } from "../clock.ts";
import { wiresBy, type Wires } from "../etcd/index.ts";
import { sshRoute, type SshOptions } from "../ssh/index.ts";

/**
 * How the endpoints of a command are reached, as an option of its client. Logs in where that is asked for, so that a command says at once
 * that it cannot, and has its whole time for the cluster.
 *
 * @throws QuorateError UNREACHABLE, DENIED, WRONG_HOST_KEY, INVALID_OPTION; the signal's reason
 */
export async function wayBy(ssh: SshOptions | undefined, signal: AbortSignal): Promise<{ readonly wires?: Wires }> {
  if (ssh === undefined) return {};
  const { Tunnels } = await import("../ssh/tunnels.ts");
  const tunnels = new Tunnels(sshRoute(ssh), systemClock);
  await tunnels.begin(signal);
  const wires = wiresBy(
    (url, own) => tunnels.dial(url, own),
    () => {
      tunnels.close();
    },
  );
  return { wires };
}
