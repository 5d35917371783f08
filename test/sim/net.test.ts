import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { temporaryFolder } from "../support/etcd-server.ts";
import { full } from "../support/full.ts";
import { runSim } from "../support/sim/script.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The whole project with one mistake in it. */
async function plant(file: string, from: string, to: string): Promise<string> {
  const folder = await temporaryFolder();
  await mkdir(join(folder, "test"));
  await Promise.all(
    ["src", "scripts", "package.json", "test/support"].map((part) =>
      cp(join(root, part), join(folder, part), { recursive: true }),
    ),
  );
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
  const path = join(folder, file);
  const text = await readFile(path, "utf8");
  expect(text.split(from), `${from} stands once in ${file}`).toHaveLength(2);
  await writeFile(path, text.replace(from, to));
  return folder;
}

describe("the net holds: the simulation finds planted mistakes", () => {
  const memberCall = "src/agent/lead/member-call.ts";
  const mistakes: readonly (readonly [string, string, string, string, string])[] = [
    [
      "a leader without a gate",
      memberCall,
      "  const held = judge(took);",
      "  const held = judge(took) && undefined;",
      "has cost the quorum",
    ],
    [
      "a leader whose writes are not fenced",
      "src/agent/lead/leader-writes.ts",
      "{ compare: [leadership.fence(), ...compare], then },",
      "{ compare, then },",
      "is written without a fence",
    ],
    [
      "a member call without a record",
      memberCall,
      "then: [{ put: keys.step,",
      "then: [{ put: keys.plan,",
      "what is recorded is nothing",
    ],
    [
      "a removed host that is started again as what it was",
      "src/agent/server/role.ts",
      'return { kind: "give-up", memberId: seat.memberId };',
      'return { kind: "run", memberId: seat.memberId };',
      "does not settle",
    ],
  ];
  test.each(full ? mistakes : mistakes.slice(0, 2))("%s", { timeout: 600_000 }, async (_mistake, file, from, to, found) => {
    const { code, said } = await runSim(await plant(file, from, to), "--seed", "1", "--rounds", "300", "--jobs", "2");
    expect(said).toContain("BROKEN");
    expect(said).toContain(found);
    expect(code).toBe(1);
  });
});
