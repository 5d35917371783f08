import { createHash } from "node:crypto";
import { initialMembers } from "../../embed/index.ts";
import { QuorateError, isRetryable } from "../../errors.ts";
import type { Beginning } from "./join.ts";
import type { Registered, Registry } from "./registry.ts";
import type { AgentState } from "./state.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { clientUrlsOf, type ListedDeps } from "./listed.ts";

interface DiscoverDeps extends ListedDeps {
  readonly options: ResolvedOptions;
}

const againMs = 1_000;
const sayAfterMs = 10_000;
/** Founders that have a cluster answer within this; they may all be starting. */
const patienceMs = 60_000;

/**
 * How a host begins that finds the others by a token: as one of the founders, if it comes in time, or by joining them.
 *
 * @throws QuorateError NOT_EXIST where there is no such token; CONFLICT where it has had another host of this name; UNAVAILABLE where it is
 * used up, and nobody is left of those who did
 */
export async function beginDiscovered(
  deps: DiscoverDeps,
  registry: Registry,
  { identity }: AgentState,
  signal: AbortSignal,
): Promise<Beginning> {
  const { options, clock, log } = deps;
  const { hostname, advertiseServerUrls } = options;
  // The same after a crash, and unlike that of any other.
  const id = createHash("sha256").update(identity).digest("hex").slice(0, 16);
  const value = advertiseServerUrls.map((url) => `${hostname}=${url}`).join(",");
  const startedMs = clock.nowMs();
  let isSaid = false;
  for (;;) {
    const found = await look(registry, { id, value }, signal).catch((error: unknown) => {
      if (!isRetryable(error)) throw error;
      log.warn({ err: error }, "the discovery service does not answer: asking again");
      return undefined;
    });
    if (found !== undefined) {
      const { founders, size } = found;
      if (!founders.some((one) => one.id === id) && founders.length >= size) return joinThem(deps, registry, founders, signal);
      assertOne(founders, { id, value }, registry.name);
      if (founders.length >= size) {
        const members = [...initialMembers(founders.map((one) => one.value).join(","))];
        if (members.length === size) {
          // As etcd has it: what tells the cluster from others is where its members found each other.
          return {
            kind: "found",
            together: { members: members.map(([name, peerUrls]) => ({ name, peerUrls })), token: registry.name },
          };
        }
        throw new QuorateError("CONFLICT", `Cannot discover a cluster: two hosts at ${registry.name} have one name`, {
          hint: "give each a --hostname of its own, and make a new token",
        });
      }
      if (!isSaid && clock.nowMs() - startedMs >= sayAfterMs) {
        log.warn({ registered: founders.map((one) => one.value), of: size }, "still waiting for others at the discovery service");
        isSaid = true;
      }
    }
    await clock.sleep(againMs, signal);
  }
}

async function look(
  registry: Registry,
  self: Registered,
  signal: AbortSignal,
): Promise<{ readonly founders: readonly Registered[]; readonly size: number }> {
  const size = await registry.size(signal);
  let all = await registry.registered(signal);
  if (!all.some(({ id }) => id === self.id) && all.length < size) {
    await registry.register(self, signal);
    all = await registry.registered(signal);
  }
  return { founders: all.slice(0, size), size };
}

/** This host is there once, as it is now. */
function assertOne(founders: readonly Registered[], self: Registered, name: string): void {
  const hostname = self.value.slice(0, self.value.indexOf("="));
  const other = founders.find(({ id, value }) => (id === self.id ? value !== self.value : value.startsWith(`${hostname}=`)));
  if (other === undefined) return;
  throw new QuorateError(
    "CONFLICT",
    other.id === self.id
      ? `Cannot discover a cluster: ${name} has this host as ${other.value}, and it is ${self.value} now`
      : `Cannot discover a cluster: ${name} has had a host ${hostname} already, another one or with another prefix`,
    { hint: "a token is for one start of a cluster: make a new one with `quorate discovery create`, for all its hosts" },
  );
}

/** A surplus host volunteers, once the founders have a cluster. */
async function joinThem(
  deps: DiscoverDeps,
  registry: Registry,
  founders: readonly Registered[],
  signal: AbortSignal,
): Promise<Beginning> {
  const members = [...initialMembers(founders.map(({ value }) => value).join(","))].map(([name, peerUrls]) => ({
    name,
    peerUrls,
  }));
  deps.log.info({ founders: members.map(({ name }) => name) }, "the cluster has its founders: joining it");
  const through = await clientUrlsOf(deps, members, signal, patienceMs);
  if (through !== undefined) return { kind: "join", through };
  throw new QuorateError(
    "UNAVAILABLE",
    `Cannot discover a cluster: the token at ${registry.name} is used up by ${members.map(({ name }) => name).join(", ")}, and none of them answers`,
    { hint: "start those, or make a new token with `quorate discovery create`" },
  );
}
