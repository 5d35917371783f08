import { defaultPolicy, type ChooserPolicy, type Facts } from "../../chooser/index.ts";
import type { EtcdClient, Leadership, Op } from "../../etcd/index.ts";
import { quote, type Keys } from "../../keys.ts";
import { firstMarker, policyText } from "../begin/first-keys.ts";
import { describeChange, policyChanges, type ClusterPolicy } from "../control/policy.ts";
import { writeRecord } from "../control/records.ts";
import type { ResolvedOptions } from "../resolve.ts";
import type { EventLog } from "./events.ts";
import type { Look } from "./look.ts";

interface KeepDeps {
  readonly client: EtcdClient;
  readonly keys: Keys;
  readonly options: ResolvedOptions;
  readonly leadership: Leadership;
  readonly events: EventLog;
}

/** A look, and the facts that go with what is told of it. */
interface Seen {
  readonly look: Look;
  readonly facts: Facts;
}

/**
 * Keeps what the cluster as a whole goes by: marker, size and policy, and the last good ones of the latter two. Tells of what has
 * changed there, of agents that ask to leave, and of itself.
 */
export class Keeper {
  readonly #deps: KeepDeps;
  readonly #told = new Set<string>();
  #marker: string | undefined;
  #policy: ClusterPolicy | undefined;
  /** Size 0 was seen last. */
  #closing = false;

  constructor(deps: KeepDeps) {
    this.#deps = deps;
  }

  /** The policy in force: the cluster's own; this leader's flags only where the cluster has none. */
  policy({ policy }: Look): ClusterPolicy {
    if (policy.written || policy.last !== undefined) return policy.inForce;
    return this.#policy ?? this.#deps.options.policy;
  }

  /** Writes what is missing, and what has changed. All writes are the leader's alone. */
  async keep(seen: Seen, signal: AbortSignal): Promise<void> {
    await this.#tellLeader(seen, signal);
    await this.#tellLeavers(seen, signal);
    await this.#keepMarker(seen.look, signal);
    await this.#keepSize(seen, signal);
    await this.#keepClosing(seen, signal);
    await this.#keepPolicy(seen, signal);
  }

  async #tellLeader({ look, facts }: Seen, signal: AbortSignal): Promise<void> {
    if (this.#told.has("lead")) return;
    const { events, options } = this.#deps;
    const agent = options.hostname;
    const told = { step: "lead", agent, what: `${agent} leads now`, because: "it was elected" } as const;
    await this.#write([events.put(look.membership.revision, { ...told, facts })], undefined, signal);
    this.#told.add("lead");
  }

  /** A leader that takes over while an agent leaves may find that told already. */
  async #tellLeavers({ look, facts }: Seen, signal: AbortSignal): Promise<void> {
    const { client, events, leadership } = this.#deps;
    for (const [agent, revision] of look.leavingSince) {
      const name = `leave-${agent}`;
      if (this.#told.has(`${revision} ${name}`)) continue;
      const told = { step: "leave", agent, what: `${agent} asked to leave`, because: "it was told to, or ended by ^C" } as const;
      const { op, compare } = events.putOnce(revision, name, { ...told, facts });
      await client.txn({ compare: [leadership.fence(), compare], then: [op] }, { signal, repeatable: true });
      this.#told.add(`${revision} ${name}`);
    }
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
  async #keepSize({ look: { size, membership }, facts }: Seen, signal: AbortSignal): Promise<void> {
    const { keys, options, events } = this.#deps;
    const tell = (what: string, because: string): Op => events.put(membership.revision, { step: "size", what, because, facts });
    const good = size.asked !== undefined && size.asked > 0 ? size.asked : undefined;
    if (good !== undefined && good !== size.last) {
      const what = size.last === undefined ? `the size is ${good}` : `the size is ${good} now, it was ${size.last}`;
      await this.#write([{ put: keys.lastSize, value: String(good) }, tell(what, "the size key says so")], undefined, signal);
    } else if (size.asked === undefined && size.refused === undefined) {
      const value = String(size.last ?? options.idealClusterSize);
      const again = tell(
        size.last === undefined ? `wrote the first size, ${value}` : `wrote the size ${value} again`,
        size.last === undefined ? "the cluster had none" : "the size key was deleted",
      );
      await this.#write([{ put: keys.idealClusterSize, value }, again], keys.idealClusterSize, signal);
    }
  }

  /** Tells of size 0 and of its being taken back; what was written for it goes when the size is another one. */
  async #keepClosing({ look: { size, closed, confirmed, membership }, facts }: Seen, signal: AbortSignal): Promise<void> {
    const { client, events, keys, leadership } = this.#deps;
    if (size.asked === 0) {
      this.#closing = true;
      const name = "size-0";
      if (this.#told.has(`${size.revision} ${name}`)) return;
      const what = `the size is 0: the cluster is to be shut down${size.last === undefined ? "" : `; it was ${size.last}`}`;
      const because =
        size.confirmedBy === undefined ? "the size key says so" : `\`quorate size 0\` on ${size.confirmedBy} says so`;
      const { op, compare } = events.putOnce(size.revision, name, { step: "size", what, because, facts });
      await client.txn({ compare: [leadership.fence(), compare], then: [op] }, { signal, repeatable: true });
      this.#told.add(`${size.revision} ${name}`);
      return;
    }
    const stale = [...(closed ? [{ del: keys.closed }] : []), ...(confirmed ? [{ del: keys.closing }] : [])];
    const takenBack = this.#closing && size.asked !== undefined && size.asked === size.last;
    this.#closing = false;
    if (stale.length === 0 && !takenBack) return;
    const what = `the size is ${size.asked ?? size.last ?? "another one"} again: the shutdown is taken back`;
    const told = events.put(membership.revision, { step: "size", what, because: "the size key says so", facts });
    await this.#write([...stale, ...(takenBack ? [told] : [])], undefined, signal);
  }

  /** The last good policy is kept, and written again when the policy key was deleted. */
  async #keepPolicy({ look, facts }: Seen, signal: AbortSignal): Promise<void> {
    const { keys, events } = this.#deps;
    const { written, last } = look.policy;
    const tell = (what: string, because: string): Op =>
      events.put(look.membership.revision, { step: "policy", what, because, facts });
    const inForce = this.policy(look);
    const deleted = last !== undefined || this.#policy !== undefined;
    this.#policy = inForce;
    if (!written) {
      const again = deleted
        ? tell("wrote the policy again", "the policy key was deleted")
        : tell("wrote the first policy", "the cluster had none");
      await this.#write([{ put: keys.policy, value: policyText(inForce) }, again], keys.policy, signal);
    }
    const keepLast = (): Op => ({ put: keys.lastPolicy, value: policyText(inForce) });
    if (last === undefined) return this.#write([keepLast()], undefined, signal);
    const changes = policyChanges(last, inForce).map(describeChange);
    if (changes.length === 0) return;
    const changed = tell(`the policy changed: ${changes.join(", ")}`, "the policy key says so");
    await this.#write([keepLast(), changed], undefined, signal);
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
