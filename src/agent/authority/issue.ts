import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import type * as X509 from "@peculiar/x509";

/** PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** Who a certificate is of: a host by its name, and by what its URLs call it. */
export interface Holder {
  readonly hostname: string;
  readonly hosts: readonly string[];
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dayMs = 24 * 60 * 60 * 1_000;
const authorityDays = 10 * 365;
export const leafDays = 365;
/** Clocks of hosts differ. */
const earlierMs = 60 * 60 * 1_000;

/** Most agents need none. */
async function x509(): Promise<typeof X509> {
  const library = await import("@peculiar/x509");
  library.cryptoProvider.set(webcrypto);
  return library;
}

/** A new authority, which signs itself. */
export async function newAuthority(name: string, now: Date): Promise<Pair> {
  const lib = await x509();
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const cert = await lib.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now.getTime() - earlierMs),
    notAfter: new Date(now.getTime() + authorityDays * dayMs),
    extensions: [
      new lib.BasicConstraintsExtension(true, 0, true),
      new lib.KeyUsagesExtension(lib.KeyUsageFlags.keyCertSign | lib.KeyUsageFlags.cRLSign, true),
      await lib.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  return {
    cert: `${cert.toString("pem")}\n`,
    key: createPrivateKey({ key, format: "der", type: "pkcs8" }).export({ format: "pem", type: "pkcs8" }).toString(),
  };
}

/** A new private key, in PEM. */
export function newKey(): string {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "pem", type: "pkcs8" }).toString();
}

/** The public one of it, in PEM: all that who signs has to know. */
export function publicKeyOf(key: string): string {
  return createPublicKey(key).export({ format: "pem", type: "spki" }).toString();
}

/**
 * A certificate of that key for that host, good for servers and for clients.
 *
 * @throws where the key is none, or of another kind
 */
export async function issue(authority: Pair, publicKey: string, { hostname, hosts }: Holder, now: Date): Promise<string> {
  const lib = await x509();
  const der = createPrivateKey(authority.key).export({ format: "der", type: "pkcs8" });
  const signingKey = await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
  const spki = createPublicKey(publicKey).export({ format: "der", type: "spki" });
  const held = await webcrypto.subtle.importKey("spki", spki, algorithm, true, ["verify"]);
  const issuer = new lib.X509Certificate(authority.cert);
  const names = [...new Set(hosts)].map((host) => ({ type: isIP(host) === 0 ? ("dns" as const) : ("ip" as const), value: host }));
  const cert = await lib.X509CertificateGenerator.create({
    // No common name: etcd takes that for the user's, and a host by the name of "root" would need no password.
    subject: [{ OU: [hostname] }],
    issuer: issuer.subject,
    publicKey: held,
    signingKey,
    signingAlgorithm: algorithm,
    notBefore: new Date(now.getTime() - earlierMs),
    notAfter: new Date(now.getTime() + leafDays * dayMs),
    extensions: [
      new lib.BasicConstraintsExtension(false, undefined, true),
      new lib.KeyUsagesExtension(lib.KeyUsageFlags.digitalSignature, true),
      new lib.ExtendedKeyUsageExtension([lib.ExtendedKeyUsage.serverAuth, lib.ExtendedKeyUsage.clientAuth]),
      new lib.SubjectAlternativeNameExtension(names),
      await lib.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return `${cert.toString("pem")}\n`;
}
