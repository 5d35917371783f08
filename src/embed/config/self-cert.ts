import { access, mkdir, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { isIP } from "node:net";
import { join } from "node:path";
import { systemClock } from "../../clock.ts";
import type { Config } from "./config.ts";
import { ConfigError } from "./error.ts";
import { addressOf, isUnix } from "./urls.ts";
import { dataDirOf } from "./values.ts";

/** Certificate and key of a {@link TLSInfo}. */
export interface SelfCert {
  readonly certFile: string;
  readonly keyFile: string;
}

/**
 * A certificate that signed itself, for the hosts of those URLs, and its key: those in the folder `fixtures/<side>` of the data where both
 * are there, new ones otherwise, as etcd makes them for `--auto-tls`.
 *
 * @throws ConfigError IncompleteTLS where they cannot be made
 */
export async function selfCert(config: Config, side: "client" | "peer", urls: readonly string[]): Promise<SelfCert> {
  const folder = join(dataDirOf(config), "fixtures", side);
  const files = { certFile: join(folder, "cert.pem"), keyFile: join(folder, "key.pem") };
  try {
    if ((await exists(files.certFile)) && (await exists(files.keyFile))) return files;
    const { cert, key } = await generate(hostsOf(urls), config.selfSignedCertValidity ?? 1);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(files.certFile, cert, { mode: 0o600 });
    await writeFile(files.keyFile, key, { mode: 0o600 });
    return files;
  } catch (cause) {
    throw new ConfigError("IncompleteTLS", `Cannot make a certificate in ${folder}`, { cause, field: `${side}AutoTLS` });
  }
}

/** Good for servers and clients, from now on. */
async function generate(hosts: readonly string[], years: number): Promise<{ readonly cert: string; readonly key: string }> {
  // Most programs need none.
  const { default: selfsigned } = await import("selfsigned");
  const from = systemClock.wallTime();
  const until = new Date(from);
  until.setUTCFullYear(until.getUTCFullYear() + years);
  const altNames = hosts.map((host) => (isIP(host) === 0 ? { type: 2 as const, value: host } : { type: 7 as const, ip: host }));
  const { cert, private: key } = await selfsigned.generate([{ name: "organizationName", value: "etcd" }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: from,
    notAfterDate: until,
    extensions: [
      { name: "basicConstraints", cA: false, critical: true },
      { name: "keyUsage", digitalSignature: true, keyEncipherment: true, critical: true },
      { name: "extKeyUsage", serverAuth: true, clientAuth: true },
      { name: "subjectAltName", altNames },
    ],
  });
  return { cert, key };
}

/** Of a URL that listens everywhere: this host's own name, and itself. */
function hostsOf(urls: readonly string[]): string[] {
  const hosts = urls.flatMap((url) => {
    if (isUnix(url)) return [];
    const { host } = addressOf(url, "the URLs to listen on");
    return host === "0.0.0.0" || host === "::" ? [hostname(), "localhost", "127.0.0.1", "::1"] : [host];
  });
  return [...new Set(hosts.length === 0 ? ["localhost"] : hosts)];
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
