import { access, appendFile, open, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ReplicaFolder } from "../../../src/world/replica/folder.ts";
import { copySealed } from "../../../src/world/replica/seal.ts";
import { startEtcd } from "../../support/etcd-process.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { untilGone } from "../../support/etcd-server.ts";
import { eventually } from "../../support/eventually.ts";
import { clientTo, nameOf, replicaFolder, replicaOf, textOf } from "./fixture.ts";

let etcd: TestCluster;
beforeAll(async () => {
  etcd = await startEtcd(1);
});
afterAll(() => etcd.stop());

/** A folder as a feeder leaves it that has ended in good order. */
async function leftFolder(): Promise<ReplicaFolder> {
  const folder = await replicaFolder();
  const client = clientTo(etcd.urls);
  await client.put(nameOf("kept"), "x".repeat(5_000));
  const replica = await replicaOf({ endpoints: etcd.urls, folder });
  await replica.get(nameOf("kept"), { read: "linearizable", timeoutMs: 20_000 });
  const pid = replica.feederPid!;
  await replica.close();
  await untilGone(pid);
  return new ReplicaFolder(folder);
}

test("a file that was left in good order is taken over as it is, and what happened meanwhile is added", async () => {
  const folder = await leftFolder();
  const before = (await folder.record())!;
  expect(before.seal).toMatchObject({ size: (await readFile(folder.filePath(before.file))).length });
  const client = clientTo(etcd.urls);
  await client.put(nameOf("later"), "missed");
  const replica = await replicaOf({ endpoints: etcd.urls, folder: folder.path });
  const options = { read: "linearizable", timeoutMs: 20_000 } as const;
  // What is written further is no longer what was sealed. Until then the program reads without a feeder.
  await eventually("the next feeder's record", async () => {
    await replica.ready();
    return (await folder.record())?.seal === undefined ? true : undefined;
  });
  expect(textOf((await replica.get(nameOf("later"), options)).entry)).toBe("missed");
  expect(textOf((await replica.get(nameOf("kept"), options)).entry)).toBe("x".repeat(5_000));
  await eventually("the feeder", () => replica.feederPid);
  expect(replica.metrics.relists).toEqual({});
});

test("a feeder that was killed leaves no seal: its file is probed", async () => {
  const folder = new ReplicaFolder(await replicaFolder());
  const replica = await replicaOf({ endpoints: etcd.urls, folder: folder.path });
  await replica.ready({ timeoutMs: 20_000 });
  const pid = replica.feederPid!;
  process.kill(pid, "SIGKILL");
  await untilGone(pid);
  const record = await eventually("a record", () => folder.record());
  expect(record.seal).toBeUndefined();
});

test("a seal holds for every byte: a file with one bit changed, cut short or longer is not copied", async () => {
  const folder = await leftFolder();
  const { file, seal } = (await folder.record())!;
  const path = folder.filePath(file);
  const copy = join(folder.path, "copy");
  const size = seal!.size;
  for (const at of [0, 24, 4_096 + 17, size >> 1, size - 1]) {
    const handle = await open(path, "r+");
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, at);
    await handle.write(Buffer.from([buffer[0]! ^ 4]), 0, 1, at);
    expect(copySealed(path, copy, seal!), `byte ${at}`).toBe(false);
    await expect(access(copy)).rejects.toThrow("ENOENT");
    await handle.write(buffer, 0, 1, at);
    await handle.close();
  }
  expect(copySealed(path, copy, { ...seal!, meta: { ...seal!.meta, revision: seal!.meta.revision + 1 } })).toBe(false);
  expect(copySealed(path, copy, seal!)).toBe(true);
  expect((await readFile(copy)).equals(await readFile(path))).toBe(true);
  await appendFile(path, Buffer.alloc(4_096));
  expect(copySealed(path, join(folder.path, "longer"), seal!)).toBe(false);
  await truncate(path, size - 4_096);
  expect(copySealed(path, join(folder.path, "shorter"), seal!)).toBe(false);
});
