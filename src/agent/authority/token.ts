import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { QuorateError } from "../../errors.ts";
import { whyNotUrl } from "../../keys.ts";

/** What a host that joins is told: where to ask, by what, and whom it will meet there. */
export interface JoinToken {
  readonly id: string;
  readonly secret: string;
  /** Certificate of the authority that signs for clients, in PEM: nobody else is trusted. */
  readonly ca: string;
  /** `https` URLs of agents that sign. */
  readonly urls: readonly string[];
}

const idForm = /^[0-9a-f]{16}$/;
const tokenSchema = z.object({
  v: z.literal(1),
  id: z.string().regex(idForm),
  secret: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  ca: z.string().max(10_000),
  urls: z.array(z.string().max(300)).min(1).max(64),
});

const prefix = "quorate-join-";

export function newToken(ca: string, urls: readonly string[]): JoinToken {
  return { id: randomBytes(8).toString("hex"), secret: randomBytes(32).toString("base64url"), ca, urls };
}

/** One word. */
export function writeToken({ id, secret, ca, urls }: JoinToken): string {
  return prefix + Buffer.from(JSON.stringify({ v: 1, id, secret, ca, urls })).toString("base64url");
}

/** @throws QuorateError INVALID_OPTION, which does not repeat it */
export function readToken(text: string): JoinToken {
  try {
    const word = text.trim();
    if (!word.startsWith(prefix) || word.length > 30_000) throw new Error("it does not begin as one");
    const { v: _, ...token } = tokenSchema.parse(
      JSON.parse(Buffer.from(word.slice(prefix.length), "base64url").toString("utf8")),
    );
    const wrong = token.urls.find((url) => !url.startsWith("https:") || whyNotUrl(url) !== undefined);
    if (wrong !== undefined) throw new Error("an address in it is none");
    return token;
  } catch (cause) {
    throw new QuorateError("INVALID_OPTION", "Cannot use the join token: it is no token, or not all of one", {
      hint: "make one on a host of the cluster with `quorate token create`, and keep its one line as it is",
      cause: cause instanceof SyntaxError ? undefined : cause,
      data: { option: "joinTokenFile" },
    });
  }
}

/** What is kept of it in etcd, on a lease of its life. */
const recordSchema = z.object({
  schema: z.literal(1),
  purpose: z.literal("join"),
  /** SHA-256 of the secret, hex. */
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Whose it was: who asks again for the same, as its answer was lost, is answered again. */
  usedBy: z.string().max(100).optional(),
});
export type TokenRecord = z.infer<typeof recordSchema>;

export function tokenRecord(text: string): TokenRecord | undefined {
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

export function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

export function fits(record: TokenRecord, secret: string): boolean {
  return timingSafeEqual(Buffer.from(record.hash, "hex"), Buffer.from(hashOf(secret), "hex"));
}
