import { isIP } from "node:net";
import { ConfigError } from "./error.ts";

const schemes: readonly string[] = ["http", "https", "unix", "unixs"];

interface Address {
  readonly scheme: string;
  /** Without brackets. */
  readonly host: string;
  readonly port: string;
}

/**
 * A URL as etcd takes it: a scheme, a host and a port, no path.
 *
 * @throws ConfigError InvalidURL
 */
export function addressOf(url: string, field: string): Address {
  const invalid = (why: string): ConfigError =>
    new ConfigError("InvalidURL", `Cannot use ${JSON.stringify(url)} as one of ${field}: ${why}`, {
      field,
      hint: "write it as http://127.0.0.1:2379, https://[::1]:2379 or unix://name:0",
    });
  const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/.exec(url) ?? [];
  if (scheme === "") throw invalid("it has no scheme");
  if (!schemes.includes(scheme)) throw invalid(`its scheme must be one of ${schemes.join(", ")}`);
  const isSocket = scheme.startsWith("unix");
  if (isSocket) {
    if (rest === "") throw invalid("it names no socket");
    return { scheme, host: rest, port: "" };
  }
  if (rest.includes("@")) throw invalid("it names a user");
  const [, bracketed, plain, port = ""] = /^(?:\[([^\]]*)\]|([^:/?#]*)):(\d+)\/?$/.exec(rest) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) throw invalid(/[/?#]./.test(rest) ? "it has a path" : "it has no port");
  if (bracketed !== undefined && isIP(bracketed.replace(/%.*$/, "")) !== 6)
    throw invalid("what is in brackets is no IPv6 address");
  if (Number(port) > 65_535) throw invalid(`there is no port ${port}`);
  return { scheme, host, port };
}

export function isUnix(url: string): boolean {
  return /^unixs?:/.test(url);
}

/** Whether who listens there speaks TLS. */
export function isSecure(url: string): boolean {
  return /^(https|unixs):/.test(url);
}

/**
 * To listen on: an IP address, or localhost.
 *
 * @throws ConfigError InvalidURL, ExpectedIP
 */
export function checkBindURLs(urls: readonly string[], field: string): void {
  for (const url of urls) {
    const { host } = addressOf(url, field);
    if (isUnix(url) || host === "localhost" || isIP(host.replace(/%.*$/, "")) !== 0) continue;
    throw new ConfigError(
      "ExpectedIP",
      `Cannot listen on ${url}: ${host === "" ? "it names no host" : `${host} is no IP address`}`,
      {
        field,
        hint: "listen on an address of this host, or on 0.0.0.0 or [::] for all of them, and advertise the name",
      },
    );
  }
}

/**
 * To be told to others: any host.
 *
 * @throws ConfigError InvalidURL
 */
export function checkHostURLs(urls: readonly string[], field: string): void {
  for (const url of urls) {
    if (addressOf(url, field).host !== "") continue;
    throw new ConfigError("InvalidURL", `Cannot advertise ${url}: it names no host`, { field });
  }
}

/** A comma-separated list as files and flags have it. */
export function urlsOf(text: string): string[] {
  return text
    .split(",")
    .map((url) => url.trim())
    .filter((url) => url !== "");
}
