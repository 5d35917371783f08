import assert from "node:assert/strict";
import { pino } from "pino";
import { test, vi } from "vitest";
import { serverOptions, startServer } from "../support/etcd-server.ts";

vi.mock("../../src/system-tools.ts", async (original) => ({
  ...(await original<object>()),
  systemTool: () => Promise.resolve(undefined),
  tryFlock: () => Promise.resolve("none"),
}));
vi.mock("../../src/embed/tools.ts", async (original) => ({
  ...(await original<object>()),
  setprivWithDeathSignal: () => Promise.resolve(undefined),
}));

test("Without setpriv and flock servers start and stop all the same, with one warning each", async () => {
  const warnings: string[] = [];
  const log = pino({ level: "warn" }, { write: (text: string) => void warnings.push((JSON.parse(text) as { msg: string }).msg) });
  for (let round = 0; round < 2; round++) {
    const server = await startServer({ ...(await serverOptions("h1")), log });
    assert.equal((await server.stop()).signal, "SIGTERM");
  }
  assert.equal(warnings.filter((msg) => msg.startsWith("There is no setpriv")).length, 1);
  assert.equal(warnings.filter((msg) => msg.startsWith("There is no flock")).length, 1);
});
