import dns from "node:dns/promises";
import { messageOf } from "../../errors.ts";
import type { Config } from "./config.ts";
import { ConfigError } from "./error.ts";
import { addressOf, isUnix } from "./urls.ts";

/**
 * The `initialCluster` that the SRV records of `dnsCluster` say, as the reference reads them: `_etcd-server-ssl._tcp` for https and
 * `_etcd-server._tcp` for http, each with what `dnsClusterServiceName` appends. The target that resolves to a peer URL which this member
 * advertises has its name, the others are counted.
 *
 * @throws ConfigError InvalidInitialCluster where there are none, where a target's scheme is not that of the peer URL, or where none is
 * this member
 */
export async function dnsCluster(
  config: Readonly<Pick<Config, "name" | "dnsCluster" | "dnsClusterServiceName">> & { readonly apUrls: readonly string[] },
): Promise<string> {
  const { name, dnsCluster: domain, dnsClusterServiceName: suffix } = config;
  const invalid = (why: string, cause?: unknown): ConfigError =>
    new ConfigError("InvalidInitialCluster", `Cannot find the members by the SRV records of ${domain}: ${why}`, {
      field: "dnsCluster",
      cause,
    });
  const ownScheme = new Map<string, string>();
  for (const url of config.apUrls) {
    if (isUnix(url)) continue;
    const { scheme, host, port } = addressOf(url, "apUrls");
    ownScheme.set(await resolved(host, port), scheme);
  }
  const members: string[] = [];
  const failures: string[] = [];
  let counted = 0;
  for (const [scheme, service] of [
    ["https", "etcd-server-ssl"],
    ["http", "etcd-server"],
  ] as const) {
    const record = `_${service}${suffix === "" ? "" : `-${suffix}`}._tcp.${domain}`;
    const targets = await dns.resolveSrv(record).catch((error: unknown) => {
      failures.push(`${record}: ${messageOf(error)}`);
      return [];
    });
    for (const { name: target, port } of targets) {
      const host = target.replace(/\.$/, "");
      const own = await resolved(host, String(port)).then(
        (address) => ownScheme.get(address),
        (error: unknown) => {
          failures.push(`${host}: ${messageOf(error)}`);
          return null;
        },
      );
      if (own === null) continue;
      if (own !== undefined && own !== scheme) throw invalid(`${record} names ${host}:${port}, which is advertised by ${own}`);
      members.push(`${own === undefined ? counted++ : name}=${scheme}://${host}:${port}`);
    }
  }
  if (members.length === 0) throw invalid(failures.join("; ") || "they name none");
  if (!members.some((one) => one.startsWith(`${name}=`))) {
    throw invalid(`none of their targets is a peer URL of ${name}: ${config.apUrls.join(", ")}`);
  }
  return members.join(",");
}

async function resolved(host: string, port: string): Promise<string> {
  const { address } = await dns.lookup(host);
  return `${address} ${port}`;
}

/**
 * The client URLs that the SRV records of a domain name: `_etcd-client-ssl._tcp` for https, `_etcd-client._tcp` for http, each with what
 * `service` appends.
 *
 * @throws ConfigError InvalidURL where they name none
 */
export async function dnsEndpoints(domain: string, service: string): Promise<readonly string[]> {
  const failures: string[] = [];
  const found = await Promise.all(
    (
      [
        ["https", "etcd-client-ssl"],
        ["http", "etcd-client"],
      ] as const
    ).map(async ([scheme, name]) => {
      const record = `_${name}${service === "" ? "" : `-${service}`}._tcp.${domain}`;
      const targets = await dns.resolveSrv(record).catch((error: unknown) => {
        failures.push(`${record}: ${messageOf(error)}`);
        return [];
      });
      return targets.map((target) => `${scheme}://${target.name.replace(/\.$/, "")}:${target.port}`);
    }),
  );
  const urls = found.flat();
  if (urls.length > 0) return urls;
  throw new ConfigError("InvalidURL", `Cannot find endpoints by the SRV records of ${domain}: ${failures.join("; ")}`, {
    field: "dnsCluster",
  });
}
