import { initialMembers, type DataDirState, type InitialMember } from "../../embed/index.ts";
import type { Machine } from "../machine.ts";
import type { Boot } from "../resolve-begin.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { beginDiscovered } from "./discover.ts";
import type { Beginning } from "./join.ts";
import { clientUrls, clientUrlsOf, hasServed, listedBy, type ListedDeps } from "./listed.ts";
import type { AgentState } from "./state.ts";

export interface TogetherDeps extends ListedDeps {
  readonly machine: Pick<Machine, "fetchText" | "dnsCluster" | "dnsEndpoints" | "openRegistry">;
  readonly options: ResolvedOptions;
}

/**
 * How an agent begins that was told whom to begin with, or where to find them: by founding a cluster together with these, or, where it is there
 * without this host or has lost it, by joining it. Undefined where it was not, or where this host belongs to a cluster already: then it is told
 * that.
 */
export async function beginTogether(
  deps: TogetherDeps,
  data: DataDirState,
  state: AgentState,
  signal: AbortSignal,
): Promise<Beginning | undefined> {
  const { machine, options, clock, log } = deps;
  const { boot } = options;
  if (boot === undefined) return undefined;
  if (state.clusterId !== undefined) {
    log.info(`${boot.flag} is ignored: this host belongs to a cluster already`);
    return undefined;
  }
  if (boot.kind === "discovery") {
    const registry = machine.openRegistry(boot.discovery, clock);
    try {
      return await beginDiscovered(deps, registry, state, signal);
    } finally {
      await registry.close();
    }
  }
  if (boot.kind === "dns" && boot.state === "existing")
    return { kind: "join", through: await machine.dnsEndpoints(boot.domain, boot.service) };
  const members = boot.kind === "static" ? boot.members : await dnsMembers(deps, boot);
  if (boot.state === "existing") {
    const through = await clientUrlsOf(deps, others(options, members), signal, Number.POSITIVE_INFINITY);
    return { kind: "join", through: through ?? [] };
  }
  if (data !== "has-data") {
    // Under its old id a member that has lost its data could forget what it has acknowledged.
    const seen = await listedBy(deps, others(options, members), signal);
    const itself = seen.find(({ peerURLs }) => isSame(peerURLs, options.advertiseServerUrls));
    if (hasServed(itself)) {
      log.warn("the cluster is there and has had this host, whose data is gone: it joins as a new one");
      return { kind: "join", through: clientUrls(seen.filter((one) => one !== itself)) };
    }
  }
  return { kind: "found", together: { members, token: boot.token } };
}

/** Those that the SRV records of a domain name. */
async function dnsMembers(
  { machine, options }: TogetherDeps,
  { domain, service }: Extract<Boot, { kind: "dns" }>,
): Promise<readonly InitialMember[]> {
  const { hostname: name, advertiseServerUrls: apUrls } = options;
  const text = await machine.dnsCluster({ name, apUrls, dnsCluster: domain, dnsClusterServiceName: service });
  return [...initialMembers(text)].map(([member, peerUrls]) => ({ name: member, peerUrls }));
}

function others({ hostname }: ResolvedOptions, members: readonly InitialMember[]): readonly InitialMember[] {
  return members.filter(({ name }) => name !== hostname);
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((url) => others.includes(url));
}
