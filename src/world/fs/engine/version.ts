import { createHash } from "node:crypto";
import type { FsVersion } from "../../api/fs.ts";
import type { Entry } from "./types.ts";

/** What others are told of an entry. Of a file of one chunk the hash is the SHA-256 of its bytes. */
export function versionOf(entry: Entry): FsVersion {
  const { kind, mode } = entry;
  if (entry.kind === "file")
    return { kind, mode, size: entry.size, hash: entry.chunks.length === 1 ? entry.chunks[0]! : sha256(entry.chunks.join("\n")) };
  if (entry.kind === "link") return { kind, mode, size: Buffer.byteLength(entry.target), hash: sha256(entry.target) };
  return { kind, mode, size: 0, hash: (entry.node ?? "").slice(0, 64) };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
