import { execFile } from "node:child_process";
import { QuorateError } from "../errors.ts";
import { systemPath } from "./tools.ts";

export interface BinaryVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** As etcd writes it, with what may follow the numbers. */
  readonly text: string;
}

/**
 * Asks a binary which etcd it is. It gets 10 s.
 *
 * @throws QuorateError NO_ETCD where there is no such file; INVALID_ETCD where it does not run or is no etcd.
 */
export async function etcdVersion(binary: string): Promise<BinaryVersion> {
  const output = await versionOutput(binary);
  const match = /^etcd Version: ((\d+)\.(\d+)\.(\d+)\S*)/m.exec(output);
  if (!match) {
    throw new QuorateError("INVALID_ETCD", `Cannot use ${binary} as etcd: it does not say which version it is`, {
      data: { binary },
    });
  }
  return { text: match[1] ?? "", major: Number(match[2]), minor: Number(match[3]), patch: Number(match[4]) };
}

function versionOutput(binary: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(binary, ["--version"], { env: { PATH: systemPath }, timeout: 10_000, killSignal: "SIGKILL" }, (error, stdout) => {
      if (error === null) resolve(stdout);
      else if (error.code === "ENOENT") {
        reject(
          new QuorateError("NO_ETCD", `Cannot use ${binary} as etcd: there is no such file`, { cause: error, data: { binary } }),
        );
      } else {
        reject(
          new QuorateError("INVALID_ETCD", `Cannot use ${binary} as etcd: it does not run`, { cause: error, data: { binary } }),
        );
      }
    });
  });
}
