import type { Clock } from "../../clock.ts";
import { wiresBy, type Wires } from "../../etcd/index.ts";
import type { SshRoute } from "../../ssh/index.ts";

/** How the endpoints behind a route are reached: as an option of a client. Nothing where the network's own way will do. */
export async function wiresThrough(ssh: SshRoute | undefined, clock: Clock): Promise<{ readonly wires?: Wires }> {
  if (ssh === undefined) return {};
  // Loaded by those only who need it.
  const { Tunnels } = await import("../../ssh/tunnels.ts");
  const tunnels = new Tunnels(ssh, clock);
  const wires = wiresBy(
    (url, signal) => tunnels.dial(url, signal),
    () => {
      tunnels.close();
    },
  );
  return { wires };
}
