import type { KeyRecord } from "../../../etcd/index.ts";
import { WorldError } from "../../error.ts";
import { emptyFolder, isAddress, isCount } from "./node.ts";
import type { StoredFolder } from "./node.ts";
import type { Address, Commit } from "./types.ts";

// The few records beside the objects, as JSON. Whoever cannot read one does not guess: what it says is needed may not be deleted.

/** Of a head, and of the log: the same text in both, written by one transaction. */
export interface CommitRecord extends Omit<Commit, "revision"> {
  /** Of this attempt alone, so that whoever made it knows it again. */
  readonly id: string;
}

export function encodeCommit(commit: CommitRecord): Buffer {
  const { id, root, parent, generation, by, at, entries, bytes } = commit;
  return Buffer.from(JSON.stringify({ root, parent, generation, by, at, entries, bytes, id }));
}

/** @throws WorldError INVALID_VALUE */
export function parseCommit(record: KeyRecord): Commit {
  const wire = parseJson(record);
  const { root, parent, generation, by, at, entries, bytes } = wire;
  const isWhole =
    typeof root === "string" && isAddress(root) && isCount(generation) && generation > 0 && isCount(entries) && isCount(bytes);
  if (!isWhole || (parent !== undefined && !(typeof parent === "string" && isAddress(parent)))) throw unreadable(record);
  return {
    root,
    parent,
    generation,
    by: typeof by === "string" ? by : "",
    at: typeof at === "string" ? at : "",
    entries,
    bytes,
    revision: record.modRevision,
  };
}

/** What somebody needs for as long as the record lives. */
export type Pin =
  /** A tree, and all of its objects. */
  | { readonly root: Address }
  /** The tree of that name as it was when the pin was made. */
  | { readonly tree: string }
  /** Likewise, and every object that was written or touched since. */
  | { readonly draft: string };

export function encodePin(pin: Pin): Buffer {
  return Buffer.from(JSON.stringify(pin));
}

/** @throws WorldError INVALID_VALUE */
export function parsePin(record: KeyRecord): Pin {
  const { root, tree, draft } = parseJson(record);
  if (typeof root === "string" && isAddress(root)) return { root };
  if (typeof tree === "string") return { tree };
  if (typeof draft === "string") return { draft };
  throw unreadable(record);
}

/** The root that a deploy names; undefined where its text is not like that, and so names none. */
export function rootOfDeploy(record: KeyRecord): Address | undefined {
  try {
    const { root } = parseJson(record);
    return typeof root === "string" && isAddress(root) ? root : undefined;
  } catch {
    return undefined;
  }
}

function parseJson(record: KeyRecord): Readonly<Record<string, unknown>> {
  try {
    const wire: unknown = JSON.parse(record.value.toString("utf8"));
    if (typeof wire === "object" && wire !== null) return wire as Readonly<Record<string, unknown>>;
  } catch {
    // Told below.
  }
  throw unreadable(record);
}

function unreadable({ key }: KeyRecord): WorldError {
  return new WorldError("INVALID_VALUE", `Cannot read ${key}: it is not what this version writes there`, {
    key,
    hint: "It was written by a newer version, or by hand",
  });
}

/** The uppermost folder of a commit; of no commit, an empty one. */
export function rootFolder(commit: Pick<Commit, "root" | "entries" | "bytes"> | undefined): StoredFolder {
  const { root, entries, bytes } = commit ?? { root: emptyFolder, entries: 0, bytes: 0 };
  return { kind: "folder", mode: 0o755, mtimeMs: 0, node: root, entries, bytes };
}
