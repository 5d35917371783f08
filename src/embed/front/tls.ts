import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type { SecureContextOptions, SecureVersion, Server, TLSSocket, TlsOptions } from "node:tls";
import type { Logger } from "pino";
import type { Config } from "../config/config.ts";

/** What the front shows, and asks to be shown, on its secure client URLs: as etcd would. */
export class ClientTLS {
  readonly #config: Pick<Config, "clientTLSInfo" | "cipherSuites" | "tlsMinVersion" | "tlsMaxVersion">;
  readonly #log: Logger | undefined;
  #seen = "";

  constructor(config: Config, log: Logger | undefined) {
    this.#config = config;
    this.#log = log;
  }

  /** What a server begins with. Throws what reading the files throws. */
  options(): TlsOptions {
    const { clientCertAuth } = this.#config.clientTLSInfo;
    this.#seen = this.#versions();
    return {
      ...this.#context(),
      requestCert: clientCertAuth,
      rejectUnauthorized: clientCertAuth,
      ALPNProtocols: ["h2", "http/1.1"],
    };
  }

  /** From the next connection on the server shows what is in the files now. While they cannot be read it keeps what it has. */
  refresh(server: Server): void {
    try {
      const now = this.#versions();
      if (now === this.#seen) return;
      server.setSecureContext(this.#context());
      this.#seen = now;
    } catch (error) {
      this.#log?.warn({ err: error }, "Cannot read the certificate anew: the one before is shown");
    }
  }

  /** Whether this client may come in, beyond that its certificate is signed. */
  admits(socket: TLSSocket): boolean {
    const { allowedHostnames } = this.#config.clientTLSInfo;
    if (allowedHostnames.length === 0) return true;
    const shown = socket.getPeerX509Certificate();
    return shown instanceof X509Certificate && allowedHostnames.some((host) => shown.checkHost(host) !== undefined);
  }

  #context(): SecureContextOptions {
    const { clientTLSInfo, cipherSuites, tlsMinVersion, tlsMaxVersion } = this.#config;
    const { certFile, keyFile, trustedCAFile } = clientTLSInfo;
    return {
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
      ...(trustedCAFile === "" ? {} : { ca: readFileSync(trustedCAFile) }),
      ...(cipherSuites.length === 0 ? {} : { ciphers: cipherSuites.map(opensslName).join(":") }),
      minVersion: versionName(tlsMinVersion) ?? "TLSv1.2",
      ...(versionName(tlsMaxVersion) === undefined ? {} : { maxVersion: versionName(tlsMaxVersion) }),
    };
  }

  #versions(): string {
    const { certFile, keyFile, trustedCAFile } = this.#config.clientTLSInfo;
    return [certFile, keyFile, trustedCAFile]
      .filter((file) => file !== "")
      .map((file) => {
        const { mtimeMs, size, ino } = statSync(file);
        return `${mtimeMs} ${size} ${ino}`;
      })
      .join();
  }
}

function versionName(version: string | undefined): SecureVersion | undefined {
  return version === undefined || version === "" ? undefined : (version.replace("TLS", "TLSv") as SecureVersion);
}

/** A cipher suite by Go's name, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", by that of OpenSSL, "ECDHE-RSA-AES128-GCM-SHA256". */
export function opensslName(suite: string): string {
  return suite
    .replace(/^TLS_(RSA_WITH_)?/, "")
    .replace("_WITH_", "_")
    .replace(/AES_(\d+)_(CBC_)?/, "AES$1_")
    .replace(/(CHACHA20_POLY1305)_SHA256$/, "$1")
    .replaceAll("_", "-");
}
