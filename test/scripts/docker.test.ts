import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { resolveOptions } from "../../src/agent/resolve.ts";
import { runSettings, type Given } from "../../src/cli/options.ts";
import { eventually } from "../support/eventually.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const whyNot = await run("docker", ["compose", "version"]).then(
  () =>
    run("docker", ["info"]).then(
      () => undefined,
      (error: unknown) => String(error),
    ),
  (error: unknown) => String(error),
);

interface Service {
  readonly hostname: string;
  readonly command: readonly string[];
  readonly volumes: readonly string[];
}

test("the services of compose.yaml differ in their name and their volume alone, and their agents take their command lines", async () => {
  const { services } = parse(await readFile(`${root}compose.yaml`, "utf8"), { merge: true }) as {
    services: Record<string, Service>;
  };
  expect(Object.keys(services)).toHaveLength(3);
  const commands = Object.values(services).map(({ command }) => JSON.stringify(command));
  expect(new Set(commands).size).toBe(1);
  for (const [name, { hostname, command, volumes }] of Object.entries(services)) {
    expect(hostname).toBe(name);
    expect(volumes).toEqual([`${name}:/var/lib/quorate`]);
    const given: Given = Object.fromEntries(
      command.slice(1).map((flag) => {
        const [, key = "", value] = /^--([a-z-]+)(?:=(.*))?$/.exec(flag) ?? [];
        return [key, value === undefined ? true : [value]];
      }),
    );
    const options = runSettings(given, {}).agent;
    const around = { isRoot: true, machineName: hostname, addresses: ["127.0.0.1", "172.18.0.2"], stateFolder: "/root" };
    expect(resolveOptions(options, around)).toMatchObject({
      expect: 3,
      clientUrls: ["http://0.0.0.0:2379"],
      advertiseClientUrls: [`http://${name}:2379`],
      advertiseServerUrls: [`http://${name}:2380`],
      prefix: "/var/lib/quorate",
    });
  }
});

test.skipIf(whyNot !== undefined)(
  "three containers form a cluster, and one that is stopped keeps its seat",
  { timeout: 600_000 },
  async () => {
    const compose = (...args: string[]): Promise<{ stdout: string }> =>
      run("docker", ["compose", "--project-name=quorate-test", ...args], { cwd: root, maxBuffer: 1 << 26 });
    onTestFinished(async () => {
      await compose("down", "--volumes", "--timeout=1");
    });
    await compose("up", "--build", "--detach");
    const members = async (at: string): Promise<string> =>
      (await compose("exec", "-T", at, "quorate", "members", "-o", "json")).stdout;
    const voters = (text: string): number =>
      (JSON.parse(text) as { role: string }[]).filter(({ role }) => role === "voter").length;
    await eventually("three voters", async () => voters(await members("q1").catch(() => "[]")) === 3, 120_000);
    await compose("stop", "q3");
    expect(voters(await members("q1"))).toBe(3);
    await compose("start", "q3");
    await eventually("q3 is back", async () => voters(await members("q3").catch(() => "[]")) === 3, 60_000);
  },
);
