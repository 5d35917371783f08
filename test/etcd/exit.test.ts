import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { startEtcd } from "../support/etcd-process.ts";
import { freePorts } from "../support/ports.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

test("a program that used a client and closed it ends by itself, at once", async () => {
  await using etcd = await startEtcd(3);
  const [nobody] = await freePorts(1);
  const child = spawn(
    process.execPath,
    [
      ...["--import", path("../support/typescript-hooks.mjs"), path("programs/use-and-close.ts")],
      ...[etcd.urls.join(","), `http://127.0.0.1:${nobody}`],
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  const exited = once(child, "exit");
  let closedMs = 0;
  child.stdout.on("data", () => (closedMs = performance.now()));
  expect(await exited).toEqual([0, null]);
  expect(closedMs).toBeGreaterThan(0);
  expect(performance.now() - closedMs).toBeLessThan(1_000);
});
