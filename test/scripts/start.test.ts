import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { project } from "../support/project.ts";

const main = `export async function main(argv: readonly string[]): Promise<number> {
  console.log(JSON.stringify(argv));
  return argv.includes("--fail") ? 7 : 0;
}`;

test("npm start builds when it must, runs the demo or what it is told, and passes the exit code on", async () => {
  using small = project({ "src/cli/main.ts": main, "src/gone.ts": "export const gone = 1;" });
  const first = await small.run(["scripts/start.mjs"]);
  expect(first).toEqual({ code: 0, stdout: '["demo"]\n', stderr: "setup: building\n" });

  expect(await small.run(["scripts/start.mjs", "--once"])).toEqual({ code: 0, stdout: '["demo","--once"]\n', stderr: "" });
  expect(await small.run(["scripts/start.mjs", "run", "--fail"])).toEqual({ code: 7, stdout: '["run","--fail"]\n', stderr: "" });
  expect(await small.run(["scripts/start.mjs", "--version"])).toMatchObject({ stdout: '["--version"]\n' });

  // A source that is gone takes what was made of it along.
  expect(existsSync(join(small.folder, "dist/gone.js"))).toBe(true);
  rmSync(join(small.folder, "src/gone.ts"));
  expect(await small.run(["scripts/start.mjs"])).toMatchObject({ code: 0, stderr: "setup: building\n" });
  expect(existsSync(join(small.folder, "dist/gone.js"))).toBe(false);

  small.write({ "src/cli/main.ts": "export const main: string = 1;" });
  expect(await small.run(["scripts/start.mjs"])).toMatchObject({
    code: 1,
    stdout: "",
    stderr: expect.stringContaining("error: Cannot build") as string,
  });
});

test("npm start leaves signals to the command it runs", async () => {
  using small = project({
    "src/cli/main.ts": `export function main(): Promise<number> {
      const waiting = setInterval(() => undefined, 1000);
      return new Promise((resolve) => {
        const end = (code: number) => () => { clearInterval(waiting); resolve(code); };
        process.once("SIGINT", end(3)).once("SIGTERM", end(4)).once("SIGHUP", end(5));
        console.log("ready");
      });
    }`,
  });
  for (const [signal, code] of [
    ["SIGINT", 3],
    ["SIGTERM", 4],
    ["SIGHUP", 5],
  ] as const) {
    const ran = await small.run(["scripts/start.mjs"], (pid) => process.kill(pid, signal));
    expect(ran, signal).toMatchObject({ code, stdout: "ready\n" });
  }
});

test("npm start that is told to stop while it sets up ends what it runs and leaves no lock", async () => {
  using small = project({ "src/cli/main.ts": main });
  // A compiler that never ends by itself.
  rmSync(join(small.folder, "node_modules"));
  small.write({
    "package-lock.json": '{"packages":{}}',
    "node_modules/.package-lock.json": '{"packages":{}}',
    "node_modules/typescript/bin/tsc": `console.error(process.pid, process.ppid); setInterval(() => undefined, 1000);`,
  });
  let compiler = 0;
  const ran = await small.run(["scripts/start.mjs"], undefined, (stderr) => {
    const [, own, parent] = /^(\d+) (\d+)$/m.exec(stderr) ?? [];
    if (compiler !== 0 || own === undefined) return;
    compiler = Number(own);
    process.kill(Number(parent), "SIGTERM");
  });
  expect(ran).toMatchObject({ code: 143, stdout: "", stderr: expect.stringMatching(/\nsetup: stopped by SIGTERM\n$/) as string });
  expect(() => process.kill(compiler, 0), "the compiler is gone").toThrow("ESRCH");
  expect(readdirSync(join(small.folder, "tmp"))).toEqual([]);
});

test("the launcher says what to do when nothing is built", async () => {
  using small = project({});
  expect(await small.run(["bin/quorate.js"])).toEqual({
    code: 1,
    stdout: "",
    stderr: "error: Cannot start Quorate: it is not built\n  hint: npm start (sets up everything), or npm run build\n",
  });
});
