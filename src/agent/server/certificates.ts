import { readFile, stat } from "node:fs/promises";
import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import { certificatesIn, checkTls, lifeOf } from "../../etcd/index.ts";
import { certificateFolder } from "../authority/folder.ts";
import { refuse } from "../option-checks.ts";
import { filesOf, tlsOptions } from "../resolve-tls.ts";
import type { ResolvedOptions } from "../resolve.ts";

/** A certificate that an agent shows, or that it trusts, and until when. */
export interface Expiry {
  readonly file: string;
  readonly subject: string;
  readonly until: Date;
}

/** What an agent is given in files. */
export type AgentFiles = Pick<ResolvedOptions, "tls" | "login" | "autoTls" | "prefix">;

const dayMs = 24 * 60 * 60 * 1_000;
const warnDays = 30;

/**
 * Whether these files can be used now, and until when.
 *
 * @throws QuorateError INVALID_OPTION naming the option: what `checkTls` throws; a key or a password that others may read, or that is not there
 */
export async function inspectFiles({ tls, login, autoTls, prefix }: AgentFiles, now: Date): Promise<readonly Expiry[]> {
  if (autoTls && prefix !== undefined) await assertSecret("autoTls", certificateFolder(prefix).secret);
  if (login !== undefined) await assertSecret("passwordFile", login.password.file);
  const found: Expiry[] = [];
  for (const side of ["clients", "peers"] as const) {
    const { certFile, keyFile, trustedCaFile } = tlsOptions[side];
    const files = filesOf(tls[side]);
    if (files === undefined) continue;
    const [ca, cert, key] = [trustedCaFile, certFile, keyFile].map((option) => `option ${option}`);
    await checkTls(files, { caFile: ca!, certFile: cert!, keyFile: key! }, now);
    if (files.keyFile !== undefined) await assertSecret(keyFile, files.keyFile);
    for (const file of [files.caFile, files.certFile]) {
      if (file === undefined) continue;
      const { subject, until } = lifeOf(certificatesIn(await readFile(file), file, file), file === files.caFile);
      found.push({ file, subject, until });
    }
  }
  return found;
}

/** Its owner alone may read it; where that is root, a group too. */
async function assertSecret(option: "keyFile" | "peerKeyFile" | "passwordFile" | "autoTls", path: string): Promise<void> {
  const { mode, uid } = await stat(path).catch((error: unknown) => refuse(option, `${path} cannot be read: ${messageOf(error)}`));
  if ((mode & (uid === 0 ? 0o037 : 0o077)) === 0) return;
  const octal = (mode & 0o777).toString(8).padStart(4, "0");
  refuse(option, `${path} has mode ${octal}, so that others can read it`, `run: chmod 600 ${path}`);
}

interface ExpiryDeps {
  readonly files: AgentFiles;
  readonly inspect: typeof inspectFiles;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onProblem: (problem: string | undefined) => void;
}

/** Says once a day which of them expires within 30 days, and what cannot be used as it is, until the signal fires. */
export async function warnOfExpiry({ files, inspect, clock, log, onProblem }: ExpiryDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const now = clock.wallTime();
    const problems: string[] = [];
    try {
      for (const { file, subject, until } of await inspect(files, now)) {
        const days = Math.floor((until.getTime() - now.getTime()) / dayMs);
        if (days < warnDays) problems.push(`the certificate of ${subject} expires in ${days} days: replace ${file}`);
      }
    } catch (error) {
      problems.push(messageOf(error));
    }
    for (const problem of problems) log.warn(problem);
    onProblem(problems[0]);
    await clock.sleep(dayMs, signal).catch(() => undefined);
  }
}
