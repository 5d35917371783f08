import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { join } from "node:path";

/** Where tools of the system are looked for, and the only variable etcd gets from us: nothing depends on how we were started. */
export const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const found = new Map<string, Promise<string | undefined>>();

/** Absolute path of a tool of the system, looked up once. */
export function systemTool(name: string): Promise<string | undefined> {
  let path = found.get(name);
  if (path === undefined) found.set(name, (path = lookUp(name)));
  return path;
}

async function lookUp(name: string): Promise<string | undefined> {
  for (const folder of systemPath.split(":")) {
    const path = join(folder, name);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** Runs a tool to its end. Its exit status; null where it did not end by itself. `fd`, if given, is its descriptor 3. */
export function statusOf(tool: string, args: readonly string[], fd?: number): Promise<number | null> {
  return new Promise((resolve) => {
    const stdio = ["ignore" as const, "ignore" as const, "ignore" as const, ...(fd === undefined ? [] : [fd])];
    const child = spawn(tool, args, { stdio, env: { PATH: systemPath } });
    child.once("error", () => resolve(null));
    child.once("close", (code) => resolve(code));
  });
}

/** `none`: there is no flock on this system. A number: flock failed with that status (null where it did not run to its end). */
export type Flocked = "taken" | "held" | "none" | { readonly status: number | null };

/**
 * Tries to take the flock of an open file, without waiting. The kernel gives it to one only, within a process and between processes
 * and containers, and takes it back however the holders end: all that have the open file.
 */
export async function tryFlock(fd: number): Promise<Flocked> {
  const flock = await systemTool("flock");
  if (flock === undefined) return "none";
  // The lock belongs to the open file, not to the process that asks for it: it stays ours when flock has ended.
  const status = await statusOf(flock, ["-n", "3"], fd);
  return status === 0 ? "taken" : status === 1 ? "held" : { status };
}
