import { execFile } from "node:child_process";
import { join } from "node:path";

/** Runs scripts/sim.mjs of a project to its end, and returns what it says with its exit code. */
export function runSim(root: string, ...args: string[]): Promise<{ readonly code: number; readonly said: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(root, "scripts/sim.mjs"), ...args],
      { maxBuffer: 64 * 1024 ** 2 },
      (error, stdout, stderr) => {
        resolve({ code: typeof error?.code === "number" ? error.code : error ? -1 : 0, said: stdout + stderr });
      },
    );
  });
}
