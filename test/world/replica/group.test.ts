import { spawnSync } from "node:child_process";
import { chmod, chown, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { clientTo, eventually, nameOf, replicaFolder, replicaOf, temporaryFolder } from "./fixture.ts";

const program = fileURLToPath(new URL("programs/read.ts", import.meta.url));
const hooks = new URL("../../support/typescript-hooks.mjs", import.meta.url).href;
const [nobody, group] = [65_534, 1];

interface Said {
  readonly value: string | undefined;
  readonly because: readonly string[];
  readonly state: string;
  readonly folder: string;
  readonly feeder: number | undefined;
}

function readAs(home: string, gid: number, ...args: readonly string[]): Said {
  const command = ["--import", hooks, program, ...args];
  const done = spawnSync(process.execPath, command, { uid: nobody, gid, env: { HOME: home }, encoding: "utf8", timeout: 40_000 });
  if (done.status !== 0) throw new Error(`It ended with ${done.signal ?? done.status}: ${done.stderr}`);
  return JSON.parse(done.stdout) as Said;
}

/** Another user needs to reach the sources and Node. */
const canBecome =
  process.getuid?.() === 0 &&
  spawnSync(process.execPath, ["--import", hooks, "-e", "0"], { uid: nobody, gid: nobody, env: {} }).status === 0;

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

async function homeOfNobody(): Promise<string> {
  const home = await temporaryFolder();
  await chown(home, nobody, group);
  return home;
}

test.skipIf(!canBecome)(
  "a program of the group reads through the owner's feeder, without seeds; one of no group has a folder of its own, and says why",
  async () => {
    const folder = await replicaFolder();
    await chmod(dirname(folder), 0o755);
    const replica = await replicaOf({ endpoints: etcd.urls, folder, worldGroup: String(group) });
    await clientTo(etcd.urls).put(nameOf("shared"), "with the group");
    await replica.ready({ timeoutMs: 20_000 });
    const member = readAs(await homeOfNobody(), group, folder, nameOf("shared"));
    expect(member).toMatchObject({ value: "with the group", because: [], folder });
    expect(member.feeder).toBe(replica.feederPid);

    const home = await homeOfNobody();
    const stranger = readAs(home, nobody, folder, nameOf("shared"), ...etcd.urls);
    expect(stranger.value).toBe("with the group");
    expect(stranger.because).toEqual([`${folder} may not be read by this user (EACCES)`]);
    expect(stranger.folder.startsWith(join(home, ".cache"))).toBe(true);
    expect(stranger.feeder).not.toBe(replica.feederPid);

    // When the owner has gone, a program of the group starts the next feeder.
    await replica.close();
    await eventually("the end of the owner's feeder", () => replica.feederPid === undefined);
    const next = readAs(await homeOfNobody(), group, folder, nameOf("shared"));
    expect(next).toMatchObject({ value: "with the group", because: [], folder });
  },
);

test("without a group the folder is its owner's alone", async () => {
  const folder = await replicaFolder();
  const replica = await replicaOf({ endpoints: etcd.urls, folder });
  await replica.ready({ timeoutMs: 20_000 });
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  for (const name of ["replica.json", "feeder.sock", "feeder.lock"]) {
    expect((await stat(join(folder, name))).mode & 0o077, name).toBe(0);
  }
});

test("a group that does not exist is refused by its name", async () => {
  const opening = replicaOf({ endpoints: etcd.urls, folder: await replicaFolder(), worldGroup: "no-such-group" });
  await expect(opening).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option: "worldGroup" } });
});
