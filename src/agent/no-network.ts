import { rm } from "node:fs/promises";
import { join } from "node:path";
import { QuorateError } from "../errors.ts";
import { wiresTo } from "../etcd/index.ts";
import { refuse } from "./option-checks.ts";
import type { AgentOptions } from "./options.ts";
import type { Machine } from "./machine.ts";
import { answerPreflights, fetchText, PreflightStub } from "./server/preflight-stub.ts";

/** What nobody can connect to: the names of an agent's URLs where its server is at no port (RFC 6761). */
export const noNetworkUrls = { client: "http://no-network.invalid:2379", server: "http://no-network.invalid:2380" } as const;

/** As etcd makes the file of a `unix` URL: all that follows, its port as well. */
const files = { client: "client:0", server: "peer:0" } as const;
/** The path of a unix socket has 107 bytes at most. */
const longestFolder = 107 - 1 - files.client.length;

const excluded = [
  "seeds",
  "clientUrls",
  "serverUrls",
  "advertiseClientUrls",
  "advertiseServerUrls",
  "initialCluster",
  "discovery",
  "discoveryEndpoints",
  "discoverySrv",
  "expect",
  "adopt",
  "certFile",
  "peerCertFile",
  "trustedCaFile",
  "peerTrustedCaFile",
  "autoTls",
] as const satisfies readonly (keyof AgentOptions)[];

/** @throws QuorateError INVALID_OPTION */
export function assertAlone(given: AgentOptions): void {
  for (const option of excluded) {
    const value = given[option];
    if (value === undefined || value === false || (Array.isArray(value) && value.length === 0)) continue;
    refuse("noNetwork", `${option} is given as well, and there is no network`, "choose one of the two");
  }
  if (given.server === false) refuse("noNetwork", "an agent without a server needs seeds to connect to", "drop --no-server");
  if (given.prefix !== undefined) assertShort(given.prefix);
}

function assertShort(folder: string): void {
  const bytes = Buffer.byteLength(folder);
  if (bytes <= longestFolder) return;
  throw new QuorateError(
    "INVALID_OPTION",
    `Cannot use option prefix: its path has ${bytes} bytes, and with a unix socket in it at most ${longestFolder} are allowed`,
    { hint: "choose a shorter one", data: { option: "prefix" } },
  );
}

/** Of the agent whose folder that is: for programs of this host. */
export function socketIn(folder: string): string {
  return join(folder, files.client);
}

/** That machine for an agent whose server is behind unix sockets in its folder, and which nobody else reaches. */
export function withoutNetwork(machine: Machine): Machine {
  let folder: string | undefined;
  const path = (which: keyof typeof files): string => {
    if (folder === undefined) throw new TypeError("The folder is not open yet");
    return join(folder, files[which]);
  };
  return {
    ...machine,
    assertPortsFree: () => Promise.resolve(),
    openPrefix: async (...asked) => {
      const prefix = await machine.openPrefix(...asked);
      try {
        assertShort(prefix.folder);
      } catch (error) {
        await prefix[Symbol.asyncDispose]();
        throw error;
      }
      folder = prefix.folder;
      return prefix;
    },
    connect: (options) => machine.connect({ ...options, wires: wiresTo({ socket: path("client") }) }),
    startServer: async (options, deps, signal) => {
      // Of a server that was killed: etcd 3.4 takes them for another's.
      await Promise.all([rm(path("client"), { force: true }), rm(path("server"), { force: true })]);
      return machine.startServer(
        {
          ...options,
          listenClientUrls: [`unix://${files.client}`],
          listenPeerUrls: [`unix://${files.server}`],
          ...(folder === undefined ? {} : { cwd: folder }),
        },
        deps,
        signal,
      );
    },
    listen: (_, answer) => answerPreflights([], answer, { socket: path("server") }),
    tell: () => PreflightStub.open([], () => undefined),
    fetchText: (url, timeoutMs, clock, signal) => fetchText(url, timeoutMs, clock, signal, { socket: path("server") }),
    fetchClientText: (url, timeoutMs, clock, signal) => fetchText(url, timeoutMs, clock, signal, { socket: path("client") }),
  };
}
