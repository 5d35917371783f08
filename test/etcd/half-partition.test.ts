import { execFile, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { etcdBinary } from "../support/etcd.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
// With the process namespace everything in it ends with its first process.
const ownNamespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
const canCut =
  spawnSync("unshare", [...ownNamespaces, "ip", "link", "add", "a0", "type", "veth", "peer", "name", "a1"]).status === 0;

test.skipIf(!canCut)("a follower cut off from its peers alone: reads fail over, the watch moves, the session lives", async () => {
  const program = ["--import", path("../support/typescript-hooks.mjs"), path("programs/half-partition.ts"), etcdBinary()];
  const { stdout } = await promisify(execFile)("unshare", [...ownNamespaces, process.execPath, ...program], { timeout: 50_000 });
  const met = JSON.parse(stdout) as Record<string, unknown>;
  expect(met).toMatchObject({ stillAnswers: true, sessionLives: true });
  expect(met["readMs"]).toBeLessThan(2_000);
  expect(met["watchMs"]).toBeLessThan(8_000);
});
