import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../src/mgmt/index.ts";
import type { ConnectOptions } from "../../src/mgmt/index.ts";
import { etcdOfWorlds, worldOf } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";
import { mgmtOf } from "./fixture.ts";

let etcd: WorldEtcd;
beforeAll(async () => {
  etcd = await etcdOfWorlds();
});
afterAll(() => etcd[Symbol.asyncDispose]());

describe("fs", () => {
  test("is one tree for all hosts by its URI, and of two writers none loses the other's files, as in mgmt", async () => {
    const mgmt = await mgmtOf(etcd);
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, hostname: "h2" });
    const uri = "etcdfs:///fs/deploy/1-2f6c";
    const [ours, theirs] = [mgmt.fs(uri), other.fs(uri)];
    await ours.mkdir("/modules");
    await Promise.all([ours.writeFile("/modules/main.mcl", "one"), theirs.writeFile("/metadata.yaml", "two")]);
    expect(await theirs.readFile("/modules/main.mcl", "utf8")).toBe("one");
    expect(await ours.readdir("/", { recursive: true })).toEqual(["metadata.yaml", "modules", "modules/main.mcl"]);
    await expect(ours.readFile("/none")).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("takes no path but one below the metadata prefix, and no scheme that it does not know", async () => {
    const mgmt = await mgmtOf(etcd);
    const failure = expect.objectContaining({ code: "INVALID_OPTION" }) as Error;
    for (const uri of ["etcdfs:///other/x", "etcdfs:///fsx/y", "etcdfs:///fs", "etcdfs://", "http://a/b", ""])
      expect(() => mgmt.fs(uri), uri).toThrow(failure);
    const deploys = await mgmtOf(etcd, { metadataPrefix: "/fs/deploy" });
    expect(deploys.fs("etcdfs:///fs/deploy/1").uri).toBe("etcdfs:///fs/deploy/1");
    expect(() => deploys.fs("etcdfs:///fs/site")).toThrow(failure);
  });

  test("of memmapfs:/// is the stand-alone one that was given, and else one in memory that nobody else has", async () => {
    const mgmt = await mgmtOf(etcd);
    await mgmt.fs("memmapfs:///").writeFile("/main.mcl", "alone");
    expect(await mgmt.fs("memmapfs://").readFile("/main.mcl", "utf8")).toBe("alone");
    const other = await mgmtOf(etcd, { namespace: mgmt.namespace, standaloneFs: mgmt.fs("memory://deploy") });
    await other.fs("memmapfs:///").writeFile("/main.mcl", "given");
    expect(await mgmt.fs("memory://deploy").readFile("/main.mcl", "utf8")).toBe("given");
    expect(await mgmt.fs("memmapfs:///").readFile("/main.mcl", "utf8")).toBe("alone");
  });
});

describe("uri", () => {
  test("is what the getter says each time, and fs() is the file system of it", async () => {
    let deploy = 1;
    const mgmt = await mgmtOf(etcd, { getUri: () => `etcdfs:///fs/deploy/${deploy}` });
    await mgmt.fs().writeFile("/id", "1");
    deploy = 2;
    expect(mgmt.uri()).toBe("etcdfs:///fs/deploy/2");
    await expect(mgmt.fs().readFile("/id")).rejects.toMatchObject({ code: "ENOENT" });
    deploy = 1;
    expect(await mgmt.fs().readFile("/id", "utf8")).toBe("1");
  });

  test("is the World's where no getter is given", async () => {
    const world = await worldOf(etcd, { replica: false });
    const mgmt = await connect({ world });
    expect(mgmt.uri()).toBe(world.uri);
    await mgmt.cleanup();
    for (const call of [() => mgmt.uri(), () => mgmt.fs()])
      expect(call).toThrow(expect.objectContaining({ code: "CLOSED" }) as Error);
  });
});

test.each<[string, ConnectOptions]>([
  ["metadataPrefix", { metadataPrefix: "/other" }],
  ["metadataPrefix", { metadataPrefix: "fs" }],
  ["metadataPrefix", { metadataPrefix: "/fs/" }],
  ["storagePrefix", { storagePrefix: "/fs" }],
  ["storagePrefix", { storagePrefix: "/fs/data" }],
  ["storagePrefix", { storagePrefix: "storage" }],
])("a %s that can be none is refused before anything is opened: %o", async (option, options) => {
  await expect(mgmtOf(etcd, options)).rejects.toMatchObject({ code: "INVALID_OPTION", data: { option } });
  await mgmtOf(etcd, { metadataPrefix: "/fs", storagePrefix: "/storage" });
});
