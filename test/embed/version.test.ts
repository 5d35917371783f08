import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { etcdVersion } from "../../src/embed/index.ts";
import { temporaryFolder } from "../support/etcd-server.ts";
import { testEtcd } from "../support/etcd.ts";

test("etcdVersion() asks the binary", async () => {
  const { binary, version } = testEtcd();
  const { major, minor, patch, text } = await etcdVersion(binary);
  assert.deepEqual([major, minor, patch], [version.major, version.minor, version.patch]);
  assert.ok(text.startsWith(`${major}.${minor}.${patch}`), text);
});

test("No file is NO_ETCD; one that does not run, or is no etcd, is INVALID_ETCD", async () => {
  await expect(etcdVersion("/nowhere/etcd")).rejects.toMatchObject({ code: "NO_ETCD" });
  const text = join(await temporaryFolder(), "etcd");
  await writeFile(text, "#!/bin/sh\necho I am no etcd\n");
  await expect(etcdVersion(text)).rejects.toMatchObject({ code: "INVALID_ETCD", data: { binary: text } });
  await chmod(text, 0o755);
  await expect(etcdVersion(text)).rejects.toMatchObject({ code: "INVALID_ETCD" });
  await expect(etcdVersion("/bin/false")).rejects.toMatchObject({ code: "INVALID_ETCD" });
});
