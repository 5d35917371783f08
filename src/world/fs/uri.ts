import { fileURLToPath } from "node:url";
import { quote } from "../../keys.ts";
import { WorldError } from "../error.ts";

/** What a URI names. */
export type FsPlace =
  /** A tree that the cluster has. */
  | { readonly kind: "etcd"; readonly name: string }
  /** A tree of this World alone, which ends with it. */
  | { readonly kind: "memory"; readonly name: string }
  /** A folder of this machine, as an absolute path without a slash at the end. */
  | { readonly kind: "local"; readonly folder: string };

/** Of which a World is where nobody says another one. */
export const defaultUri = "etcdfs:///fs/main";

/** @throws WorldError INVALID_OPTION */
export function placeOf(uri: unknown): FsPlace {
  if (typeof uri !== "string") throw refused(String(uri), "it is no string");
  const [, scheme = "", rest = ""] = /^([a-z]+):\/\/(.*)$/s.exec(uri) ?? [];
  if (scheme === "file") {
    let path: string;
    try {
      path = fileURLToPath(uri);
    } catch (error) {
      throw refused(uri, "it names no folder of this machine", error);
    }
    return { kind: "local", folder: path.length > 1 ? path.replace(/\/+$/, "") : path };
  }
  if (scheme === "memory") return { kind: "memory", name: nameIn(uri, rest) };
  if (scheme === "etcdfs") {
    if (!rest.startsWith("/fs/")) throw refused(uri, "what is behind etcdfs:// has to begin with /fs/");
    return { kind: "etcd", name: nameIn(uri, rest.slice("/fs/".length)) };
  }
  throw refused(uri, "it begins with none of etcdfs://, file:// and memory://");
}

/** A name may have levels, as `deploy/7` has. */
function nameIn(uri: string, text: string): string {
  let name: string;
  try {
    name = decodeURIComponent(text);
  } catch (error) {
    throw refused(uri, "a percent sign in it stands for nothing", error);
  }
  const isName = name !== "" && name.split("/").every((level) => level !== "" && level !== "." && level !== "..");
  if (!isName || !name.isWellFormed() || /[\0\ufffd]/.test(name)) throw refused(uri, "it names no tree");
  if (Buffer.byteLength(name) > 255) throw refused(uri, "its name has more than 255 bytes");
  return name;
}

function refused(uri: string, why: string, cause?: unknown): WorldError {
  return new WorldError("INVALID_OPTION", `Cannot use ${quote(uri.toWellFormed())} as the URI of a tree: ${why}`, {
    hint: "like etcdfs:///fs/site, file:///srv/site or memory://site",
    cause,
    data: { option: "uri" },
  });
}
