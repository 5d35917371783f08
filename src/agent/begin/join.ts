import type { Logger } from "pino";
import pRetry from "p-retry";
import type { Clock } from "../../clock.ts";
import { QuorateError, isRetryable, messageOf } from "../../errors.ts";
import type { InitialMember } from "../../embed/index.ts";
import type { EtcdClient, Membership } from "../../etcd/index.ts";
import { firstMarker, writeFirstKeys } from "./first-keys.ts";
import { listOf } from "../../chooser/words.ts";
import { isRefused, readRecord } from "../control/records.ts";
import type { Machine } from "../machine.ts";
import type { ResolvedOptions } from "../resolve.ts";

export interface JoinDeps {
  readonly client: EtcdClient;
  readonly machine: Machine;
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What a newcomer most likely did, where no seed answers: a hint in one sentence. */
export function whyNoSeedAnswers({
  seeds,
  advertiseClientUrls,
  clientUrls,
}: Pick<ResolvedOptions, "seeds" | "advertiseClientUrls" | "clientUrls">): string {
  const itself = seeds.find((seed) => advertiseClientUrls.includes(seed) || clientUrls.includes(seed));
  if (itself !== undefined) return `${itself} is this agent itself: start exactly one agent without --seeds`;
  const far = seeds.find((seed) => !isLoopback(seed));
  if (far === undefined) return "is an agent running there?";
  const { protocol, hostname } = new URL(far);
  return (
    "is an agent running there, and reachable from here? By default agents listen on the loopback address only: " +
    `start it with --client-urls=${protocol}//${hostname}:2379 --server-urls=${protocol}//${hostname}:2380`
  );
}

/** Why an agent that joins others over the network could hold no seat there; undefined when nothing is seen that speaks against it. */
export function whyUnreachable({ server, seeds, advertiseServerUrls }: ResolvedOptions): string | undefined {
  if (!server || seeds.every(isLoopback) || !advertiseServerUrls.some(isLoopback)) return undefined;
  const { protocol } = new URL(advertiseServerUrls[0]!);
  return (
    "the others are told a loopback address of this host, so that it can connect and hold no seat: " +
    `add --client-urls=${protocol}//ADDRESS:2379 --server-urls=${protocol}//ADDRESS:2380 with an address of this host that they reach`
  );
}

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}

/** The members that a cluster begins with, and what tells it from others at the same addresses. */
export interface Together {
  readonly members: readonly InitialMember[];
  readonly token: string;
  /** Of each host's data folder, where that is known. */
  readonly instances?: ReadonlyMap<string, string>;
}

/** How this agent begins. */
export type Beginning =
  /** Found a cluster: of one, or together with others that do the same. */
  | { readonly kind: "found"; readonly together?: Together }
  /** Start the server from its own data, before anybody is asked. */
  | { readonly kind: "continue"; readonly memberId: string }
  /** Connect as a client and volunteer. */
  | { readonly kind: "join"; readonly through: readonly string[] };

export interface BeginInput {
  readonly seeds: readonly string[];
  readonly server: boolean;
  readonly newCluster: boolean;
  readonly data: "absent" | "empty" | "has-data" | "damaged";
  readonly state: {
    readonly clusterId?: string | undefined;
    readonly seat?: { readonly memberId: string } | undefined;
    readonly endpoints: readonly string[];
    readonly startFirst?: readonly string[] | undefined;
  };
}

/**
 * Decides how to begin. State without data never founds: a host that once belonged to a cluster asks that cluster.
 *
 * @throws QuorateError REFUSED when it belonged to a cluster and knows nobody to ask.
 */
export function beginning({ seeds, server, newCluster, data, state }: BeginInput): Beginning {
  if (newCluster) return { kind: "found" };
  if (server && state.seat && data === "has-data") return { kind: "continue", memberId: state.seat.memberId };
  const through = [...new Set([...seeds, ...state.endpoints])];
  if (state.clusterId === undefined && seeds.length === 0) return { kind: "found" };
  if (through.length === 0) {
    throw new QuorateError(
      "REFUSED",
      `Cannot join cluster ${state.clusterId ?? ""}: this host belonged to it and knows no endpoint of it any more`,
      {
        hint: `${startThem(state.startFirst ?? [])}add --seeds=http://HOST:2379 with a client URL of the cluster, or found another one with --new-cluster`,
      },
    );
  }
  return { kind: "join", through };
}

/** A founder that has just started needs this long for its marker. */
const markerPatienceMs = 3_000;
const sayAfterMs = 10_000;

/** What an agent knows of its cluster before it asks anybody. */
interface Known {
  readonly clusterId: string | undefined;
  /** It has a server that starts from its own data: the cluster may need that to answer at all. */
  readonly hasData: boolean;
  /** Who had the data when this agent ended. */
  readonly startFirst: readonly string[];
}

/** `start h1 and h2, ` where it is known who had the data last. */
function startThem(hosts: readonly string[]): string {
  return hosts.length === 0 ? "" : `start ${listOf(hosts)}, which had the data last; `;
}

/** What to do where nobody answers. */
function hintFor(options: ResolvedOptions, { startFirst, clusterId, hasData }: Known): string {
  const others = startFirst.filter((host) => host !== options.hostname);
  if (others.length === 0) return whyNoSeedAnswers(options);
  if (hasData)
    return `${listOf(others)} had the data as well when this agent ended: start ${others.length === 1 ? "it" : "them"}, too`;
  return `${startThem(others)}or found another cluster with --new-cluster, which forgets ${clusterId ?? "that one"}`;
}

/** Connects through the seeds for as long as it takes, and makes sure that the cluster is one to join. */
export async function join(deps: JoinDeps, known: Known, signal: AbortSignal): Promise<Membership> {
  const { client, options, clock, log } = deps;
  const startedMs = clock.nowMs();
  const unreachable = whyUnreachable(options);
  if (unreachable !== undefined) log.warn({ advertised: options.advertiseServerUrls }, unreachable);
  // Who knows where the data is says so at once.
  let sayAtMs = startedMs + (known.startFirst.length > 0 && !known.hasData ? 0 : sayAfterMs);
  let strangerSinceMs: number | undefined;
  const attempt = async (): Promise<Membership> => {
    const seen = await client.readMembership({ signal, timeoutMs: 2_000, look: [{ range: options.keys.cluster }] });
    try {
      await assertOurs(deps, seen, known, signal);
    } catch (error) {
      if (!(error instanceof NoMarker)) throw error;
      strangerSinceMs ??= clock.nowMs();
      if (clock.nowMs() - strangerSinceMs >= markerPatienceMs) throw error.refusal;
      throw new QuorateError("UNREACHABLE", "The marker of the cluster is not written yet", { retryable: true });
    }
    return seen;
  };
  return pRetry(attempt, {
    retries: Number.POSITIVE_INFINITY,
    minTimeout: 0,
    maxTimeout: 0,
    factor: 1,
    signal,
    shouldRetry: ({ error }) => mayPassYet(error, known),
    onFailedAttempt: async ({ error }) => {
      if (!mayPassYet(error, known)) return;
      if (clock.nowMs() >= sayAtMs && strangerSinceMs === undefined) {
        if (known.clusterId !== undefined && !known.hasData) await assertSeedsBelong(deps, known.clusterId, signal);
        log.warn(
          { seeds: options.seeds, reason: messageOf(error), hint: hintFor(options, known) },
          "no seed answers; trying for ever",
        );
        sayAtMs = clock.nowMs() + sayAfterMs;
      }
      await clock.sleep(250, signal);
    },
  });
}

/** Whoever has a server is not to take it down for certificates that somebody is replacing; whoever has none says at once what is wrong. */
function mayPassYet(error: unknown, { hasData }: Known): boolean {
  return isRetryable(error) || (hasData && error instanceof QuorateError && error.code === "WRONG_CERTIFICATE");
}

class NoMarker extends Error {
  readonly refusal: QuorateError;
  constructor(refusal: QuorateError) {
    super("no marker");
    this.refusal = refusal;
  }
}

/** Its own cluster does not answer: where a seed of another one does, waiting would never end. */
async function assertSeedsBelong({ machine, options, clock }: JoinDeps, clusterId: string, signal: AbortSignal): Promise<void> {
  for (const seed of options.seeds) {
    await using client = machine.connect({ endpoints: [seed], clock });
    const seen = await client.readMembership({ signal, timeoutMs: 2_000 }).catch(() => undefined);
    signal.throwIfAborted();
    if (seen && seen.clusterId !== clusterId) throw anotherCluster(seen, clusterId);
  }
}

function anotherCluster({ endpoint, clusterId: found }: Membership, clusterId: string): QuorateError {
  return new QuorateError(
    "WRONG_CLUSTER",
    `Cannot join through ${endpoint}: it serves cluster ${found}, and this host belongs to ${clusterId}`,
    { hint: "check --seeds; to change clusters use another --prefix" },
  );
}

async function assertOurs(
  deps: JoinDeps,
  seen: Membership,
  { clusterId, hasData }: Pick<Known, "clusterId" | "hasData">,
  signal: AbortSignal,
): Promise<void> {
  const { client, options, log } = deps;
  if (clusterId !== undefined && seen.clusterId !== clusterId) throw anotherCluster(seen, clusterId);
  if (!options.server || hasData) return; // Any etcd will do; and whoever holds its data knows it.
  const entry = seen.ranges[0]?.[0];
  const marker = entry && readRecord("marker", entry.value);
  if (marker && !isRefused(marker) && marker.clusterId === seen.clusterId) return;
  if (options.adopt) {
    const before = marker && !isRefused(marker) ? marker : undefined;
    const value = firstMarker(seen.clusterId, options, before);
    await client.txn(
      {
        compare: [
          entry
            ? { key: options.keys.cluster, modRevision: entry.modRevision }
            : { key: options.keys.cluster, createRevision: 0 },
        ],
        then: [{ put: options.keys.cluster, value }],
      },
      { signal, repeatable: true },
    );
    await writeFirstKeys(client, options, undefined, signal);
    log.info(
      { cluster: seen.clusterId, members: seen.members.map((row) => row.name), predecessor: before?.clusterId },
      "adopted a cluster; its members stay as they are",
    );
    return;
  }
  throw new NoMarker(
    new QuorateError(
      "REFUSED",
      marker && !isRefused(marker)
        ? `Cannot join through ${seen.endpoint}: its data says cluster ${marker.clusterId}, and it is ${seen.clusterId} (a restored backup?)`
        : `Cannot join through ${seen.endpoint}: that etcd was not started by Quorate (it has no ${options.keys.cluster} key)`,
      {
        hint:
          "add --no-server to use it as it is, or --adopt to take it over; its members stay as they are" +
          (marker && !isRefused(marker) ? `, and what followed ${marker.clusterId} follows it then` : ""),
      },
    ),
  );
}
