import {
  describeChange,
  differingFlags,
  policyChanges,
  policyFieldNames,
  policyFields,
  policySeen,
  showPolicyValue,
  whoCanNotLead,
  withoutChooser,
  type ClusterPolicy,
  type PolicyChange,
  type PolicySeen,
} from "../agent/control/policy.ts";
import { isRefused, readRecord, writeRecord, type AgentRecord } from "../agent/control/records.ts";
import { QuorateError } from "../errors.ts";
import type { KeyValue } from "../etcd/index.ts";
import { withCluster, type Cluster } from "./client.ts";
import { whyNoAnswer } from "./cluster.ts";
import type { Io } from "./io.ts";
import type { ClientSettings } from "./options.ts";
import { clip, encode, painter, plain, table } from "./output.ts";

/** The policy as it is in etcd, and who was started with other flags. */
interface Found {
  readonly policy: PolicySeen;
  /** The entry of the policy key. */
  readonly entry: KeyValue | undefined;
  /** Quorate founded or adopted this cluster. */
  readonly ours: boolean;
  readonly differing: string | undefined;
  /** By hostname. */
  readonly agents: ReadonlyMap<string, AgentRecord>;
}

/** `quorate policy get`: what the cluster keeps to, whoever leads. */
export async function getPolicy(settings: ClientSettings, io: Io): Promise<number> {
  const found = await withCluster(settings, read);
  if (settings.output !== "table") {
    const { inForce, written, refused } = found.policy;
    io.out(encode({ written, policy: inForce, refused, differingFlags: found.differing ?? null }, settings.output));
    return 0;
  }
  const rows = policyFieldNames.map((field) => [
    { text: policyFields[field].flag, style: "bold" as const },
    showPolicyValue(field, found.policy.inForce[field]),
    policyFields[field].means,
  ]);
  const chooser = [{ text: "chooser", style: "bold" as const }, found.policy.inForce.chooser, "what decides who holds a seat"];
  const columns = [{ title: "POLICY" }, { title: "VALUE" }, { title: "MEANS" }];
  const lines = table(columns, [...rows, chooser], painter(io.color), io.columns);
  const said = [...lines, ...remarks(found).map((line) => clip(plain(line), io.columns ?? Infinity))];
  io.out(`${said.join("\n")}\n`);
  return 0;
}

function remarks({ policy: { inForce, written, last, refused }, differing, agents }: Found): string[] {
  const idle = whoCanNotLead(inForce.chooser, agents);
  const lines: string[] = idle === undefined ? [] : [idle];
  if (!written) {
    lines.push(
      last === undefined
        ? "no policy is written: these are the defaults"
        : "the policy key was deleted: these were in force last",
    );
  }
  for (const why of refused) lines.push(`the policy key is refused in part: ${why}; what was good last stays in force`);
  if (differing !== undefined) lines.push(differing);
  return lines;
}

/** `quorate policy set`: changes what is given and nothing else, or nothing at all when somebody else changed it meanwhile for good. */
export async function setPolicy(settings: ClientSettings & { readonly change: Partial<ClusterPolicy> }, io: Io): Promise<number> {
  if (Object.keys(settings.change).length === 0) {
    throw new QuorateError("INVALID_OPTION", "Cannot set the policy: no flag says what to change", {
      hint: "like `quorate policy set --max-seats 5`; `quorate policy set --help` lists the flags",
    });
  }
  const { changes, policy, repaired } = await withCluster(settings, (cluster) => change(cluster, settings.change));
  if (settings.output !== "table") {
    io.out(encode({ changes, policy }, settings.output));
    return 0;
  }
  for (const why of repaired) io.err(`note: the policy key was refused in part and is written anew: ${plain(why)}\n`);
  if (changes.some(({ field }) => field === "strictReconfigCheck")) {
    io.err("note: servers take that up when they are started the next time\n");
  }
  if (changes.length > 0) io.out(`${changes.map(describeChange).join("\n")}\n`);
  else {
    const same = policyFieldNames
      .filter((field) => settings.change[field] !== undefined)
      .map((field) => `${policyFields[field].flag} is ${showPolicyValue(field, policy[field])}`);
    if (settings.change.chooser !== undefined) same.push(`chooser is ${policy.chooser}`);
    io.out(`nothing changed: ${same.join(", ")}\n`);
  }
  return 0;
}

interface Changed {
  readonly changes: readonly PolicyChange[];
  readonly policy: ClusterPolicy;
  /** What could not be read in the policy key before. */
  readonly repaired: readonly string[];
}

const mostTries = 20;

/** Reads, changes and writes back where nobody else has written meanwhile; else from the start. */
async function change(cluster: Cluster, wanted: Partial<ClusterPolicy>): Promise<Changed> {
  const { client, keys, signal } = cluster;
  for (let tries = 0; tries < mostTries; tries++) {
    const { policy: seen, entry, ours, agents } = await read(cluster);
    if (!ours) {
      throw new QuorateError("REFUSED", `Cannot set the policy: this cluster is not Quorate's (it has no key ${keys.cluster})`, {
        hint: "check --endpoints and --namespace",
      });
    }
    const policy = { ...seen.inForce, ...wanted };
    const changes = policyChanges(seen.inForce, policy);
    assertSomebodyLeads(policy.chooser, seen.inForce.chooser, agents);
    if (changes.length === 0 && seen.written && seen.refused.length === 0) return { changes, policy, repaired: [] };
    const unchanged = entry ? { key: keys.policy, modRevision: entry.modRevision } : { key: keys.policy, createRevision: 0 };
    const value = writeRecord("policy", { schema: 1, ...policy });
    const { succeeded } = await client.txn({ compare: [unchanged], then: [{ put: keys.policy, value }] }, { signal });
    if (succeeded) return { changes, policy, repaired: seen.refused };
  }
  throw new QuorateError("FAILED", `Cannot set the policy: somebody else changed it ${mostTries} times meanwhile`, {
    hint: "`quorate policy get` shows what it is now",
  });
}

/** A chooser that nobody has would leave the cluster without a leader. */
function assertSomebodyLeads(chooser: string, before: string, agents: Found["agents"]): void {
  if (chooser === before) return;
  const without = withoutChooser(chooser, agents);
  const able = [...agents].filter(([host, { etcd }]) => etcd !== undefined && !without.includes(host));
  if (able.length > 0 || agents.size === 0) return;
  throw new QuorateError("REFUSED", `Cannot set the chooser to ${chooser}: no agent that is alive has it, so none could lead`, {
    hint: "start agents with `startAgent({ chooser })` first; `dynamicsize` is the built-in one, which all have",
  });
}

/** @throws QuorateError as every command that asks a cluster. */
async function read({ client, keys, signal }: Cluster): Promise<Found> {
  const given = client.endpoints.urls();
  try {
    const { ranges } = await client.txn(
      {
        then: [
          ...[keys.policy, keys.lastPolicy, keys.cluster].map((key) => ({ range: key })),
          { range: keys.agents.start, end: keys.agents.end, limit: 1_000 },
        ],
      },
      { signal, repeatable: true },
    );
    const [policy, last, marker] = [0, 1, 2].map((i) => ranges[i]?.[0]);
    const seen = policySeen(policy?.value, last?.value);
    const agents = (ranges[3] ?? []).flatMap((entry) => {
      const record = readRecord("agentRecord", entry.value);
      const host = keys.agents.nameIn(entry.key);
      return host === undefined || isRefused(record) ? [] : [[host, record] as const];
    });
    const flags = agents.map(([host, record]) => [host, record.flags ?? {}] as const);
    const differing = differingFlags(new Map(flags), seen.inForce);
    return { policy: seen, entry: policy, ours: marker !== undefined, differing, agents: new Map(agents) };
  } catch (error) {
    throw await whyNoAnswer(client, given, error, signal);
  }
}
