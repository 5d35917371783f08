import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { startEtcd } from "../support/etcd-process.ts";
import { temporaryFolder } from "../support/etcd-server.ts";
import { Process } from "../support/process.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const named = "http://127.0.0.1:2379";

/** The only one of the README that opens a World by itself. */
async function programOfReadme(): Promise<string> {
  const blocks = [...(await readFile(join(root, "README.md"), "utf8")).matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code!);
  const [program, ...more] = blocks.filter((code) => code.includes("openWorld("));
  expect(more).toEqual([]);
  return program!;
}

test("the program of the README has 15 lines at most, and opens, sets, reads and watches", async () => {
  const program = await programOfReadme();
  expect(program.split("\n").filter((line) => line.trim() !== "").length).toBeLessThanOrEqual(15);
  for (const call of ["openWorld(", ".set(", ".get(", ".watch("]) expect(program).toContain(call);
  expect(program).toContain(named);
});

test("pasted into a folder where quorate is installed it says what the README says, and ends by itself, however often", async () => {
  await using etcd = await startEtcd(1);
  const folder = await temporaryFolder();
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules", "quorate"), "dir");
  const path = join(folder, "pasted.mjs");
  await writeFile(path, (await programOfReadme()).replace(named, etcd.urls[0]!));
  const said = /^```js\n.*?^```\n\n```\n(.*?)^```/ms.exec(await readFile(join(root, "README.md"), "utf8"))?.[1];
  for (let run = 0; run < 3; run++) {
    const pasted = new Process("the program of the README", [process.execPath, path], { ...process.env, HOME: folder });
    onTestFinished(async () => {
      await pasted.kill();
    });
    const { code, stdout, stderr } = await pasted.end(20_000);
    expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: "", stdout: said });
  }
});
