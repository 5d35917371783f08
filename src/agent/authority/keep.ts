import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import type { EtcdClient } from "../../etcd/index.ts";
import type { Keys } from "../../keys.ts";
import type { ControlView } from "../control/control-view.ts";
import { readIfThere, writeSecretly, type CertificateFolder } from "./folder.ts";
import { issue, leafDays, publicKeyOf, type Holder } from "./issue.ts";
import { unseal } from "./sealed.ts";

interface KeepDeps {
  readonly client: EtcdClient;
  readonly view: Pick<ControlView, "get">;
  readonly keys: Keys;
  readonly folder: CertificateFolder;
  readonly holder: Holder;
  readonly clock: Clock;
  readonly log: Logger;
}

const everyMs = 5_000;
const dayMs = 24 * 60 * 60 * 1_000;

/**
 * Looks every few seconds, and asks nobody while all is well: keeps the sealed authorities in etcd and in this folder the same, whoever lost them, and this agent's own certificates fresh: a new one is signed
 * when a third of its time is left, or when its host is called something else. Ends by the signal only.
 */
export async function keepAuthorities(deps: KeepDeps, signal: AbortSignal): Promise<void> {
  const { clock, log } = deps;
  while (!signal.aborted) {
    try {
      await keepOnce(deps, signal);
    } catch (error) {
      log.debug({ err: error }, "the authorities could not be looked after");
    }
    await clock.sleep(everyMs, signal).catch(() => undefined);
  }
}

async function keepOnce({ client, view, keys, folder, holder, clock, log }: KeepDeps, signal: AbortSignal): Promise<void> {
  const secret = await readFile(folder.secret, "utf8");
  const own = await readIfThere(folder.authorities);
  const seen = view.get(keys.authority);
  const entry = seen?.value === own ? seen : (await client.get(keys.authority, { signal })).entry;
  const inEtcd = entry && unseal(entry.value, secret);
  if (inEtcd === undefined && own !== undefined && unseal(own, secret) !== undefined) {
    const before = entry === undefined ? { createRevision: 0 } : { modRevision: entry.modRevision };
    await client.txn({ compare: [{ key: keys.authority, ...before }], then: [{ put: keys.authority, value: own }] }, { signal });
  }
  if (inEtcd !== undefined && entry !== undefined && entry.value !== own)
    await writeSecretly(folder, folder.authorities, entry.value);
  const authorities = inEtcd ?? (own === undefined ? undefined : unseal(own, secret));
  if (authorities === undefined) return;
  const now = clock.wallTime();
  for (const side of ["clients", "peers"] as const) {
    const { certFile, keyFile } = folder[side];
    const cert = new X509Certificate(await readFile(certFile));
    const leftMs = new Date(cert.validTo).getTime() - now.getTime();
    if (leftMs > (leafDays * dayMs) / 3 && isOf(cert, holder)) continue;
    await writeSecretly(
      folder,
      certFile,
      await issue(authorities[side], publicKeyOf(await readFile(keyFile, "utf8")), holder, now),
    );
    log.info({ file: certFile }, "signed a new certificate of this host");
  }
}

function isOf(cert: X509Certificate, { hosts }: Holder): boolean {
  return hosts.every((host) => cert.checkIP(host) !== undefined || cert.checkHost(host) !== undefined);
}
