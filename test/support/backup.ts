import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { etcdctlBinary } from "./etcd.ts";
import { startEtcd, type TestCluster } from "./etcd-process.ts";

/** A backup of that cluster, restored: another cluster that begins with the same data. `flags` go to its server, `etcdctl` to the backup. */
export async function restoredFrom(
  url: string,
  flags: readonly string[] = [],
  etcdctl: readonly string[] = [],
): Promise<TestCluster> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-backup-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const snapshot = join(folder, "snapshot.db");
  execFileSync(etcdctlBinary(), ["--endpoints", url, ...etcdctl, "snapshot", "save", snapshot], {
    env: { ETCDCTL_API: "3" },
    stdio: "pipe",
  });
  const etcd = await startEtcd(1, { restore: snapshot, flags });
  onTestFinished(() => etcd.stop());
  return etcd;
}
