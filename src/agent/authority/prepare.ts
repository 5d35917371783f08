import { readFile } from "node:fs/promises";
import { request } from "node:https";
import type { Logger } from "pino";
import { z } from "zod";
import { within, type Clock } from "../../clock.ts";
import { QuorateError, messageOf } from "../../errors.ts";
import type { Prefix } from "../begin/state.ts";
import type { ResolvedOptions } from "../resolve.ts";
import { certificateFolder, readIfThere, writeSecretly, type CertificateFolder } from "./folder.ts";
import { issue, newAuthority, newKey, publicKeyOf, type Holder } from "./issue.ts";
import { newSecret, seal } from "./sealed.ts";
import { readToken, type JoinToken } from "./token.ts";

export const joinPath = "/quorate/join";
const askMs = 10_000;
const mostBytes = 200_000;

/** What who joins asks for. */
export const askedSchema = z.object({
  schema: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{16}$/),
  secret: z.string().max(100),
  hostname: z.string().max(253),
  hosts: z.array(z.string().max(253)).max(32),
  /** Public keys, in PEM. */
  clients: z.string().max(2_000),
  peers: z.string().max(2_000),
});
export type Asked = z.infer<typeof askedSchema>;

const pem = z.string().max(10_000);
const given = z.object({ cert: pem, ca: pem });
/** What it is given. */
export const givenSchema = z.object({
  schema: z.literal(1),
  clients: given,
  peers: given,
  secret: z.string().max(100),
  authorities: z.string().max(100_000),
});
export type Given = z.infer<typeof givenSchema>;

const refusedSchema = z.object({ error: z.string().max(1_000) });

interface PrepareDeps {
  readonly options: ResolvedOptions;
  readonly prefix: Pick<Prefix, "folder" | "state">;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Sees to it that an agent with `autoTls` has its certificates: those it has, or new ones. Whoever founds a cluster makes its authorities; whoever
 * joins one asks an agent of it, by a token.
 *
 * @throws QuorateError INVALID_OPTION (no token, or none that can be read), REFUSED (it is not taken), UNREACHABLE
 */
export async function prepareCertificates({ options, prefix, clock, log }: PrepareDeps, signal: AbortSignal): Promise<void> {
  const folder = certificateFolder(prefix.folder);
  if ((await readIfThere(folder.secret)) !== undefined) return;
  const holder = holderOf(options);
  // Whose cluster has authorities already, or has none, is not helped by new ones.
  const founds = options.seeds.length === 0 && (prefix.state.clusterId === undefined || options.newCluster);
  if (founds) {
    await foundAuthorities(folder, holder, clock.wallTime());
    log.info({ folder: folder.path }, "made the authorities of a new cluster");
    return;
  }
  if (options.joinTokenFile === undefined || options.seeds.length === 0) {
    const { clusterId } = prefix.state;
    const whose = clusterId === undefined ? "" : ` of cluster ${clusterId}`;
    throw new QuorateError("INVALID_OPTION", `Cannot use option autoTls: there are no certificates${whose} in ${folder.path}`, {
      hint: "make a token on a host of the cluster with `quorate token create`, and name the file it is in with --join-token-file, and the cluster with --seeds",
      data: { option: "autoTls" },
    });
  }
  const token = readToken(await readTokenFile(options.joinTokenFile));
  await joinWith(folder, token, holder, clock, signal);
  log.info({ folder: folder.path }, "was given certificates by the cluster");
}

async function readTokenFile(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new QuorateError("INVALID_OPTION", `Cannot use option joinTokenFile: ${file} cannot be read: ${messageOf(error)}`, {
      cause: error,
      data: { option: "joinTokenFile" },
    });
  }
}

/** All names and addresses that others, and programs of this host, reach it by. */
export function holderOf({ hostname, ...urls }: ResolvedOptions): Holder {
  const all = [
    ...urls.clientUrls,
    ...urls.serverUrls,
    ...urls.advertiseClientUrls,
    ...urls.advertiseServerUrls,
    ...urls.joinUrls,
  ];
  const hosts = all
    .map((url) => new URL(url).hostname.replace(/^\[|\]$/g, ""))
    .filter((host) => host !== "0.0.0.0" && host !== "::");
  return { hostname, hosts: [...new Set([...hosts, "localhost", "127.0.0.1", "::1"])] };
}

async function foundAuthorities(folder: CertificateFolder, holder: Holder, now: Date): Promise<void> {
  const [clients, peers] = await Promise.all([newAuthority("Quorate clients", now), newAuthority("Quorate peers", now)]);
  const secret = newSecret();
  for (const [side, authority] of [
    ["clients", clients],
    ["peers", peers],
  ] as const) {
    const key = newKey();
    await writeSecretly(folder, folder[side].keyFile, key);
    await writeSecretly(folder, folder[side].certFile, await issue(authority, publicKeyOf(key), holder, now));
    await writeSecretly(folder, folder[side].trustedCaFile, authority.cert);
  }
  await writeSecretly(folder, folder.authorities, seal({ clients, peers }, secret));
  // The last: with it the folder is complete.
  await writeSecretly(folder, folder.secret, secret);
}

async function joinWith(
  folder: CertificateFolder,
  token: JoinToken,
  holder: Holder,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  // Kept first: whoever asks again after a crash is the same.
  const key = async (file: string): Promise<string> => {
    const there = await readIfThere(file);
    if (there !== undefined) return there;
    const made = newKey();
    await writeSecretly(folder, file, made);
    return made;
  };
  const [clients, peers] = [publicKeyOf(await key(folder.clients.keyFile)), publicKeyOf(await key(folder.peers.keyFile))];
  const { id, secret } = token;
  const body: Asked = { schema: 1, id, secret, hostname: holder.hostname, hosts: [...holder.hosts], clients, peers };
  const answer = await askAny(token, body, clock, signal);
  for (const side of ["clients", "peers"] as const) {
    await writeSecretly(folder, folder[side].certFile, answer[side].cert);
    await writeSecretly(folder, folder[side].trustedCaFile, answer[side].ca);
  }
  await writeSecretly(folder, folder.authorities, answer.authorities);
  await writeSecretly(folder, folder.secret, answer.secret);
}

/** One after the other, until one signs or refuses. */
async function askAny({ urls, ca }: JoinToken, body: Asked, clock: Clock, signal: AbortSignal): Promise<Given> {
  const failures: Error[] = [];
  for (const url of urls) {
    try {
      return await askOne(url, ca, body, clock, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof QuorateError && error.code === "REFUSED") throw error;
      failures.push(new Error(`${url}: ${messageOf(error)}`));
    }
  }
  throw new QuorateError("UNREACHABLE", "Cannot join by the token: none of the agents it names answers", {
    cause: new AggregateError(failures),
    hint: "start one of them, or make a new token on a host whose agent runs",
    data: { urls },
  });
}

function askOne(url: string, ca: string, body: Asked, clock: Clock, signal: AbortSignal): Promise<Given> {
  const ask = (own: AbortSignal): Promise<Given> =>
    new Promise((resolve, reject) => {
      const asking = request(
        url + joinPath,
        { method: "POST", ca, agent: false, signal: own, headers: { "content-type": "application/json", connection: "close" } },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (part: string) => {
            text += part;
            if (text.length > mostBytes) asking.destroy(new Error("the answer is too long"));
          });
          response.on("error", reject);
          response.on("end", () => {
            try {
              const told: unknown = JSON.parse(text);
              if (response.statusCode === 200) resolve(givenSchema.parse(told));
              else reject(refusal(url, refusedSchema.parse(told).error));
            } catch (error) {
              reject(
                new Error(`it answers with HTTP status ${response.statusCode ?? 0}, and not as an agent does`, { cause: error }),
              );
            }
          });
        },
      );
      asking.on("error", reject);
      asking.end(JSON.stringify(body));
    });
  return within(askMs, clock, signal, ask, () => new Error(`no answer within ${askMs} ms`));
}

function refusal(url: string, why: string): QuorateError {
  return new QuorateError("REFUSED", `Cannot join by the token: ${url} refused it: ${why}`, {
    hint: "make a new one on a host of the cluster with `quorate token create`",
    data: { endpoint: url },
  });
}
