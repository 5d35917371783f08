import { isUtf8 } from "node:buffer";
import { isHostname, quote } from "../keys.ts";
import { WorldError } from "./error.ts";

/** LMDB takes keys of 1,978 bytes at most (FACTS.md). */
const longestKey = 1_900;
/** etcd takes requests of 1.5 MiB. */
export const largestValue = 1024 * 1024;

/** @throws WorldError INVALID_NAME; programs without types come by here too */
export function checkName(what: string, name: string): void {
  const why = whyNotName(name);
  if (why === undefined) return;
  throw new WorldError("INVALID_NAME", `Cannot use ${shown(name)} as ${what}: ${why}`, { data: { name } });
}

function whyNotName(name: unknown): string | undefined {
  if (typeof name !== "string") return `it is not a string but ${typeof name}`;
  if (name === "") return "it is empty";
  if (!name.isWellFormed()) return "it has half a surrogate pair, which is no valid UTF-8";
  if (name.includes("\ufffd")) return "it has the mark of bytes that were not valid UTF-8 (U+FFFD)";
  return undefined;
}

/** A name as it was given, which may be none: fit for a message. */
export function shown(name: unknown): string {
  return typeof name === "string" ? quote(name.toWellFormed()) : String(name);
}

/** @throws WorldError INVALID_NAME */
export function checkHost(what: string, host: string): void {
  if (typeof host === "string" && isHostname(host)) return;
  throw new WorldError("INVALID_NAME", `Cannot use ${shown(host)} as ${what}: it is not a host name`, {
    hint: "A host name has letters, digits, dots, dashes and underscores, 253 at most",
    data: { name: host },
  });
}

/** @throws WorldError NAME_TOO_LONG */
export function checkKey(key: string): string {
  // Most are far from it.
  if (key.length * 3 <= longestKey) return key;
  const bytes = Buffer.byteLength(key);
  if (bytes <= longestKey) return key;
  throw new WorldError(
    "NAME_TOO_LONG",
    `Cannot use the key ${quote(key)}: it has ${bytes} bytes, at most ${longestKey} are allowed`,
    {
      hint: "The namespace and everything that names the value are part of it",
      data: { bytes, most: longestKey },
    },
  );
}

/** @throws WorldError INVALID_VALUE, TOO_LARGE */
export function checkValue(key: string, value: string): void {
  const given: unknown = value;
  if (typeof given !== "string") {
    throw new WorldError("INVALID_VALUE", `Cannot write ${key}: the value is not a string but ${typeof given}`, { key });
  }
  if (!given.isWellFormed()) {
    throw new WorldError("INVALID_VALUE", `Cannot write ${key}: the value has half a surrogate pair, which is no valid UTF-8`, {
      key,
    });
  }
  if (given.length * 3 <= largestValue) return;
  const bytes = Buffer.byteLength(given);
  if (bytes <= largestValue) return;
  throw new WorldError("TOO_LARGE", `Cannot write ${key}: the value has ${bytes} bytes, at most ${largestValue} are allowed`, {
    key,
    data: { bytes, most: largestValue },
  });
}

/** Undefined where the bytes are not UTF-8. */
export function textOf(bytes: Uint8Array): string | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString("utf8");
  return text.includes("\ufffd") && !isUtf8(buffer) ? undefined : text;
}
