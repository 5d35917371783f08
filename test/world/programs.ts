import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "../support/etcd-server.ts";
import { eventually } from "../support/eventually.ts";
import { Process } from "../support/process.ts";

/** Runs test/world/programs/NAME.mjs with `options` as its argument; it is gone when the test is over. */
export function startProgram(name: string, options: object): Process {
  const file = fileURLToPath(new URL(`programs/${name}.mjs`, import.meta.url));
  const program = new Process(name, [process.execPath, file, JSON.stringify(options)], process.env);
  onTestFinished(async () => {
    await program.kill();
  });
  return program;
}

/** A folder for a replica; whoever feeds it has ended when the test is over, whatever became of the programs that used it. */
export async function replicaFolder(): Promise<string> {
  const folder = join(await temporaryFolder(), "world");
  onTestFinished(() => untilUnfed(folder));
  return folder;
}

/** Waits until nobody feeds the replica in that folder: a feeder ends a moment after its last user has died. */
export async function untilUnfed(folder: string): Promise<void> {
  await eventually(`nobody feeds ${folder}`, () => feedersFor(folder).length === 0, 20_000);
}

/** Processes that feed the replica in that folder. */
export function feedersFor(folder: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`"folder":${JSON.stringify(folder)}`);
      } catch {
        return false;
      }
    });
}
