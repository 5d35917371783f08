import { defaultPolicy, type ChooserPolicy } from "../../chooser/index.ts";
import type { EtcdClient, Leadership, Op } from "../../etcd/index.ts";
import { quote, type Keys } from "../../keys.ts";
import { firstMarker, policyText } from "../first-keys.ts";
import { policyChanges, type ClusterPolicy } from "../policy.ts";
import { writeRecord } from "../records.ts";
import type { ResolvedOptions } from "../resolve.ts";
import type { Look } from "./look.ts";

interface KeepDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly options: ResolvedOptions;
  readonly leadership: Leadership;
}

/** Keeps what the cluster as a whole goes by: marker, size and policy, and the last good ones of the latter two. */
export class Keeper {
  readonly #deps: KeepDeps;
  #marker: string | undefined;
  #policy: ClusterPolicy | undefined;

  constructor(deps: KeepDeps) {
    this.#deps = deps;
  }

  /** The policy in force: the cluster's own; this leader's flags only where the cluster has none. */
  policy({ policy }: Look): ClusterPolicy {
    if (policy.written || policy.last !== undefined) return policy.inForce;
    return this.#policy ?? this.#deps.options.policy;
  }

  /** Writes what is missing, and what has changed. All writes are the leader's alone. */
  async keep(look: Look, signal: AbortSignal): Promise<void> {
    await this.#keepMarker(look, signal);
    await this.#keepSize(look, signal);
    await this.#keepPolicy(look, signal);
  }

  /** Without the marker nobody could join any more. What is there and cannot be read is left to people: status names it. */
  async #keepMarker({ marker, membership: { clusterId }, refused }: Look, signal: AbortSignal): Promise<void> {
    const { keys, options } = this.#deps;
    if (marker) this.#marker = writeRecord("marker", marker);
    else if (!refused.some((why) => why.startsWith(quote(keys.cluster)))) {
      await this.#write([{ put: keys.cluster, value: this.#marker ?? firstMarker(clusterId, options) }], keys.cluster, signal);
    }
  }

  /** The last good size is kept, and written again when the size key was deleted. */
  async #keepSize({ size }: Look, signal: AbortSignal): Promise<void> {
    const { keys, options } = this.#deps;
    const good = size.asked !== undefined && size.asked > 0 ? size.asked : undefined;
    if (good !== undefined && good !== size.last) {
      await this.#write([{ put: keys.lastSize, value: String(good) }], undefined, signal);
    } else if (size.asked === undefined && size.refused === undefined) {
      const value = String(size.last ?? options.idealClusterSize);
      await this.#write([{ put: keys.idealClusterSize, value }], keys.idealClusterSize, signal);
    }
  }

  /** The last good policy is kept, and written again when the policy key was deleted. */
  async #keepPolicy(look: Look, signal: AbortSignal): Promise<void> {
    const { keys } = this.#deps;
    const { written, last } = look.policy;
    const inForce = this.policy(look);
    this.#policy = inForce;
    if (!written) await this.#write([{ put: keys.policy, value: policyText(inForce) }], keys.policy, signal);
    if (last === undefined || last.chooser !== inForce.chooser || policyChanges(last, inForce).length > 0) {
      await this.#write([{ put: keys.lastPolicy, value: policyText(inForce) }], undefined, signal);
    }
  }

  /** Whoever else leads now, or wrote `absent` meanwhile, has the say. */
  async #write(then: readonly Op[], absent: string | undefined, signal: AbortSignal): Promise<void> {
    const { client, leadership } = this.#deps;
    const compare = [leadership.fence(), ...(absent === undefined ? [] : [{ key: absent, createRevision: 0 }])];
    await client.txn({ compare, then }, { signal, repeatable: true });
  }
}

/** The policy for the chooser. A new leader waits one session TTL of its own before it removes any surplus. */
export function chooserPolicy(policy: ClusterPolicy, settleMs: number): ChooserPolicy {
  const { restartGraceMs: _grace, chooser: _chooser, ...known } = policy;
  return { ...defaultPolicy, settleMs, ...known };
}
