import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { QuorateError } from "../../errors.ts";
import type { Prefix } from "./state.ts";

/** A name for this machine that tells nothing of it: systemd asks that /etc/machine-id is not shown. Undefined where there is none. */
export function idOfMachine(): string | undefined {
  try {
    const id = readFileSync("/etc/machine-id", "latin1").trim();
    return /^[0-9a-f]{32}$/.test(id) ? createHash("sha256").update(`quorate ${id}`).digest("hex").slice(0, 32) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * State belongs to the machine it was made on: a copy of it elsewhere would be a second agent, or worse a second server, of the same
 * identity. With `moved` it belongs to this machine from now on.
 *
 * @throws QuorateError REFUSED
 */
export async function assertSameMachine(prefix: Prefix, machine: string | undefined, moved: boolean): Promise<void> {
  const { machine: known, clusterId, hostname } = prefix.state;
  if (machine === undefined || machine === known) return;
  if (known !== undefined && clusterId !== undefined && !moved) {
    throw new QuorateError(
      "REFUSED",
      `Cannot use the prefix ${prefix.folder}: it holds the state of ${hostname} in cluster ${clusterId}, made on another machine`,
      {
        hint: "if it was moved here, and nothing runs on it where it was, add --moved; a copy needs an own, empty --prefix and --hostname",
      },
    );
  }
  await prefix.save({ machine });
}
