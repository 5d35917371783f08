import type { Clock } from "../clock.ts";
import type { EtcdClient } from "./client.ts";
import type { Membership } from "./types.ts";

/**
 * Where to ask, as the membership changes: the client URLs of the voters, then the seeds, which may be the only addresses that can be
 * reached from here. A learner refuses what clients ask for, and a removed member serves nobody: their URLs are left out, also where
 * they are seeds.
 */
export class MemberEndpoints {
  readonly #seeds: readonly string[];
  /** Of all that have ever been members. */
  readonly #ofMembers = new Set<string>();

  constructor(seeds: readonly string[]) {
    this.#seeds = seeds;
  }

  /** Undefined where no voter says where it serves: nothing is to change then. */
  of({ members }: Pick<Membership, "members">): readonly string[] | undefined {
    for (const { clientUrls } of members) for (const url of clientUrls) this.#ofMembers.add(url);
    const voters = members.filter(({ learner }) => !learner).flatMap(({ clientUrls }) => clientUrls);
    if (voters.length === 0) return undefined;
    return [...new Set([...voters, ...this.#seeds.filter((seed) => !this.#ofMembers.has(seed))])];
  }
}

/** Keeps a client on the members as they change, where nobody else does: asks this often. Ends by the signal only. */
export async function followMembers(
  client: EtcdClient,
  options: { readonly seeds: readonly string[]; readonly everyMs: number; readonly clock: Clock },
  signal: AbortSignal,
): Promise<never> {
  const endpoints = new MemberEndpoints(options.seeds);
  for (;;) {
    await options.clock.sleep(options.everyMs, signal);
    const membership = await client.readMembership({ signal }).catch(() => undefined);
    const urls = membership && endpoints.of(membership);
    if (urls !== undefined) client.endpoints.set(urls);
  }
}
