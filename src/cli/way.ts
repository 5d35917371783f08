import { systemClock } from "../clock.ts";
import { checkTls, wiresTo, wiresBy, type Wires } from "../etcd/index.ts";
import { sshRoute } from "../ssh/index.ts";
import type { ClientSettings } from "./options.ts";
import { tlsNames } from "./options-tls.ts";
import type { Reach } from "./reach.ts";

/**
 * How the endpoints of a command are reached, as an option of its client. Logs in where that is asked for, so that a command says at once
 * that it cannot, and has its whole time for the cluster.
 *
 * @throws QuorateError UNREACHABLE, DENIED, WRONG_HOST_KEY, INVALID_OPTION; the signal's reason
 */
export async function wayBy(
  { ssh, tls, socket }: { readonly [K in "ssh" | "tls"]: ClientSettings[K] | undefined } & Pick<Reach, "socket">,
  signal: AbortSignal,
): Promise<{ readonly wires?: Wires }> {
  if (tls !== undefined) await checkTls(tls, tlsNames, systemClock.wallTime());
  if (ssh === undefined) return { wires: wiresTo({ tls, socket }) };
  const { Tunnels } = await import("../ssh/tunnels.ts");
  const tunnels = new Tunnels(sshRoute(ssh), systemClock);
  await tunnels.begin(signal);
  const close = (): void => {
    tunnels.close();
  };
  return { wires: wiresBy((url, own) => tunnels.dial(url, own), { tls, close }) };
}
