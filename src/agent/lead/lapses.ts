import type { Logger } from "pino";
import { messageOf } from "../../errors.ts";
import { untilLapsed, type EtcdClient, type Lapsing } from "../../etcd/index.ts";
import type { MemberSeen } from "../../chooser/index.ts";
import type { Look } from "./look.ts";

interface Watched {
  readonly stop: AbortController;
  readonly watching: Promise<void>;
}

/** Looks after the leases of agents whose servers take no part: where the session of one is over, its keys are gone without further delay. */
export class Lapses {
  readonly #deps: { readonly client: EtcdClient; readonly log: Logger };
  readonly #watched = new Map<string, Watched>();

  constructor(deps: { readonly client: EtcdClient; readonly log: Logger }) {
    this.#deps = deps;
  }

  /** From now on those of the silent members, and no others. */
  follow(look: Look, members: readonly MemberSeen[]): void {
    const silent = new Map<string, Lapsing>();
    for (const { agent, answers, heard } of members) {
      const entry = agent === undefined || answers || heard === true ? undefined : look.agents.get(agent)?.entry;
      if (entry && entry.lease !== "0") silent.set(entry.lease, entry);
    }
    for (const [lease, { stop }] of this.#watched) if (!silent.has(lease)) stop.abort(noLonger);
    for (const lapsing of silent.values()) if (!this.#watched.has(lapsing.lease)) this.#watch(lapsing);
  }

  async close(): Promise<void> {
    for (const { stop } of this.#watched.values()) stop.abort(noLonger);
    await Promise.all([...this.#watched.values()].map(({ watching }) => watching));
  }

  #watch(lapsing: Lapsing): void {
    const { client, log } = this.#deps;
    const stop = new AbortController();
    const watching = untilLapsed(client, lapsing, { log }, stop.signal)
      .catch((error: unknown) => {
        // It expires by itself.
        if (!stop.signal.aborted) log.debug({ reason: messageOf(error), key: lapsing.key }, "not looking after a lease");
      })
      .finally(() => this.#watched.delete(lapsing.lease));
    this.#watched.set(lapsing.lease, { stop, watching });
  }
}

const noLonger = new DOMException("Not silent any more", "AbortError");
