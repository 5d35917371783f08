import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock as clock } from "../../src/clock.ts";
import { openReplica } from "../../src/world/replica/index.ts";
import { isAlive, untilGone } from "../support/etcd-server.ts";
import { eventually } from "../support/eventually.ts";
import { host, start } from "./agents.ts";

test("an agent keeps a replica warm for other programs, maps none of it, outlives its feeder, and takes it along at its end", async () => {
  const options = await host("h1");
  const agent = start({ ...options, replica: true });
  await agent.ready;
  const folder = join(agent.status().prefix!, "world");
  await eventually("a file", () => {
    try {
      return readFileSync(join(folder, "replica.json"), "utf8").includes("data-");
    } catch {
      return false;
    }
  });
  expect(readFileSync("/proc/self/maps", "utf8")).not.toContain(folder);

  const replica = await openReplica({ clock, folder });
  onTestFinished(() => replica.close());
  await replica.client.put("/_mgmt/strings/a", "1");
  const { entry } = await replica.get("/_mgmt/strings/a", { read: "linearizable" });
  expect(Buffer.from(entry!.value).toString()).toBe("1");
  const first = replica.feederPid!;
  await replica.close();
  expect(isAlive(first), "the agent still uses it").toBe(true);

  process.kill(first, "SIGKILL");
  const again = await openReplica({ clock, folder });
  onTestFinished(() => again.close());
  await again.ready({ timeoutMs: 20_000 });
  const second = await eventually("another feeder", () => (again.feederPid === first ? undefined : again.feederPid));
  expect(agent.status()).toMatchObject({ phase: "running", role: "voter", problem: undefined });
  await again.close();
  await agent.stop();
  await untilGone(second);
});
