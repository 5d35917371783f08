import type { Clock } from "../../clock.ts";
import { wiresTo, wiresBy, type TlsFiles, type Wires } from "../../etcd/index.ts";
import type { SshRoute } from "../../ssh/index.ts";

/** Where the network's own way will not do. */
export interface Through {
  readonly ssh?: SshRoute | undefined;
  readonly tls?: TlsFiles | undefined;
  /** A unix socket. Not with `ssh`. */
  readonly socket?: string | undefined;
}

/** How the endpoints are reached: as an option of a client. */
export async function wiresThrough({ ssh, tls, socket }: Through, clock: Clock): Promise<{ readonly wires?: Wires }> {
  if (ssh === undefined) return tls === undefined && socket === undefined ? {} : { wires: wiresTo({ tls, socket }) };
  // Loaded by those only who need it.
  const { Tunnels } = await import("../../ssh/tunnels.ts");
  const tunnels = new Tunnels(ssh, clock);
  const close = (): void => {
    tunnels.close();
  };
  return { wires: wiresBy((url, signal) => tunnels.dial(url, signal), { tls, close }) };
}
