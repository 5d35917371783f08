import { own } from "../command-words.ts";
import { valueOf, wholeCount, type Env, type Flag, type Given } from "../options.ts";
import { commonFlags, worldSettings, type WorldSettings } from "../world/settings.ts";

/** The flags of `quorate fs`, and what they say. */

export const fsFlags = {
  tree: own("tree", "URI", "which tree: a name, or a URI like etcdfs:///fs/site (default: main)"),
  at: own("at", "ROOT", "as it was at that root, which `quorate fs log` shows (default: as it is)"),
  recursive: own("recursive", undefined, "also what is in the folders below"),
  down: own("down", undefined, "the other way: the local folder becomes what the tree is"),
  keep: own("keep", undefined, "delete nothing of what is on the other side alone"),
  newest: {
    ...own("newest", "N", "only the newest N (default: all that are kept)"),
    short: "n",
    read: (texts) => wholeCount(texts.at(-1) ?? ""),
  } satisfies Flag<number>,
  dryRun: own("dry-run", undefined, "delete nothing, and tell what would be"),
} as const satisfies Record<string, Flag<unknown>>;

export { commonFlags };

export interface FsSettings extends WorldSettings {
  readonly uri: string;
  readonly at: string | undefined;
}

/** @throws QuorateError INVALID_OPTION */
export function fsSettings(given: Given, env: Env): FsSettings {
  return {
    ...worldSettings(given, env),
    uri: uriOf(valueOf(fsFlags.tree, given, env) ?? "main"),
    at: valueOf(fsFlags.at, given, {}),
  };
}

/** Of a tree that is named, or is given by its URI. */
export function uriOf(tree: string): string {
  return /^[a-z]+:/.test(tree) ? tree : `etcdfs:///fs/${encodeURI(tree)}`;
}
