import { execFile } from "node:child_process";
import { systemClock, within } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { systemPath } from "./tools.ts";

export interface BinaryVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** As etcd writes it, with what may follow the numbers. */
  readonly text: string;
}

const patienceMs = 10_000;

/**
 * Asks a binary which etcd it is. It gets 10 s.
 *
 * @throws QuorateError NO_ETCD where there is no such file; INVALID_ETCD where it does not run or is no etcd.
 */
export async function etcdVersion(binary: string): Promise<BinaryVersion> {
  const never = new AbortController().signal;
  const late = (): Error => invalid(binary, `it does not say its version within ${patienceMs} ms`);
  const output = await within(patienceMs, systemClock, never, (own) => versionOutput(binary, own), late);
  const match = /^etcd Version: ((\d+)\.(\d+)\.(\d+)\S*)/m.exec(output);
  if (!match) throw invalid(binary, "it does not say which version it is");
  return { text: match[1] ?? "", major: Number(match[2]), minor: Number(match[3]), patch: Number(match[4]) };
}

function versionOutput(binary: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(binary, ["--version"], { env: { PATH: systemPath }, signal, killSignal: "SIGKILL" }, (error, stdout) => {
      if (error === null) resolve(stdout);
      else if (error.code !== "ENOENT") reject(invalid(binary, "it does not run", error));
      else reject(new QuorateError("NO_ETCD", `Cannot use ${binary} as etcd: there is no such file`, { data: { binary } }));
    });
  });
}

function invalid(binary: string, why: string, cause?: Error): QuorateError {
  return new QuorateError("INVALID_ETCD", `Cannot use ${binary} as etcd: ${why}`, { cause, data: { binary } });
}
