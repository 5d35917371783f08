import { createHash } from "node:crypto";
import { quote } from "../../../keys.ts";
import { WorldError } from "../../error.ts";
import { chunkBytes } from "./types.ts";
import type { Address, Attributes, Content, Entry, FileEntry, FolderEntry, LinkEntry } from "./types.ts";

// A folder is an object too: a JSON list of its entries, in the order of their names, always written alike, so that the same entries have
// the same address.

/** A folder whose object is known, or is known to become one. */
export type StoredFolder = FolderEntry & { readonly node: Address };
export type StoredEntry = FileEntry | StoredFolder | LinkEntry;
export type Entries = ReadonlyMap<string, StoredEntry>;

/** etcd takes 1.5 MiB at once. About 7,000 files. */
export const mostFolderBytes = 1024 * 1024;

export function addressOf(bytes: Uint8Array): Address {
  return `${createHash("sha256").update(bytes).digest("hex")}-${bytes.byteLength}`;
}

export function isAddress(text: string): boolean {
  return /^[0-9a-f]{64}-(0|[1-9][0-9]{0,8})$/.test(text);
}

export function bytesOf(address: Address): number {
  return Number(address.slice(65));
}

/** Of the n-th chunk. */
export function chunkAddress({ size, chunks }: Content, n: number): Address {
  return `${chunks[n]!}-${Math.min(chunkBytes, size - n * chunkBytes)}`;
}

export function chunkAddresses(content: Content): Address[] {
  return content.chunks.map((_, n) => chunkAddress(content, n));
}

export const noEntries: Entries = new Map();

export function encodeFolder(entries: Entries): Buffer {
  const names = [...entries.keys()].sort();
  return Buffer.from(JSON.stringify(names.map((name) => wireOf(name, entries.get(name)!))));
}

export const emptyFolderBytes = encodeFolder(noEntries);
/** Needs no object. */
export const emptyFolder: Address = addressOf(emptyFolderBytes);

function wireOf(name: string, entry: StoredEntry): object {
  const { mode, mtimeMs } = entry;
  if (entry.kind === "file") return { name, mode, mtimeMs, size: entry.size, chunks: entry.chunks };
  if (entry.kind === "link") return { name, mode, mtimeMs, target: entry.target };
  return { name, mode, mtimeMs, node: entry.node, entries: entry.entries, bytes: entry.bytes };
}

/** @throws WorldError INVALID_VALUE where it is not what `encodeFolder` makes */
export function parseFolder(address: Address, bytes: Buffer): Entries {
  let wire: unknown;
  try {
    wire = JSON.parse(bytes.toString("utf8"));
  } catch {
    wire = undefined;
  }
  if (!Array.isArray(wire)) throw damaged(address, "it is no folder");
  const entries = new Map<string, StoredEntry>();
  let last: string | undefined;
  for (const one of wire as unknown[]) {
    const parsed = parseEntry(one);
    if (parsed === undefined || (last !== undefined && parsed.name <= last))
      throw damaged(address, "an entry of it makes no sense");
    last = parsed.name;
    entries.set(parsed.name, parsed.entry);
  }
  return entries;
}

function parseEntry(wire: unknown): { readonly name: string; readonly entry: StoredEntry } | undefined {
  if (typeof wire !== "object" || wire === null) return undefined;
  const { name, mode, mtimeMs, size, chunks, target, node, entries, bytes } = wire as Readonly<Record<string, unknown>>;
  if (typeof name !== "string" || !isName(name) || !isCount(mode) || mode > 0o7777 || !Number.isSafeInteger(mtimeMs))
    return undefined;
  const attributes: Attributes = { mode, mtimeMs: mtimeMs as number };
  if (typeof target === "string") return { name, entry: { kind: "link", ...attributes, target } };
  if (typeof node === "string") {
    if (!isAddress(node) || !isCount(entries) || !isCount(bytes)) return undefined;
    return { name, entry: { kind: "folder", ...attributes, node, entries, bytes } };
  }
  if (!isCount(size) || !Array.isArray(chunks) || chunks.length !== Math.ceil(size / chunkBytes)) return undefined;
  if (!chunks.every((chunk) => typeof chunk === "string" && /^[0-9a-f]{64}$/.test(chunk))) return undefined;
  return { name, entry: { kind: "file", ...attributes, size, chunks: chunks as string[] } };
}

/** Of an entry. What is left of `/` in paths. */
function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name);
}

export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** Of all that is in a folder, at all levels. */
export function totalsOf(entries: Entries): { readonly entries: number; readonly bytes: number } {
  let [count, bytes] = [0, 0];
  for (const entry of entries.values()) {
    count += 1 + (entry.kind === "folder" ? entry.entries : 0);
    bytes += entry.kind === "folder" ? entry.bytes : entry.kind === "file" ? entry.size : 0;
  }
  return { entries: count, bytes };
}

/** Whether they are the same but for the time. */
export function isSame(a: Entry | undefined, b: Entry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.mode !== b.mode) return false;
  if (a.kind === "folder") return b.kind === "folder" && a.node !== undefined && a.node === b.node;
  if (a.kind === "link") return b.kind === "link" && a.target === b.target;
  return b.kind === "file" && isSameContent(a, b);
}

export function isSameContent(a: Content, b: Content): boolean {
  return a.size === b.size && a.chunks.length === b.chunks.length && a.chunks.every((chunk, n) => chunk === b.chunks[n]);
}

export function damaged(address: Address, state: string): WorldError {
  return new WorldError("INVALID_VALUE", `Cannot read the object ${quote(address)} of a tree: ${state}`, { data: { address } });
}

/** It is not kept any more. */
export function gone(address: Address): WorldError {
  return new WorldError("STALE", `Cannot read the object ${quote(address)} of a tree: it is not there any more`, {
    retryable: true,
    hint: "Read it from a snapshot, which keeps what is in it",
    data: { address },
  });
}
