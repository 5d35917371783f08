import { QuorateError } from "../../errors.ts";
import { reasonOf } from "../../etcd/index.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { Copy } from "./copy.ts";
import type { Entry } from "./entry.ts";
import { longestKey } from "./format.ts";
import type { ReadOptions } from "./types.ts";
import { named, readPage } from "./wire.ts";

const mostKeys = 1_000;

/**
 * Compares what the copy has from a random key on, `at` from 0 up to 1, with the same part of the store at the copy's revision.
 *
 * @returns what differs; undefined where nothing does, or where that revision is compacted
 */
export async function compareWithCluster(
  copy: Copy,
  client: EtcdClient,
  keys: Keys,
  at: number,
  options: Pick<ReadOptions, "signal" | "timeoutMs">,
): Promise<string | undefined> {
  // All of one moment: nothing awaits until the part is taken.
  const start = copy.keyAt(at) ?? keys.world[0]!.start;
  const range = { start, end: keys.world.find(({ end }) => start < end)!.end };
  const ours = copy.range(range, mostKeys);
  const { revision } = copy;
  try {
    const page = await readPage(client, range, { revision, limit: mostKeys, ...options });
    const theirs = page.entries.filter(({ key }) => key.length <= longestKey).map(named);
    return difference(ours, theirs, revision, page.more);
  } catch (error) {
    if (error instanceof QuorateError && /compacted|future revision/.test(reasonOf(error))) return undefined;
    throw error;
  }
}

/** `more`: both were cut, not always at the same key. */
function difference(ours: readonly Entry[], theirs: readonly Entry[], revision: number, more: boolean): string | undefined {
  const text = ({ key, modRevision, createRevision, version, lease, value }: Entry): string =>
    `${key} ${modRevision} ${createRevision} ${version} ${lease} ${Buffer.from(value).toString("base64")}`;
  const length = Math.min(ours.length, theirs.length);
  for (let i = 0; i < length; i++) {
    if (text(ours[i]!) === text(theirs[i]!)) continue;
    return `at revision ${revision} the copy has ${ours[i]!.key} of ${ours[i]!.modRevision}, the cluster ${theirs[i]!.key} of ${theirs[i]!.modRevision}`;
  }
  if (ours.length === theirs.length || more) return undefined;
  return `at revision ${revision} the copy has ${ours.length} keys where the cluster has ${theirs.length}`;
}
