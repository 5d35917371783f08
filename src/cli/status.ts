import { defaultPrefix } from "../agent/resolve.ts";
import { whoCanNotLead } from "../agent/control/policy.ts";
import { systemClock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { EtcdClient } from "../etcd/index.ts";
import type { Keys } from "../keys.ts";
import type { ReplicaLook } from "../world/replica/look.ts";
import { withCluster } from "./client.ts";
import { replicaData, replicaLines, replicasHere } from "./replicas.ts";
import { briefly, lookAtCluster, type ClusterView } from "./cluster.ts";
import type { Io } from "./io.ts";
import { bytes } from "./members.ts";
import type { ClientSettings } from "./options.ts";
import { clip, encode, painter, plain, table, type Paint } from "./output.ts";
import { chooserLine, count, isEvenStandby, isHealthy, isRaftLeader, lagOf, roleOf, stateOf, strengthOf } from "./roles.ts";

/** How one endpoint did when it was asked to commit something. */
export type EndpointHealth =
  | { readonly endpoint: string; readonly host: string | undefined; readonly committedInMs: number }
  | { readonly endpoint: string; readonly host: string | undefined; readonly learner: true; readonly answeredInMs: number }
  | { readonly endpoint: string; readonly host: string | undefined; readonly failed: string };

/** `quorate status`: one screen. With `endpointsHealth`, each endpoint also has to commit a proposal. `prefix`: of this host's agent. */
export async function status(
  settings: ClientSettings & { readonly endpointsHealth: boolean; readonly prefix: string | undefined },
  io: Io,
): Promise<number> {
  const paint = painter(io.color);
  return withCluster(settings, async ({ client, keys, signal }) => {
    let view: ClusterView | undefined;
    let failure: unknown;
    try {
      view = await lookAtCluster(client, keys, signal);
    } catch (error) {
      if (!settings.endpointsHealth || !(error instanceof QuorateError)) throw error;
      failure = error;
    }
    const health = settings.endpointsHealth
      ? await probeEndpoints(client, keys, view, client.endpoints.urls(), signal)
      : undefined;
    const replicas =
      view === undefined
        ? []
        : await replicasHere(settings.prefix ?? defaultPrefix(), { ...settings, namespace: keys.namespace }, view, signal);
    if (settings.output !== "table") {
      const seen = view === undefined ? {} : { ...statusData(view), replicas: replicas.map((one) => replicaData(one, view)) };
      io.out(encode({ ...seen, ...(health ? { endpoints: health } : {}) }, settings.output));
    } else {
      const lines = view ? statusScreen(view, keys.namespace, paint, io.columns, replicas) : [];
      if (health) lines.push(...(view ? [""] : []), ...healthTable(health, paint, io.columns));
      io.out(`${lines.join("\n")}\n`);
    }
    if (failure !== undefined) throw failure as QuorateError;
    return 0;
  });
}

/** The screen. Every line fits the width. */
export function statusScreen(
  view: ClusterView,
  namespace: string,
  paint: Paint,
  width?: number,
  replicas: readonly ReplicaLook[] = [],
): string[] {
  const line = (name: string, text: string, style?: Parameters<Paint>[0]): string => {
    const cut = clip(plain(text), (width ?? Infinity) - 11);
    return `${paint("dim", name.padEnd(11))}${paint(style, cut)}`;
  };
  const asked = view.hosts.find((host) => host.member?.clientUrls.includes(view.endpoint));
  const strength = strengthOf(view);
  const lines = [
    line("hostname", `${asked ? asked.name : "?"} at ${view.endpoint}`, "bold"),
    line("role", asked ? roleText(asked, view) : "unknown: no member advertises this endpoint"),
    line("leader", view.leader ?? "none: no agent leads"),
    line("members", membersText(view)),
    line("tolerance", toleranceText(view), strength.failureTolerance > 0 ? "green" : "yellow"),
    line("chooser", chooserLine(view), view.plan?.kind === "settled" ? "green" : "yellow"),
    ...because(view).map((text) => line("", text)),
    line(
      "cluster",
      `${view.clusterId}, ${view.marker ? foundedText(view.marker) : `not Quorate's (no key ${namespace}/quorate/cluster)`}`,
    ),
    ...replicas.flatMap((one) => {
      const [first = "", ...more] = replicaLines(one, view);
      return [line("replica", first, one.state === "live" ? undefined : "yellow"), ...more.map((text) => line("", text))];
    }),
    "",
  ];
  const rows = view.hosts.map((host) => {
    const answer = host.answer && "status" in host.answer ? host.answer.status : undefined;
    const lag = lagOf(host, view);
    return [
      { text: host.name, style: "bold" as const },
      { text: roleText(host, view), style: host.member ? undefined : ("dim" as const) },
      { text: stateOf(host), style: !host.member ? undefined : isHealthy(host) ? ("green" as const) : ("red" as const) },
      host.member?.clientUrls.join(",") ?? "",
      lag === undefined ? "" : String(lag),
      answer ? bytes(answer.dbSize) : "",
      answer?.version ?? host.agent?.etcd ?? "",
      host.agent?.zone ?? "",
    ];
  });
  const columns = [
    { title: "HOST" },
    { title: "ROLE" },
    { title: "STATE" },
    { title: "CLIENT URLS", spare: 1 },
    { title: "BEHIND", spare: 3 },
    { title: "DB", spare: 2 },
    { title: "ETCD", spare: 4 },
    ...(view.hosts.some((host) => (host.agent?.zone ?? "") !== "") ? [{ title: "ZONE", spare: 5 }] : []),
  ];
  return [...lines, ...table(columns, rows, paint, width)];
}

function roleText(host: ClusterView["hosts"][number], view: ClusterView): string {
  return [
    roleOf(host, view),
    ...(isRaftLeader(host, view) ? ["raft leader"] : []),
    ...(view.leader === host.name ? ["leader"] : []),
  ].join(", ");
}

function membersText(view: ClusterView): string {
  const { members, voters } = strengthOf(view);
  const wanted = view.ideal === undefined ? "" : ` of ${view.ideal}`;
  const learners = members - voters;
  return `${members}${wanted} (${count(voters, "voter")}${learners > 0 ? `, ${count(learners, "learner")}` : ""})`;
}

function foundedText({ foundedBy, predecessors = [] }: NonNullable<ClusterView["marker"]>): string {
  const last = predecessors.at(-1);
  return last === undefined ? `founded by ${foundedBy}` : `taken over by ${foundedBy}; successor of ${last}`;
}

function toleranceText(view: ClusterView): string {
  const { voters, healthyVoters, failureTolerance } = strengthOf(view);
  const health = healthyVoters === voters ? "" : ` (${healthyVoters} of ${voters} voters answer)`;
  if (failureTolerance > 0) return `can lose ${failureTolerance} of ${count(voters, "voter")}${health}`;
  if (failureTolerance === 0) return `can lose none of ${count(voters, "voter")}${health}`;
  return `${healthyVoters} of ${voters} voters answer from here`;
}

/** Why the chooser is where it is, and what keeps the cluster from its size. */
function because(view: ClusterView): string[] {
  const { plan } = view;
  const lines: string[] = alarmLines(view);
  if (plan?.kind === "settled" && plan.because !== "") lines.push(`because ${plan.because}`);
  if (plan?.blockedBy !== undefined) lines.push(`blocked by: ${plan.blockedBy}`);
  if (plan?.next !== undefined) lines.push(`after that: ${plan.next}`);
  if (plan?.held !== undefined) lines.push(`held back: ${plan.held}`);
  if (plan?.sizeRefused !== undefined) lines.push(`size in force: ${plan.ideal}; the size key is refused: ${plan.sizeRefused}`);
  if (view.ideal !== undefined && view.ideal > view.maxSeats) lines.push(`at most ${view.maxSeats} seats are filled`);
  if (plan?.kind === "settled" && isEvenStandby(view) && view.hosts.some((host) => host.member?.learner)) {
    const voters = strengthOf(view).voters;
    lines.push(
      `${voters + 1} voters would survive no more losses than ${voters}: the last seat is a learner, kept in sync (standby: even size)`,
    );
  }
  const idle = whoCanNotLead(
    view.chooser,
    view.hosts.flatMap(({ name, agent }) => (agent ? [[name, agent] as const] : [])),
  );
  // Without a leader nobody publishes it.
  const notices = plan?.notices ?? [];
  return [...lines, ...(idle === undefined || notices.includes(idle) ? [] : [idle]), ...notices];
}

/** What etcd's alarms mean. Under one nothing can be written, so that no agent can say it. */
function alarmLines({ hosts }: ClusterView): string[] {
  const errors = hosts.flatMap(({ answer }) => (answer && "status" in answer ? answer.status.errors : []));
  if (!errors.some((error) => error.includes("alarm:NOSPACE"))) return [];
  const inUse = Math.max(...hosts.map(({ answer }) => (answer && "status" in answer ? answer.status.dbSizeInUse : 0)));
  return [
    `etcd has no space left and refuses writes; the agent beside the raft leader frees what history takes (${bytes(inUse)} are in use)`,
    "if that is all there is: delete keys, or start all agents again with a larger --quota-backend-bytes",
  ];
}

/** The same for programs. */
export function statusData(view: ClusterView): Record<string, unknown> {
  const asked = view.hosts.find((host) => host.member?.clientUrls.includes(view.endpoint));
  const strength = strengthOf(view);
  return {
    hostname: asked?.name ?? null,
    role: asked ? roleOf(asked, view) : null,
    endpoint: view.endpoint,
    leader: view.leader ?? null,
    idealClusterSize: view.ideal ?? null,
    members: strength.members,
    voters: strength.voters,
    healthyVoters: strength.healthyVoters,
    failureTolerance: Math.max(0, strength.failureTolerance),
    chooserName: view.chooser,
    chooser: view.plan
      ? {
          kind: view.plan.kind,
          because: view.plan.because,
          blockedBy: view.plan.blockedBy ?? null,
          next: view.plan.next ?? null,
          held: view.plan.held ?? null,
          notices: view.plan.notices,
        }
      : null,
    paused: view.paused ?? null,
    closed: view.closed ?? null,
    clusterId: view.clusterId,
    foundedBy: view.marker?.foundedBy ?? null,
    predecessors: view.marker?.predecessors ?? [],
    revision: view.revision,
    hosts: view.hosts.map((host) => ({
      hostname: host.name,
      role: roleOf(host, view),
      leader: view.leader === host.name,
      raftLeader: isRaftLeader(host, view),
      healthy: host.member ? isHealthy(host) : null,
      state: stateOf(host),
      member: host.member?.id ?? null,
      clientUrls: host.member?.clientUrls ?? [],
      zone: host.agent?.zone ?? null,
      priority: host.agent?.priority ?? null,
    })),
  };
}

/**
 * Has every endpoint commit something: a txn that deletes a key nobody has. It costs one entry of the log and no revision, and is
 * allowed when space has run out. A host name has no colon, so the key cannot be anybody's.
 */
export async function probeEndpoints(
  client: EtcdClient,
  keys: Keys,
  view: ClusterView | undefined,
  given: readonly string[],
  signal: AbortSignal,
): Promise<EndpointHealth[]> {
  const known = new Map<string, { readonly host: string; readonly learner: boolean }>();
  for (const host of view?.hosts ?? []) {
    for (const url of host.member?.clientUrls ?? []) known.set(url, { host: host.name, learner: host.member?.learner === true });
  }
  const key = keys.preflight.key("endpoint:health");
  return Promise.all(
    [...new Set([...given, ...known.keys()])].map(async (endpoint): Promise<EndpointHealth> => {
      const host = known.get(endpoint)?.host;
      const startMs = systemClock.nowMs();
      try {
        if (known.get(endpoint)?.learner === true) {
          await client.status(endpoint, { signal });
          return { endpoint, host, learner: true, answeredInMs: systemClock.nowMs() - startMs };
        }
        await client.txn({ then: [{ del: key }] }, { endpoint, signal, repeatable: true });
        return { endpoint, host, committedInMs: systemClock.nowMs() - startMs };
      } catch (error) {
        signal.throwIfAborted();
        return { endpoint, host, failed: briefly(error) };
      }
    }),
  );
}

export function healthTable(health: readonly EndpointHealth[], paint: Paint, width?: number): string[] {
  const rows = health.map((one) => {
    if ("failed" in one) return [one.endpoint, one.host ?? "", { text: one.failed, style: "red" as const }];
    if ("learner" in one)
      return [
        one.endpoint,
        one.host ?? "",
        { text: `answered in ${ms(one.answeredInMs)} (a learner commits nothing)`, style: "green" as const },
      ];
    return [one.endpoint, one.host ?? "", { text: `committed a proposal in ${ms(one.committedInMs)}`, style: "green" as const }];
  });
  return table([{ title: "ENDPOINT" }, { title: "HOST" }, { title: "HEALTH" }], rows, paint, width);
}

const ms = (n: number): string => `${n < 10 ? n.toFixed(1) : Math.round(n)} ms`;
