import { Doorbell, firstOf, type Clock } from "../../clock.ts";
import { MemberEndpoints, type EtcdClient } from "../../etcd/index.ts";
import type { ControlView } from "./control-view.ts";
import type { ResolvedOptions } from "../resolve.ts";
import type { Prefix } from "../begin/state.ts";

interface FollowDeps {
  readonly client: EtcdClient;
  readonly options: ResolvedOptions;
  readonly prefix: Prefix;
  readonly view: ControlView;
  readonly clock: Clock;
  /** The own server serves as a voter. */
  readonly votes: () => boolean;
  /** The own server runs, as whatever it may be. */
  readonly runs: () => boolean;
  /** Whatever an agent's status tells of the view may have changed. */
  readonly onChange: () => void;
}

/** A cluster without endpoint keys has no watch that tells of a change. */
const memberListMs = 30_000;

/** Client URLs by host. */
export type Serving = ReadonlyMap<string, readonly string[]>;

/**
 * What is known to serve: the endpoint keys, and those that vanished although their hosts keep their seats. An endpoint key goes with its
 * agent's lease, which says nothing of the server: whoever went by the keys alone could be left with the one server that is dead.
 */
export function stillServing(before: Serving, now: Serving, voters: ReadonlySet<string>): Serving {
  // Without any seat to be seen, somebody deleted the keys.
  const kept = [...before].filter(([host]) => !now.has(host) && (voters.has(host) || voters.size === 0));
  return new Map([...now, ...kept]);
}

/**
 * Whom to ask, in order. Seeds are the last resort: all others may have changed while nobody could be asked. So is the own server before it is
 * known to vote: it may be the only one that does, and then nobody else can say so.
 */
export function inOrder(
  serving: readonly string[],
  seeds: readonly string[],
  own: { readonly urls: readonly string[]; readonly votes: boolean; readonly runs: boolean },
): string[] {
  const others = [...serving, ...seeds].filter((url) => !own.urls.includes(url));
  return [...new Set([...(own.votes ? own.urls : []), ...others, ...(own.runs ? own.urls : [])])];
}

/** Keeps the client on the endpoints of the cluster as they change, and on disk for the next start. */
export async function followEndpoints(deps: FollowDeps, signal: AbortSignal): Promise<never> {
  const { client, options, prefix, view, clock } = deps;
  const bell = new Doorbell();
  const { endpoints, seats, leader, plan } = options.keys;
  view.subscribe(bell, signal, (key) => key === plan || [endpoints, seats, leader].some(({ prefix: of }) => key.startsWith(of)));
  let known: Serving = new Map();
  const members = new MemberEndpoints(options.seeds);
  let done: readonly unknown[] = [];
  for (;;) {
    const now = view.endpointsByHost();
    // The view hands out the same maps while nothing in them has changed.
    const from = [now, view.seats(), deps.votes(), deps.runs()];
    const isNews = from.some((one, i) => one !== done[i]);
    done = from;
    if (now.size > 0 && isNews) {
      const voters = [...view.seats()].filter(([, seat]) => seat.role === "voter").map(([host]) => host);
      known = stillServing(known, now, new Set(voters));
      const own = options.advertiseClientUrls;
      const all = [...known.values()].flat();
      const [votes, runs] = [deps.votes(), deps.runs()];
      const urls = inOrder(all, options.seeds, { urls: own, votes, runs });
      // Where nobody is known to serve, what was known before is better than seeds alone.
      if (votes || runs || all.some((url) => !own.includes(url))) client.endpoints.set(urls, votes ? own[0] : undefined);
      const keep = [...new Set(all)].toSorted();
      if (keep.join() !== prefix.state.endpoints.join()) await prefix.save({ endpoints: keep });
    } else if (now.size === 0 && !options.server) await followMembers(client, members, signal).catch(() => undefined);
    deps.onChange();
    if (now.size > 0 || options.server) await bell.wait(signal);
    else {
      await firstOf<void>(
        signal,
        (own) => bell.wait(own),
        (own) => clock.sleep(memberListMs, own),
      );
    }
  }
}

/** A plain etcd has no endpoint keys: its member list says where its voters serve. */
async function followMembers(client: EtcdClient, endpoints: MemberEndpoints, signal: AbortSignal): Promise<void> {
  const urls = endpoints.of(await client.readMembership({ signal }));
  if (urls !== undefined) client.endpoints.set(urls);
}
