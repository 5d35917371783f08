import { onTestFinished, expect, test } from "vitest";
import { freePorts } from "../support/ports.ts";
import { Process } from "../support/process.ts";
import { eventually } from "../support/eventually.ts";

const hooks = new URL("../support/typescript-hooks.mjs", import.meta.url).href;
const ports = new URL("../../src/cli/demo/ports.ts", import.meta.url).href;

/** A process that prints `n` ports it was given, and stays. */
async function another(n: number): Promise<readonly number[]> {
  const code = `import { freePorts } from "${ports}";
    console.log(JSON.stringify(await freePorts(${n})));
    process.stdin.resume(); setInterval(() => undefined, 1_000);`;
  const child = new Process(
    "one that asks for ports",
    [process.execPath, "--import", hooks, "--input-type=module", "--eval", code],
    process.env,
  );
  onTestFinished(async () => {
    await child.kill();
  });
  const line = await eventually("the other process has its ports", () =>
    child.stdout.includes("\n") ? child.stdout : undefined,
  );
  return JSON.parse(line) as number[];
}

test("a port is given once among all processes that run, also when nobody listens on it meanwhile", async () => {
  const given = (await Promise.all([another(410), another(410), another(410), freePorts(410), freePorts(3)])).flat();
  expect(given.length).toBe(4 * 410 + 3);
  expect(new Set(given).size).toBe(given.length);
  for (const port of given) expect(port).toBeLessThan(32_768);
});
