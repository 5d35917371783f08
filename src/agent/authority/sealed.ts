import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { z } from "zod";
import type { Pair } from "./issue.ts";

/** The cluster's authorities, one that clients trust and one that peers do. */
export interface Authorities {
  readonly clients: Pair;
  readonly peers: Pair;
}

const pair = z.object({ cert: z.string().max(10_000), key: z.string().max(10_000) });
const authorities = z.object({ clients: pair, peers: pair });

/** What lies in etcd, where whoever may read the namespace can read it: of no use without the secret. */
const sealed = z.object({
  schema: z.literal(1),
  salt: z.string().max(100),
  iv: z.string().max(100),
  tag: z.string().max(100),
  data: z.string().max(100_000),
});

const cipher = "aes-256-gcm";

function keyOf(secret: string, salt: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", Buffer.from(secret, "base64url"), salt, "quorate authorities", 32));
}

export function newSecret(): string {
  return randomBytes(32).toString("base64url");
}

/** As JSON. AES-256-GCM under a key of its own, which HKDF makes of the secret. */
export function seal(what: Authorities, secret: string): string {
  const [salt, iv] = [randomBytes(32), randomBytes(12)];
  const to = createCipheriv(cipher, keyOf(secret, salt), iv);
  const data = Buffer.concat([to.update(JSON.stringify(what), "utf8"), to.final()]);
  const text = (bytes: Buffer): string => bytes.toString("base64url");
  return JSON.stringify({ schema: 1, salt: text(salt), iv: text(iv), tag: text(to.getAuthTag()), data: text(data) });
}

/** Undefined where it is not sealed, or not with that secret. */
export function unseal(text: string, secret: string): Authorities | undefined {
  try {
    const { salt, iv, tag, data } = sealed.parse(JSON.parse(text));
    const bytes = (part: string): Buffer => Buffer.from(part, "base64url");
    const from = createDecipheriv(cipher, keyOf(secret, bytes(salt)), bytes(iv), { authTagLength: 16 });
    from.setAuthTag(bytes(tag));
    const plain = Buffer.concat([from.update(bytes(data)), from.final()]).toString("utf8");
    return authorities.parse(JSON.parse(plain));
  } catch {
    return undefined;
  }
}
