import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openWorld } from "../../src/world/index.ts";
import type { World } from "../../src/world/index.ts";
import { quorate } from "../support/command.ts";
import { startEtcd, type TestCluster } from "../support/etcd-process.ts";
import { Process } from "../support/process.ts";
import { fileURLToPath } from "node:url";

const launcher = fileURLToPath(new URL("../../bin/quorate.js", import.meta.url));
let cluster: TestCluster;
let endpoints = "";
let world: World;
beforeAll(async () => {
  cluster = await startEtcd(1);
  endpoints = `--endpoints=${cluster.urls.join(",")}`;
  world = await openWorld({ seeds: cluster.urls, hostname: "h1", replica: false });
});
afterAll(async () => {
  await world.close();
  await cluster.stop();
});

test("ls says that there are none, then each with its state, and watch every change until it is interrupted", async () => {
  expect(await quorate(["schedule", "ls", endpoints], {})).toEqual({ code: 0, out: "", err: "note: there are none yet\n" });
  const watching = new Process(
    "quorate schedule watch",
    [process.execPath, launcher, "schedule", "watch", "web", endpoints, "-o", "json"],
    {
      ...process.env,
    },
  );
  onTestFinished(async () => {
    await watching.kill();
  });
  const told = (state: string) =>
    watching.line(({ value }) => (value as { readonly state: string } | undefined)?.state === state, 30_000);
  await told("unknown");
  const scheduling = await world.scheduler("web", { maxCount: 2 });
  await scheduling.whenScheduled({ timeoutMs: 20_000 });
  const drained = await world.scheduler("back up", { drain: true });
  await told("scheduled");
  while ((await drained.next({ timeoutMs: 20_000 })).state !== "nobody");
  const { code, out, err } = await quorate(["schedule", "ls", endpoints], {});
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const lines = out
    .trimEnd()
    .split("\n")
    .map((line) => line.trim().split(/ {2,}/));
  expect(lines[0]).toEqual(["NAMESPACE", "STATE", "STRATEGY", "TAKE PART", "GENERATION", "HOSTS"]);
  expect(lines[1]!.slice(0, 4)).toEqual(["back up", "nobody", "rr", "1"]);
  expect(lines[2]!.slice(0, 4)).toEqual(["web", "scheduled", "rr", "1"]);
  expect(lines[2]!.at(-1)).toBe("h1");
  const json = await quorate(["schedule", "ls", endpoints, "-o", "json"], {});
  expect(JSON.parse(json.out)).toMatchObject({
    schedules: [
      { namespace: "back up", state: "nobody", because: null },
      { namespace: "web", state: "scheduled", hosts: ["h1"], active: ["h1"], candidates: ["h1"] },
    ],
  });
  await scheduling.shutdown();
  await told("nobody");
  watching.signal("SIGINT");
  expect((await watching.end(20_000)).code).toBe(0);
});
