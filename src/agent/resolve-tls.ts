import { resolve as resolvePath } from "node:path";
import type { ServerTls } from "../embed/index.ts";
import type { FileLogin, TlsFiles } from "../etcd/index.ts";
import { quote } from "../keys.ts";
import { certificateFolder } from "./authority/folder.ts";
import { refuse, urls } from "./option-checks.ts";
import type { AgentOptions } from "./options.ts";

/** What an agent and its server show and trust, towards clients and towards peers. Paths are absolute. */
export interface AgentTls {
  readonly clients: SideTls | undefined;
  readonly peers: SideTls | undefined;
}

/** Of one side. Without a certificate only others are checked. */
export interface SideTls {
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly trustedCaFile?: string;
  readonly clientCertAuth: boolean;
}

/** The options of each side. */
export const tlsOptions = {
  clients: {
    certFile: "certFile",
    keyFile: "keyFile",
    trustedCaFile: "trustedCaFile",
    clientCertAuth: "clientCertAuth",
    listen: "clientUrls",
    advertise: "advertiseClientUrls",
  },
  peers: {
    certFile: "peerCertFile",
    keyFile: "peerKeyFile",
    trustedCaFile: "peerTrustedCaFile",
    clientCertAuth: "peerClientCertAuth",
    listen: "serverUrls",
    advertise: "advertiseServerUrls",
  },
} as const satisfies Record<keyof AgentTls, Record<string, keyof AgentOptions>>;

/** What it listens at unless it is told: by `https` where there is a certificate for that. */
export function usualUrl(side: keyof AgentTls, given: AgentOptions): string {
  const isSecure = given.autoTls === true || given[tlsOptions[side].certFile] !== undefined;
  const scheme = isSecure ? "https" : "http";
  return `${scheme}://127.0.0.1:${side === "clients" ? 2379 : 2380}`;
}

/** @throws QuorateError INVALID_OPTION. The files are looked at later, by `checkTls`. */
export function tlsGiven(given: AgentOptions): AgentTls {
  return Object.freeze({ clients: sideGiven(given, "clients"), peers: sideGiven(given, "peers") });
}

function sideGiven(given: AgentOptions, side: keyof AgentTls): SideTls | undefined {
  const names = tlsOptions[side];
  const [certFile, keyFile, trustedCaFile] = [names.certFile, names.keyFile, names.trustedCaFile].map((option) => {
    const path = given[option];
    if (path === "") refuse(option, "it must be the path of a file");
    return path === undefined ? undefined : resolvePath(path);
  });
  const clientCertAuth = given[names.clientCertAuth] ?? false;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const [there, missing] = certFile === undefined ? [names.keyFile, names.certFile] : [names.certFile, names.keyFile];
    refuse(there, `${missing} is missing beside it`, "a certificate is of no use without its key");
  }
  if (clientCertAuth && trustedCaFile === undefined) {
    refuse(
      names.clientCertAuth,
      `whose certificates count is not said`,
      `name the authority that signs them with ${names.trustedCaFile}`,
    );
  }
  if (certFile === undefined && trustedCaFile === undefined) return undefined;
  return Object.freeze({
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
    ...(trustedCaFile === undefined ? {} : { trustedCaFile }),
    clientCertAuth,
  });
}

/** What says otherwise, or needs certificates before there is a cluster that could give them. */
const notMade = [
  "certFile",
  "keyFile",
  "trustedCaFile",
  "peerCertFile",
  "peerKeyFile",
  "peerTrustedCaFile",
  "expect",
  "initialCluster",
  "discovery",
  "discoveryEndpoints",
  "discoverySrv",
] as const satisfies readonly (keyof AgentOptions)[];

/** @throws QuorateError INVALID_OPTION */
export function autoTlsGiven(given: AgentOptions): boolean {
  if (given.autoTls !== true) {
    for (const option of ["joinTokenFile", "joinUrls"] as const)
      if (given[option] !== undefined) refuse(option, "no certificates are made", "add --auto-tls");
    return false;
  }
  const other = notMade.find((option) => given[option] !== undefined);
  if (other !== undefined) refuse("autoTls", `${other} is given as well`, "choose one of the two");
  if (given.tmpPrefix === true)
    refuse("autoTls", "its certificates would be gone with the temporary prefix", "give it a --prefix that stays");
  if (given.joinTokenFile === "") refuse("joinTokenFile", "it must be the path of a file");
  return true;
}

/** The files under that prefix: everybody shows some, and is asked for them. */
export function madeIn(prefix: string): AgentTls {
  const { clients, peers } = certificateFolder(prefix);
  return Object.freeze({ clients: { ...clients, clientCertAuth: true }, peers: { ...peers, clientCertAuth: true } });
}

/** @throws QuorateError INVALID_OPTION */
export function joinUrlsGiven(
  given: AgentOptions,
  serverUrls: readonly string[],
  advertised: readonly string[],
): readonly string[] {
  const own = urls("joinUrls", given.joinUrls, [portAfter(serverUrls[0] ?? "", advertised[0] ?? "")]);
  const plain = own.find((url) => !url.startsWith("https:"));
  if (plain !== undefined) refuse("joinUrls", `${quote(plain)} would not be encrypted`, "begin it with https://");
  return own;
}

/** Others are told a host that they reach, where the server listens at every address. */
function portAfter(listened: string, advertised: string): string {
  const url = new URL(listened);
  const host = /^(0\.0\.0\.0|\[::\])$/.test(url.hostname) ? new URL(advertised).hostname : url.hostname;
  return `https://${host}:${Number(url.port) + 1}`;
}

/** @throws QuorateError INVALID_OPTION. The file is read later. */
export function loginGiven({ user, passwordFile }: AgentOptions): FileLogin | undefined {
  if (user === undefined && passwordFile === undefined) return undefined;
  if (user === undefined) refuse("passwordFile", "whose password it is is not said", "add --user=NAME");
  if (passwordFile === undefined || passwordFile === "")
    refuse("user", "no file with the password is given", "add --password-file=FILE");
  // What is behind a colon may be a password: it is not repeated.
  if (user === "" || user.includes(":"))
    refuse("user", "it must be the name of a user alone, without a colon", "give the password in a file");
  return Object.freeze({ user, password: { file: resolvePath(passwordFile) } });
}

/** URLs of one side, as they were resolved. */
interface Urls {
  readonly seeds: readonly string[];
  readonly clientUrls: readonly string[];
  readonly serverUrls: readonly string[];
  readonly advertiseClientUrls: readonly string[];
  readonly advertiseServerUrls: readonly string[];
}

/**
 * Encrypted or not is one for all URLs of a side; and beyond this machine it is encrypted unless it is said that it need not be.
 *
 * @throws QuorateError INVALID_OPTION
 */
export function assertSchemes(
  urls: Urls,
  tls: AgentTls,
  { server, insecure }: { readonly server: boolean; readonly insecure: boolean },
): void {
  if (server) for (const side of ["clients", "peers"] as const) assertSide(urls, side, tls[side]);
  if (insecure) return;
  const used = server
    ? (["seeds", "clientUrls", "serverUrls", "advertiseClientUrls", "advertiseServerUrls"] as const)
    : (["seeds"] as const);
  for (const option of used) {
    const open = urls[option].find((url) => url.startsWith("http:") && !isLoopback(url));
    if (open === undefined) continue;
    refuse(
      option,
      `what goes to ${quote(open)} and comes from there could be read and changed on the way`,
      "give https:// URLs, with --cert-file and its like, or add --insecure where nobody else can listen",
    );
  }
}

function assertSide(urls: Urls, side: keyof AgentTls, tls: SideTls | undefined): void {
  const { listen, advertise, certFile, keyFile } = tlsOptions[side];
  for (const option of [listen, advertise]) {
    const isWanted = tls?.certFile !== undefined;
    const wrong = urls[option].find((url) => url.startsWith("https:") !== isWanted);
    if (wrong === undefined) continue;
    if (isWanted) refuse(option, `${quote(wrong)} would not show the certificate of ${certFile}`, "begin it with https://");
    refuse(option, `${quote(wrong)} needs a certificate to show`, `add ${certFile} and ${keyFile}, or begin it with http://`);
  }
}

function isLoopback(url: string): boolean {
  return /^http:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\]):/.test(url);
}

/** What a connection to that side is made with; undefined: what Node trusts, and nothing to show. */
export function filesOf(side: SideTls | undefined): TlsFiles | undefined {
  if (side === undefined) return undefined;
  const { certFile, keyFile, trustedCaFile: caFile } = side;
  return {
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
  };
}

/** What etcd shows and asks for there; undefined where it speaks plain http. */
export function serverTlsOf(side: SideTls | undefined): ServerTls | undefined {
  if (side?.certFile === undefined || side.keyFile === undefined) return undefined;
  const { certFile, keyFile, trustedCaFile, clientCertAuth } = side;
  return { certFile, keyFile, clientCertAuth, ...(trustedCaFile === undefined ? {} : { trustedCaFile }) };
}
