import { defaultPrefix } from "../agent/resolve.ts";
import { readAgent } from "../world/agent-notes.ts";
import { defaultEndpoints, type ClientSettings } from "./options.ts";

export interface Reach extends Pick<ClientSettings, "endpoints" | "tls" | "login"> {
  /** A unix socket that they are behind. */
  readonly socket?: string | undefined;
}

/**
 * How the cluster of a command is reached: as the command was told; and what it was not told, where the agent of this host belongs to that
 * cluster, as that agent does. Whoever may not read the agent's folder is told nothing.
 */
export async function reachOf(settings: Reach & Pick<ClientSettings, "prefix" | "ssh">): Promise<Reach> {
  const { endpoints, tls, login, ssh } = settings;
  const told = { endpoints, ...(tls === undefined ? {} : { tls }), ...(login === undefined ? {} : { login }) };
  // What another host sees is not what this one's agent does.
  if (ssh !== undefined) return told;
  const agent = await readAgent(settings.prefix ?? defaultPrefix()).catch(() => undefined);
  if (agent === undefined || (agent.tls === undefined && agent.login === undefined && agent.socket === undefined)) return told;
  const isDefault = endpoints === defaultEndpoints && agent.endpoints.length > 0;
  if (!isDefault && !endpoints.some((url) => agent.endpoints.includes(url))) return told;
  return {
    ...(agent.tls === undefined ? {} : { tls: agent.tls }),
    ...(agent.login === undefined ? {} : { login: agent.login }),
    ...(agent.socket === undefined ? {} : { socket: agent.socket }),
    ...told,
    ...(isDefault ? { endpoints: agent.endpoints } : {}),
  };
}
