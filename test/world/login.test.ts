import { execFileSync } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openWorld, type World, type WorldOptions } from "../../src/world/index.ts";
import { etcdctlBinary } from "../support/etcd.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { temporaryFolder } from "../support/etcd-server.ts";
import { eventually } from "../support/eventually.ts";

let etcd: TestCluster;
let url: string;

beforeAll(async () => {
  // Tokens of one second: each is forgotten while the test goes on.
  etcd = await startEtcd(1, { flags: ["--auth-token-ttl", "1", "--bcrypt-cost", "4"] });
  url = etcd.urls[0]!;
  for (const command of [
    "user add root:secret",
    "user grant-role root root",
    "role add world",
    "role grant-permission world readwrite --prefix=true /_mgmt/",
    "role grant-permission world readwrite --prefix=true \u0001",
    "user add world:w",
    "user grant-role world world",
    "auth enable",
  ]) {
    execFileSync(etcdctlBinary(), ["--endpoints", url, ...command.split(" ")], { env: { ETCDCTL_API: "3" }, stdio: "pipe" });
  }
});
afterAll(() => etcd.stop());

/** The password in a file of its own, with the line break that an editor leaves. */
async function passwordFile(password: string): Promise<string> {
  const file = join(await temporaryFolder(), "password");
  await writeFile(file, `${password}\n`, { mode: 0o600 });
  return file;
}

async function opened(options: Partial<WorldOptions>): Promise<World> {
  const world = await openWorld({ seeds: [url], folder: join(await temporaryFolder(), "world"), ...options });
  onTestFinished(() => world.close());
  return world;
}

test("a World that logs in by a file has a replica, whose feeder logs in by it too, and again when tokens expire", async () => {
  const world = await opened({ user: "root", passwordFile: await passwordFile("secret") });
  await world.str.set("motd", "1");
  expect((await world.str.get("motd")).value).toBe("1");
  const seen: unknown[] = [];
  const own = new AbortController();
  const watching = (async () => {
    for await (const event of world.str.watch("motd", { signal: own.signal })) if ("value" in event) seen.push(event.value);
  })();
  await eventually("the first value", () => seen.includes("1"));
  await eventually("the copy is fed", () => world.status.state === "live");
  expect(world.status.because).toEqual([]);
  // The streams of the feeder are cut: what it opens then has another token.
  await etcd.nodes[0]!.kill();
  await etcd.nodes[0]!.restart();
  await eventually(
    "a write",
    () =>
      world.str.set("motd", "2").then(
        () => true,
        () => false,
      ),
    20_000,
  );
  await eventually("what it wrote is seen", () => seen.includes("2"), 20_000);
  own.abort();
  await watching.catch(() => undefined);
});

test("a wrong password, a file that is gone, and a user without a file are told as what they are", async () => {
  const wrong = await opened({ user: "root", passwordFile: await passwordFile("x"), replica: false });
  await expect(wrong.str.get("motd")).rejects.toMatchObject({ code: "DENIED" });
  const file = await passwordFile("secret");
  const lost = await opened({ user: "root", passwordFile: file, replica: false });
  await rm(file);
  const failed = await lost.str.get("motd").catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: "DENIED" });
  expect(String(failed)).toContain(`${file} cannot be read`);
  await expect(openWorld({ seeds: [url], user: "root" })).rejects.toMatchObject({
    code: "INVALID_OPTION",
    data: { option: "passwordFile" },
  });
});
