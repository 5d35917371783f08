import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { SshHop } from "./options.ts";

/** Kinds of host keys that are asked for, best first. Not SHA-1's. */
const algorithms = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
] as const;
export type HostKeyAlgorithm = (typeof algorithms)[number];

/** What is known of the key of one host. */
export interface HostKeys {
  /** To be asked for in this order: a server that has several keys is to show the one that is known. */
  readonly algorithms: readonly HostKeyAlgorithm[];
  /** Fingerprints that are accepted; to be shown where another came. */
  readonly known: readonly string[];
  /** Where that was looked up, for people. */
  readonly from: string;
  accepts(key: Buffer): boolean;
}

/** What is known of a host: its pinned key, or what the files say. A file that is not there knows nobody. */
export async function hostKeysOf({ host, port, hostKey, knownHosts }: SshHop): Promise<HostKeys> {
  if (hostKey?.startsWith("SHA256:") === true) {
    const pinned = hostKey.replace(/=$/, "");
    return { algorithms, known: [pinned], from: "hostKey", accepts: (key) => fingerprint(key) === pinned };
  }
  const lines =
    hostKey === undefined
      ? knownIn((await Promise.all(knownHosts.map(textOf))).join("\n"), host, port)
      : [{ blob: Buffer.from(hostKey.split(" ")[1] ?? "", "base64"), revoked: false }];
  const good = lines.filter(({ revoked }) => !revoked).map(({ blob }) => blob);
  const bad = lines.filter(({ revoked }) => revoked).map(({ blob }) => blob);
  const isKnown = (name: string): boolean => good.some((blob) => typeOf(blob) === name.replace(/^rsa-sha2-.*$/, "ssh-rsa"));
  return {
    algorithms: [...algorithms.filter(isKnown), ...algorithms.filter((name) => !isKnown(name))],
    known: [...new Set(good.map(fingerprint))],
    from: hostKey === undefined ? knownHosts.join(", ") : "hostKey",
    accepts: (key) => !bad.some((blob) => blob.equals(key)) && good.some((blob) => blob.equals(key)),
  };
}

/** As `ssh-keygen -l` shows it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=$/, "")}`;
}

/** `ssh-ed25519` of a public key on the wire. */
export function typeOf(key: Buffer): string {
  return key.length < 4 ? "" : key.subarray(4, 4 + key.readUInt32BE(0)).toString("latin1");
}

interface Known {
  readonly blob: Buffer;
  readonly revoked: boolean;
}

/** What the text of known_hosts says of a host; of its port, where it names that. */
export function knownIn(text: string, host: string, port: number): readonly Known[] {
  const name = host.toLowerCase();
  const withPort = port === 22 ? [] : linesFor(text, `[${name}]:${port}`);
  return withPort.length > 0 ? withPort : linesFor(text, name);
}

function linesFor(text: string, name: string): readonly Known[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const marker = fields[0]?.startsWith("@") === true ? fields.shift() : undefined;
    const [hosts = "", type = "", base64 = ""] = fields;
    // Keys that sign other hosts' keys are not understood: then the host's own has to be known.
    if (hosts.startsWith("#") || base64 === "" || marker === "@cert-authority" || !covers(hosts, name)) return [];
    const blob = Buffer.from(base64, "base64");
    return typeOf(blob) === type ? [{ blob, revoked: marker === "@revoked" }] : [];
  });
}

function covers(hosts: string, name: string): boolean {
  if (hosts.startsWith("|1|")) {
    const [, , salt = "", hash = ""] = hosts.split("|");
    const found = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest();
    const wanted = Buffer.from(hash, "base64");
    return wanted.length === found.length && timingSafeEqual(found, wanted);
  }
  const patterns = hosts.toLowerCase().split(",");
  const matches = (pattern: string): boolean => patternOf(pattern).test(name);
  return (
    !patterns.some((pattern) => pattern.startsWith("!") && matches(pattern.slice(1))) &&
    patterns.some((pattern) => !pattern.startsWith("!") && matches(pattern))
  );
}

function patternOf(pattern: string): RegExp {
  const text = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${text.replaceAll("?", ".")}$`);
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch {
    return "";
  }
}
