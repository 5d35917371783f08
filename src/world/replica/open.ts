import { readdir } from "node:fs/promises";
import { uptime } from "node:os";
import { join } from "node:path";
import { randomInt } from "node:crypto";
import { QuorateError } from "../../errors.ts";
import { EtcdClient } from "../../etcd/index.ts";
import { keysUnder } from "../../keys.ts";
import type { Keys } from "../../keys.ts";
import { Bridge } from "./bridge.ts";
import { defaultMostBytes } from "./feeder-settings.ts";
import type { FeederSettings } from "./feeder-settings.ts";
import { groupId, ownFolder, ownFolders, ownSuffix, presentCluster, ReplicaFolder } from "./folder.ts";
import { FeederLink } from "./link.ts";
import { Replica } from "./replica.ts";
import type { ReplicaOptions } from "./types.ts";
import { wiresThrough } from "./way.ts";
import { readPosition } from "./wire.ts";

/**
 * Opens the World's keys for reading. Nothing is started before the first read or watch; the cluster is asked here only where neither
 * `folder` nor `clusterId` says which copy is meant.
 *
 * @throws QuorateError INVALID_OPTION; PREFIX_UNUSABLE; and UNREACHABLE or DEADLINE where the cluster has to be asked, does not answer,
 *   and no copy of it is known
 */
export async function openReplica(options: ReplicaOptions): Promise<Replica> {
  const keys = keysUnder(options.namespace ?? "/_mgmt");
  if (options.worldGroup !== undefined) groupId(options.worldGroup);
  const because: string[] = [];
  const wanted = options.folder === undefined ? undefined : new ReplicaFolder(options.folder);
  const none = whyNone(options);
  const record = none === undefined ? await wanted?.record() : undefined;
  const endpoints = [...new Set([...(options.endpoints ?? []), ...(record?.endpoints ?? [])])];
  if (endpoints.length === 0) {
    throw new QuorateError("INVALID_OPTION", "Cannot open the replica: there are no endpoints, and its folder knows none", {
      hint: "Name at least one endpoint, or the folder of a replica that is fed on this host",
      data: { option: "endpoints" },
    });
  }
  const { clock, log, uptimeMs = () => 1_000 * uptime() } = options;
  const clusterId = presentCluster(options.clusterId, record);
  const client = EtcdClient.create({
    endpoints,
    clock,
    ...(options.over === undefined ? await wiresThrough(options, clock) : { over: options.over }),
    ...(options.login === undefined ? {} : { login: options.login }),
    ...(log === undefined ? {} : { log }),
    ...(clusterId === undefined ? {} : { clusterId }),
    markerKey: keys.cluster,
  });
  try {
    const folder = none === undefined ? await usableFolder(options, wanted, keys, client, because) : undefined;
    if (none !== undefined) because.push(none);
    return new Replica({
      client,
      keys,
      clock,
      because,
      folder: folder?.path,
      link:
        folder === undefined
          ? undefined
          : (onNews) => new FeederLink(folder, settingsOf(options, folder, keys), clock, log, onNews),
      bridge: async (onNews) =>
        folder && (await Bridge.open(folder, settingsOf(options, folder, keys), { client, keys, clock, uptimeMs, onNews })),
      random: options.random ?? (() => randomInt(2 ** 32) / 2 ** 32),
      auditEveryMs: options.auditEveryMs,
      uptimeMs,
    });
  } catch (error) {
    await client.close();
    throw error;
  }
}

function whyNone({ replica, login }: ReplicaOptions): string | undefined {
  if (replica === false) return "no replica is wanted";
  return typeof login?.password === "string" ? "it logs in, and a feeder is not told passwords" : undefined;
}

function settingsOf(options: ReplicaOptions, folder: ReplicaFolder, keys: Keys): FeederSettings {
  const { clusterId, worldGroup, bootIdPath, ssh, tls, login, socket } = options;
  return {
    folder: folder.path,
    namespace: keys.namespace,
    endpoints: options.endpoints ?? [],
    mostBytes: options.mostBytes ?? defaultMostBytes,
    ...(ssh === undefined ? {} : { ssh }),
    ...(tls === undefined ? {} : { tls }),
    ...(socket === undefined ? {} : { socket }),
    ...(login === undefined || typeof login.password === "string" ? {} : { login: { ...login, password: login.password } }),
    ...(clusterId === undefined ? {} : { clusterId }),
    ...(worldGroup === undefined ? {} : { group: worldGroup }),
    ...(bootIdPath === undefined ? {} : { bootIdPath }),
  };
}

async function usableFolder(
  options: ReplicaOptions,
  wanted: ReplicaFolder | undefined,
  keys: Keys,
  client: EtcdClient,
  because: string[],
): Promise<ReplicaFolder> {
  if (wanted !== undefined) {
    const why = await wanted.whyNotUsable();
    if (why === undefined) {
      await wanted.make(options.worldGroup);
      return wanted;
    }
    because.push(why);
    options.log?.warn({ why }, "the replica's folder is another one");
  }
  const own = await cachedFolder(options, keys, client);
  await own.make(undefined);
  return own;
}

/** In the user's cache folder, by cluster and namespace; where the cluster does not answer, the copy that knows one of its endpoints. */
async function cachedFolder(options: ReplicaOptions, keys: Keys, client: EtcdClient): Promise<ReplicaFolder> {
  const parent = ownFolders();
  const means = { namespace: keys.namespace, ssh: options.ssh };
  await new ReplicaFolder(parent).make(undefined);
  try {
    const clusterId = options.clusterId ?? (await readPosition(client, keys.aroundWorld, {})).clusterId;
    return ownFolder(clusterId, means);
  } catch (error) {
    for (const name of await readdir(parent)) {
      if (!name.endsWith(ownSuffix(means))) continue;
      const folder = new ReplicaFolder(join(parent, name));
      const record = await folder.record();
      if (record?.endpoints.some((url) => options.endpoints?.includes(url) === true) === true) return folder;
    }
    throw error;
  }
}
