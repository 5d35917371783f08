import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { host } from "./agents.ts";

test("the library prints nothing by itself, whatever happens, and lets its process end", async () => {
  const one = await host("h1", { idealClusterSize: 1 });
  const two = await host("h2", { seeds: one.clientUrls });
  const hooks = new URL("../support/typescript-hooks.mjs", import.meta.url).href;
  const program = fileURLToPath(new URL("programs/quiet.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", hooks, program, JSON.stringify([one, two])], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (said += text));
  const code = await new Promise((resolve) => child.once("close", resolve));
  expect(said).toBe("");
  expect(code).toBe(0);
});
