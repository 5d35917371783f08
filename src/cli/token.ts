import { readFile } from "node:fs/promises";
import { hashOf, newToken, writeToken, type TokenRecord } from "../agent/authority/token.ts";
import { QuorateError } from "../errors.ts";
import { type EtcdClient, grantLease } from "../etcd/index.ts";
import type { Keys } from "../keys.ts";
import { systemClock } from "../clock.ts";
import { withCluster } from "./client.ts";
import { type Host, lookAtCluster } from "./cluster.ts";
import type { Io } from "./io.ts";
import type { ClientSettings } from "./options.ts";
import { encode } from "./output.ts";
import { reachOf } from "./reach.ts";

/** Longer than an agent takes to show itself again. */
const agentsWaitMs = 5_000;
const lookEveryMs = 250;

/** `quorate token create`: what one host that joins shows once, to be given certificates. The token alone goes to standard output. */
export async function create(settings: ClientSettings & { readonly ttlMs: number }, io: Io): Promise<number> {
  const { tls } = await reachOf(settings);
  return withCluster(settings, async ({ client, keys, signal }) => {
    const hosts = await withAgents(client, keys, io, signal);
    const urls = hosts.flatMap(({ agent }) => agent?.join ?? []);
    if (urls.length === 0 || tls?.caFile === undefined) {
      throw new QuorateError("REFUSED", "Cannot make a token: no agent of this cluster gives certificates", {
        hint: "agents do that with --auto-tls; to one that was given its own, give the next one its own as well",
      });
    }
    const token = newToken(await readFile(tls.caFile, "utf8"), urls);
    const record: TokenRecord = { schema: 1, purpose: "join", hash: hashOf(token.secret) };
    const lease = await grantLease(client, { ttlMs: settings.ttlMs, clock: systemClock }, signal);
    await client.put(keys.tokens.key(token.id), JSON.stringify(record), { lease, signal });
    const text = writeToken(token);
    const seconds = Math.round(settings.ttlMs / 1_000);
    if (settings.output === "table") {
      io.out(`${text}\n`);
      io.err(
        `for one host, within ${seconds} s: quorate run --auto-tls --join-token-file=FILE --seeds=${client.endpoints.urls().join(",")}\n`,
      );
    } else io.out(encode({ token: text, id: token.id, seconds, urls }, settings.output));
    return 0;
  });
}

/**
 * The hosts, once each member's agent has said where it gives certificates, or that took too long: while the cluster finds a new leader their sessions
 * may end, and a token that names only those that are gone helps nobody.
 */
async function withAgents(client: EtcdClient, keys: Keys, io: Io, signal: AbortSignal): Promise<readonly Host[]> {
  const untilMs = systemClock.nowMs() + agentsWaitMs;
  for (let told = false; ; told = true) {
    const { hosts } = await lookAtCluster(client, keys, signal);
    const missing = hosts.filter(({ agent, member }) => member !== undefined && agent === undefined).map(({ name }) => name);
    if (missing.length === 0 || systemClock.nowMs() >= untilMs) return hosts;
    if (!told) io.err(`waiting for the agent of ${missing.join(", ")}: it is not there just now\n`);
    await systemClock.sleep(lookEveryMs, signal);
  }
}
