import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { compareVersions, listEtcds, parseVersion } from "../../src/embed/store.mjs";
import type { EtcdVersion } from "../../src/embed/store.mjs";

/** One etcd to test with. */
export interface TestEtcd {
  readonly binary: string;
  readonly version: EtcdVersion;
}

let chosen: TestEtcd | undefined;

/** The etcd the tests run: `QUORATE_ETCD_BIN`, else the newest of the managed store. `npm test` sees to it that there is one. */
export function testEtcd(): TestEtcd {
  return (chosen ??= choose());
}

function choose(): TestEtcd {
  const binary = process.env["QUORATE_ETCD_BIN"];
  if (binary) return { binary, version: parseVersion(execFileSync(binary, ["--version"], { encoding: "utf8" })) };
  const newest = listEtcds()[0];
  if (newest === undefined) throw new Error("No etcd to test with: run `node scripts/setup.mjs`, or set QUORATE_ETCD_BIN");
  return newest;
}

/** Path of the etcd the tests run. */
export function etcdBinary(): string {
  return testEtcd().binary;
}

/** Path of the etcdctl beside it. */
export function etcdctlBinary(): string {
  const binary = join(dirname(etcdBinary()), "etcdctl");
  if (!existsSync(binary)) throw new Error(`There is no etcdctl beside ${etcdBinary()}`);
  return binary;
}

/** Whether the etcd the tests run is at least this version, for what older ones cannot do. */
export function etcdAtLeast(major: number, minor: number, patch = 0): boolean {
  return compareVersions(testEtcd().version, { major, minor, patch }) >= 0;
}

/** Every etcd of the managed store, newest first: for tests that hold for several versions. */
export function etcdVersions(): readonly TestEtcd[] {
  return listEtcds();
}
