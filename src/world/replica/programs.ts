import { execFile } from "node:child_process";
import type { Verdict } from "./probe.ts";

/** How long a probe may take; a file of 1 GiB takes a few seconds. */
const probeMs = 60_000;

/** A program of this folder, as arguments for Node. From sources, which Node does not read, the built one is meant. */
export function programPath(name: "feeder-main" | "probe-main"): string {
  const here = import.meta.url;
  const built = here.endsWith(".ts") ? here.replace(/\/src\/world\/replica\/[^/]+$/, "/dist/world/replica/") : here;
  return new URL(`./${name}.js`, built).pathname;
}

/** Has a file judged by a child process, and copied where `copyTo` is given. What ends the child is a doubt too. */
export function probe(path: string, copyTo?: string): Promise<Verdict> {
  const args = [programPath("probe-main"), path, ...(copyTo === undefined ? [] : [copyTo])];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: probeMs, killSignal: "SIGKILL" }, (error, stdout) => {
      if (error === null) {
        resolve(JSON.parse(stdout) as Verdict);
        return;
      }
      const how = error.signal ?? `exit code ${String(error.code)}`;
      resolve({ doubt: `reading it ended a process with ${how}` });
    });
  });
}
