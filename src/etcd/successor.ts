import type { Logger } from "pino";
import type { Caller, Foreign } from "./caller.ts";
import { bytes, toHex } from "./codec.ts";
import { passwordOf } from "./credentials.ts";
import { failureOf, wrongCluster } from "./failure.ts";
import { abortAfter, inTime } from "./signals.ts";
import { passOn } from "../clock.ts";

/** A client has gone over from one cluster to the one that succeeds it. Ids in hex. */
export interface Succession {
  /** The endpoint whose marker says so. */
  readonly endpoint: string;
  readonly predecessor: string;
  readonly clusterId: string;
}

const lookTimeoutMs = 2_000;
/** A successor serves for a moment before its marker says what it is: it is looked at again, as long as the endpoint is left alone. */
const pauseMs = { first: 250, most: 4_000, inAll: 30_000 };
/** A marker that is longer is nobody's. */
const longestMarker = 10_000;

/** Whether the marker of the cluster `found` names `expected` among its predecessors. A marker of yet another cluster says nothing. */
export function succeeds(marker: string, found: string, expected: string): boolean {
  if (marker.length > longestMarker) return false;
  try {
    const { schema, clusterId, predecessors } = JSON.parse(marker) as Record<string, unknown>;
    return schema === 1 && clusterId === found && Array.isArray(predecessors) && predecessors.includes(expected);
  } catch {
    return false;
  }
}

/**
 * Looks at the marker of each other cluster that answers on a known address, there and nowhere else, and has the client go over to it
 * where that names the present cluster as its predecessor. Whatever else it says, or where it says nothing, nothing changes.
 */
export class Successors {
  readonly #caller: Caller;
  readonly #markerKey: string;
  readonly #log: Logger | undefined;
  readonly #onSuccessor: ((succession: Succession) => void) | undefined;
  readonly #looking = new Set<string>();

  constructor(
    caller: Caller,
    markerKey: string,
    log: Logger | undefined,
    onSuccessor: ((succession: Succession) => void) | undefined,
  ) {
    this.#caller = caller;
    this.#markerKey = markerKey;
    this.#log = log;
    this.#onSuccessor = onSuccessor;
  }

  /** Returns at once; one look at an endpoint at a time. */
  met(foreign: Foreign): void {
    const { endpoint } = foreign;
    if (this.#looking.has(endpoint)) return;
    this.#looking.add(endpoint);
    void this.#lookUntilClear(foreign).finally(() => this.#looking.delete(endpoint));
  }

  async #lookUntilClear(foreign: Foreign): Promise<void> {
    const { clock, closing } = this.#caller;
    const { expected, found, endpoint } = foreign;
    const sinceMs = clock.nowMs();
    try {
      for (
        let pause = pauseMs.first;
        clock.nowMs() - sinceMs < pauseMs.inAll && this.#caller.clusterId === expected;
        pause = Math.min(2 * pause, pauseMs.most)
      ) {
        const marker = await this.#look(foreign).catch((error: unknown) => {
          this.#log?.debug({ endpoint, found, err: error }, "the marker of another cluster cannot be read");
        });
        // Somebody else may have gone over, or been told to, meanwhile.
        if (this.#caller.clusterId !== expected) return;
        if (marker !== undefined && succeeds(marker, found, expected)) {
          this.#caller.follow(found);
          this.#log?.warn(
            { endpoint, predecessor: expected, clusterId: found },
            "the cluster has a successor, which is followed",
          );
          this.#onSuccessor?.({ endpoint, predecessor: expected, clusterId: found });
          return;
        }
        await clock.sleep(pause, closing);
      }
    } catch {
      // The client was closed.
    }
  }

  /** By a linearizable read on that endpoint; undefined where there is no marker. */
  async #look({ endpoint, found }: Foreign): Promise<string | undefined> {
    const { clock, closing, endpoints, login } = this.#caller;
    const { link, giveBack } = endpoints.borrow(endpoint);
    const own = new AbortController();
    const release = passOn([closing], own);
    const timer = abortAfter(clock, lookTimeoutMs, own);
    const circumstances = { what: "read the marker of another cluster", endpoint, sent: true };
    const hooks = {
      signal: own.signal,
      requireLeader: true,
      proveFirst: false,
      onSent: () => undefined,
      onHeader: (header: Parameters<Caller["checkCluster"]>[0]) => {
        const now = toHex(header.cluster_id);
        if (now !== found) throw wrongCluster(circumstances, found, now);
      },
    };
    try {
      // A token of the present cluster is none there.
      const request = login && { name: login.user, password: await passwordOf(login) };
      const token = request && (await link.call(hooks, ({ auth }) => auth.authenticate(request))).token;
      const { kvs } = await link.call({ ...hooks, token }, ({ kv }) => kv.range({ key: bytes(this.#markerKey) }));
      return kvs[0]?.value.toString("utf8");
    } catch (error) {
      closing.throwIfAborted();
      throw own.signal.aborted ? error : failureOf(error, circumstances);
    } finally {
      timer.abort(inTime);
      release();
      giveBack();
    }
  }
}
