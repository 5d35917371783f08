import { isIP } from "node:net";
import { initialMembers } from "../embed/index.ts";
import { messageOf } from "../errors.ts";
import { quote } from "../keys.ts";
import type { Together } from "./begin/join.ts";
import type { Discovery } from "./begin/registry.ts";
import { label, refuse, urls, whole } from "./option-checks.ts";
import type { AgentOptions } from "./options.ts";
import type { Surroundings } from "./resolve.ts";

/** How it was told whom to begin with; `flag` is what said it. */
export type Boot = { readonly flag: string } & (
  | ({ readonly kind: "static"; readonly state: "new" | "existing" } & Together)
  | {
      readonly kind: "dns";
      readonly state: "new" | "existing";
      readonly token: string;
      readonly domain: string;
      /** Appended to the names of the services. */
      readonly service: string;
    }
  | { readonly kind: "discovery"; readonly discovery: Discovery }
);

/** The options that say whom to begin with, each alone, by what they are about. */
const ways = ["initialCluster", "discovery", "discoveryEndpoints", "discoverySrv"] as const;
const details = {
  initialClusterState: ["initialCluster", "discoverySrv"],
  initialClusterToken: ["initialCluster", "discoverySrv"],
  discoveryToken: ["discoveryEndpoints"],
  discoverySrvName: ["discoverySrv"],
} as const satisfies Partial<Record<keyof AgentOptions, readonly (typeof ways)[number][]>>;

export function bootGiven(given: AgentOptions, hostname: string, advertised: readonly string[]): Boot | undefined {
  const [way, another] = ways.filter((option) => given[option] !== undefined);
  for (const [detail, of] of Object.entries(details) as [keyof typeof details, readonly string[]][]) {
    if (given[detail] === undefined || (way !== undefined && of.includes(way))) continue;
    refuse(detail, `it belongs to ${of.join(" and ")}`, "add that, or leave it out");
  }
  if (way === undefined) return undefined;
  if (another !== undefined) refuse(another, `${way} says how to begin as well`, "choose one");
  if ((given.seeds ?? []).length > 0) refuse(way, "an agent with seeds joins a cluster", "drop --seeds, or this");
  const state = given.initialClusterState ?? "new";
  const token = label("initialClusterToken", given.initialClusterToken ?? "quorate");
  const flag = `--${way.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  switch (way) {
    case "initialCluster":
      return {
        flag,
        kind: "static",
        state,
        token,
        members: membersGiven(given.initialCluster ?? "", state, hostname, advertised),
      };
    case "discoverySrv": {
      const [domain, service] = [label(way, given.discoverySrv ?? ""), label("discoverySrvName", given.discoverySrvName ?? "")];
      if (domain === "") refuse(way, "it names no domain");
      return { flag, kind: "dns", state, token, domain, service };
    }
    case "discovery": {
      const url = given.discovery ?? "";
      const parsed = URL.canParse(url) ? new URL(url) : undefined;
      if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || parsed.pathname.length < 2 || parsed.username !== "")
        refuse(way, `${quote(url)} is no URL of a token`, "make one with `quorate discovery create --size N --url URL`");
      return { flag, kind: "discovery", discovery: { kind: "v2", url } };
    }
    case "discoveryEndpoints": {
      const { discoveryToken: name = "" } = given;
      if (!/^[A-Za-z0-9._-]{1,100}$/.test(name))
        refuse("discoveryToken", `${quote(name)} must be 1 to 100 characters of A-Z, a-z, 0-9, dot, underscore and dash`);
      const endpoints = urls(way, given.discoveryEndpoints, []);
      if (endpoints.length === 0) refuse(way, "it names none");
      return { flag, kind: "discovery", discovery: { kind: "v3", endpoints, token: name } };
    }
  }
}

function membersGiven(
  text: string,
  state: "new" | "existing",
  hostname: string,
  advertised: readonly string[],
): Together["members"] {
  let members: ReadonlyMap<string, readonly string[]>;
  try {
    members = initialMembers(text);
  } catch (error) {
    refuse("initialCluster", messageOf(error), "write it as h1=http://192.0.2.1:2380,h2=http://192.0.2.2:2380");
  }
  if (members.size === 0) refuse("initialCluster", "it names nobody");
  for (const list of members.values()) urls("initialCluster", list, []);
  if (state === "new") assertListed(members, hostname, advertised);
  return [...members].map(([name, peerUrls]) => ({ name, peerUrls }));
}

/** This host is in the list by its name and server URLs. */
function assertListed(members: ReadonlyMap<string, readonly string[]>, hostname: string, advertised: readonly string[]): void {
  const urls = members.get(hostname);
  if (urls === undefined) {
    refuse(
      "initialCluster",
      `it does not name this host, ${hostname}`,
      `name this host by one of ${[...members.keys()].join(", ")} with --hostname, or add ${hostname}=${advertised[0] ?? ""}`,
    );
  }
  if (urls.length === advertised.length && urls.every((url) => advertised.includes(url))) return;
  refuse(
    "initialCluster",
    `it has ${urls.join(" and ")} for ${hostname}, which advertises ${advertised.join(" and ")}`,
    "add --server-urls or --advertise-server-urls as in the list",
  );
}

/** With how many others it is to agree. */
export function expectGiven(given: AgentOptions, seeds: readonly string[], advertised: readonly string[]): number | undefined {
  const { expect } = given;
  if (expect === undefined) return undefined;
  for (const option of [...ways, "newCluster", "adopt"] as const) {
    if (given[option] !== undefined && given[option] !== false)
      refuse("expect", `${option} says how to begin as well`, "choose one");
  }
  if (given.server === false) refuse("expect", "this agent never runs a server", "drop --no-server, or --expect");
  whole("expect", expect, 1, seeds.length);
  if (expect <= seeds.length / 2) {
    refuse(
      "expect",
      `${expect} is not more than half of the ${seeds.length} seeds, so that two clusters could come of it`,
      `expect ${Math.floor(seeds.length / 2) + 1} at least`,
    );
  }
  if (!seeds.some((seed) => advertised.includes(seed))) {
    refuse(
      "expect",
      `none of the seeds is a client URL of this host, which advertises ${advertised.join(" and ")}`,
      "list the client URLs of all hosts in --seeds, this one's among them",
    );
  }
  return expect;
}

/** The URLs of a host that is told the same as all others: those of the seed that is this machine. */
export function ownSeed(seeds: readonly string[], { machineName, addresses }: Surroundings): Partial<AgentOptions> {
  const own = seeds.filter((seed) => {
    if (!URL.canParse(seed)) return false;
    const host = new URL(seed).hostname.replace(/^\[|\]$/g, "");
    return addresses.includes(host) || host === machineName || host.split(".")[0] === machineName;
  });
  const [seed] = own;
  if (seed === undefined || own.length > 1) {
    refuse(
      "expect",
      seed === undefined
        ? "none of the seeds is an address or the name of this machine"
        : `${own.join(" and ")} are both this machine`,
      "say which seed is this host with --client-urls or --advertise-client-urls, and --server-urls",
    );
  }
  const client = new URL(seed);
  const server = new URL(seed);
  server.port = String(Number(client.port) + 1);
  const urls = { clientUrls: [client.origin], serverUrls: [server.origin] };
  if (isIP(client.hostname.replace(/^\[|\]$/g, "")) !== 0) return urls;
  return {
    clientUrls: [`${client.protocol}//0.0.0.0:${client.port}`],
    serverUrls: [`${server.protocol}//0.0.0.0:${server.port}`],
    advertiseClientUrls: [client.origin],
    advertiseServerUrls: [server.origin],
  };
}
