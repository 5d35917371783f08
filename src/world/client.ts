import type { Login } from "../etcd/index.ts";
import { WorldError } from "./error.ts";

/** Where a client of npm etcd3 connects to, and as whom. */
export interface Etcd3Way {
  readonly endpoints: readonly string[];
  readonly login: Login | undefined;
}

/**
 * What an `Etcd3` of npm etcd3 was made with: nothing else of it is used, as what stands on its connections loses events and writes twice.
 *
 * @throws WorldError INVALID_OPTION
 */
export function etcd3Of(client: unknown): Etcd3Way {
  const { options, prefix } = fieldsOf(client);
  const { hosts, credentials, auth } = fieldsOf(options);
  const all: unknown = typeof hosts === "string" ? [hosts] : hosts;
  if (!Array.isArray(all) || all.length === 0 || !all.every((one) => typeof one === "string")) {
    throw refused("it is neither a World nor an Etcd3 of npm etcd3", "seeds names the cluster's URLs");
  }
  if (prefix instanceof Uint8Array && prefix.length > 0) {
    throw refused(
      "what etcd3 calls a namespace has no connection of its own",
      "give the Etcd3 that it is of, and namespace beside it",
    );
  }
  if (credentials !== undefined || all.some((host) => host.startsWith("https:"))) {
    throw refused("it speaks TLS by what it holds in memory, and a feeder is told files", "give seeds and tls in its place");
  }
  const endpoints = all.map((host) => (host.includes("://") ? host : `http://${host}`).replace(/\/$/, ""));
  const wrong = endpoints.find((url) => !/^http:\/\/[^/]+$/.test(url) || !URL.canParse(url));
  if (wrong !== undefined) throw refused(`its host ${JSON.stringify(wrong)} is not of the form http://HOST:PORT`);
  if (auth === undefined) return { endpoints, login: undefined };
  const { username, password } = fieldsOf(auth);
  if (typeof username !== "string" || typeof password !== "string") throw refused("its auth has no username and password");
  return { endpoints, login: { user: username, password } };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function refused(state: string, hint?: string): WorldError {
  return new WorldError("INVALID_OPTION", `Cannot open the World on that client: ${state}`, { hint, data: { option: "client" } });
}
