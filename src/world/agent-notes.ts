import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../errors.ts";
import type { FileLogin, TlsFiles } from "../etcd/index.ts";
import { WorldError } from "./error.ts";

/** What an agent has written of itself in its folder, for other programs of its host. */
export interface AgentNotes {
  readonly hostname: string | undefined;
  readonly clusterId: string | undefined;
  /** Client URLs that served last. */
  readonly endpoints: readonly string[];
  /** The files that it reaches them with. */
  readonly tls: TlsFiles | undefined;
  readonly login: FileLogin | undefined;
  /** Path of the unix socket that its server is behind, where it has no network. */
  readonly socket: string | undefined;
}

export const tlsFields = ["caFile", "certFile", "keyFile"] as const satisfies readonly (keyof TlsFiles)[];

/**
 * Undefined where this user may not read it, or there is none.
 *
 * @throws WorldError INVALID_OPTION where it is there and is no agent's
 */
export async function readAgent(prefix: string): Promise<AgentNotes | undefined> {
  const file = join(prefix, "state.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "EACCES" || code === "ENOTDIR") return undefined;
    throw refused(`${file} cannot be read: ${messageOf(error)}`);
  }
  try {
    const { hostname, clusterId, endpoints, tls, login, socket } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    return {
      hostname: typeof hostname === "string" ? hostname : undefined,
      clusterId: typeof clusterId === "string" ? clusterId : undefined,
      endpoints: Array.isArray(endpoints) ? endpoints.filter((one) => typeof one === "string") : [],
      tls: filesIn(tls),
      login: loginIn(login),
      socket: typeof socket === "string" ? socket : undefined,
    };
  } catch (error) {
    throw refused(`${file} is no agent's state: ${messageOf(error)}`);
  }
}

function filesIn(tls: unknown): TlsFiles | undefined {
  if (typeof tls !== "object" || tls === null) return undefined;
  const said = tls as Readonly<Record<string, unknown>>;
  return Object.fromEntries(
    tlsFields.flatMap((field) => {
      const path = said[field];
      return typeof path === "string" ? [[field, path]] : [];
    }),
  );
}

function loginIn(login: unknown): FileLogin | undefined {
  const { user, password } = (login ?? {}) as { readonly user?: unknown; readonly password?: { readonly file?: unknown } };
  const file = password?.file;
  return typeof user === "string" && typeof file === "string" ? { user, password: { file } } : undefined;
}

function refused(state: string): WorldError {
  return new WorldError("INVALID_OPTION", `Cannot open the World: ${state}`, { data: { option: "prefix" } });
}
