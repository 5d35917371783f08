import { withCluster } from "./client.ts";
import { lookAtCluster, type ClusterView } from "./cluster.ts";
import type { Io } from "./io.ts";
import type { ClientSettings } from "./options.ts";
import { encode, painter, table, type Column, type Paint, type Style } from "./output.ts";
import { isHealthy, isRaftLeader, lagOf, roleOf, stateOf } from "./roles.ts";

/** `quorate members`: the seats of the cluster. */
export async function members(settings: ClientSettings, io: Io): Promise<number> {
  const view = await withCluster(settings, ({ client, keys, signal }) => lookAtCluster(client, keys, signal));
  if (settings.output === "table") io.out(`${membersTable(view, painter(io.color), io.columns).join("\n")}\n`);
  else io.out(encode(membersData(view), settings.output));
  return 0;
}

const columns: readonly Column[] = [
  { title: "HOST" },
  { title: "ROLE" },
  { title: "STATE" },
  { title: "ID", spare: 2 },
  { title: "CLIENT URLS", spare: 1 },
  { title: "SERVER URLS", spare: 3 },
  { title: "ETCD", spare: 4 },
  { title: "DB", spare: 5 },
];

/** Every member, one line each. */
export function membersTable(view: ClusterView, paint: Paint, width?: number): string[] {
  const rows = view.hosts.flatMap((host) => {
    if (!host.member) return [];
    const status = host.answer && "status" in host.answer ? host.answer.status : undefined;
    const role = roleOf(host, view);
    return [
      [
        { text: host.name, style: "bold" as const },
        isRaftLeader(host, view) ? `${role}, raft leader` : role,
        { text: stateOf(host), style: styleOf(isHealthy(host)) },
        host.member.id,
        host.member.clientUrls.join(","),
        host.member.peerUrls.join(","),
        status?.version ?? "",
        status ? bytes(status.dbSize) : "",
      ],
    ];
  });
  return table(columns, rows, paint, width);
}

const styleOf = (healthy: boolean): Style => (healthy ? "green" : "red");

/** The same for programs. */
export function membersData(view: ClusterView): unknown {
  return view.hosts.flatMap((host) => {
    if (!host.member) return [];
    const status = host.answer && "status" in host.answer ? host.answer.status : undefined;
    return [
      {
        hostname: host.name,
        id: host.member.id,
        role: roleOf(host, view),
        learner: host.member.learner,
        raftLeader: isRaftLeader(host, view),
        healthy: isHealthy(host),
        state: stateOf(host),
        clientUrls: host.member.clientUrls,
        serverUrls: host.member.peerUrls,
        etcd: status?.version ?? null,
        dbBytes: status?.dbSize ?? null,
        lag: lagOf(host, view) ?? null,
      },
    ];
  });
}

/** 1536 -> 1.5 KiB */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i] ?? ""}`;
}
