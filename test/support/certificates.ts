import { X509Certificate } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import selfsigned from "selfsigned";
import { temporaryFolder } from "./etcd-server.ts";

/** PEM, and the files they are in. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly fingerprint: string;
}

export interface Authority extends Certificate {
  /** A certificate for servers and clients, signed by it. */
  issue(commonName: string, hosts?: readonly string[], valid?: Valid): Promise<Certificate>;
}

/** When a certificate counts. Default: from now on, for a year. */
export interface Valid {
  readonly from?: Date;
  readonly until?: Date;
}

const local = ["localhost", "127.0.0.1"];

/** A certificate authority of one test. Its files, and those of what it issues, are in `folder`; default: one of its own. */
export async function newAuthority(name = "test CA", given?: string): Promise<Authority> {
  const folder = given ?? (await temporaryFolder());
  const made = await selfsigned.generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  const root = await save(folder, "ca", made.cert, made.private);
  return {
    ...root,
    issue: async (commonName, hosts = local, { from, until } = {}) => {
      const leaf = await selfsigned.generate([{ name: "commonName", value: commonName }], {
        keyType: "ec",
        algorithm: "sha256",
        ca: { cert: root.cert, key: root.key },
        ...(from === undefined ? {} : { notBeforeDate: from }),
        ...(until === undefined ? {} : { notAfterDate: until }),
        extensions: [
          { name: "keyUsage", digitalSignature: true, critical: true },
          { name: "extKeyUsage", serverAuth: true, clientAuth: true },
          {
            name: "subjectAltName",
            altNames: hosts.map((host) =>
              isIP(host) === 0 ? { type: 2 as const, value: host } : { type: 7 as const, ip: host },
            ),
          },
        ],
      });
      return save(folder, commonName, leaf.cert, leaf.private);
    },
  };
}

async function save(folder: string, name: string, cert: string, key: string): Promise<Certificate> {
  const [certFile, keyFile] = [join(folder, `${name}.pem`), join(folder, `${name}-key.pem`)];
  await writeFile(certFile, cert, { mode: 0o600 });
  await writeFile(keyFile, key, { mode: 0o600 });
  return { cert, key, certFile, keyFile, fingerprint: new X509Certificate(cert).fingerprint256 };
}
