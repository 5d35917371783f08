import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { typeErrors } from "../support/typescript.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const sources = [
  ...["src/mgmt/connect.ts", "src/mgmt/api.ts", "src/world/open.ts"],
  ...readdirSync(join(root, "src/world/api")).map((name) => `src/world/api/${name}`),
];

/** What examples may use without saying where it is from; what they declare themselves goes first. */
const around = `
declare const world: import("quorate/world").World;
declare const openWorld: typeof import("quorate/world").openWorld;
declare const mgmt: import("quorate/mgmt").MgmtWorld;
declare const WorldError: typeof import("quorate/world").WorldError;
declare const FsConflict: typeof import("quorate/world").FsConflict;
`;

/** Code between fences, by the file and the line it begins at. Docstrings have a star before each line. */
function examplesIn(file: string): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  let lines: string[] | undefined;
  for (const [at, line] of readFileSync(join(root, file), "utf8").split("\n").entries()) {
    const text = file.endsWith(".ts") ? line.replace(/^\s*\* ?/, "") : line;
    if (lines === undefined) {
      if (/^```(ts|js)$/.test(text)) lines = ["export {};"];
    } else if (text.startsWith("```")) {
      found[`${file.replaceAll("/", "-")}-line-${at + 1 - lines.length}.ts`] = lines.join("\n");
      lines = undefined;
    } else lines.push(text);
  }
  return found;
}

test("every example in the guide, the README and the docstrings of the World compiles, and one that does not would be found", () => {
  const byFile = ["docs/WORLD.md", "docs/FS.md", "docs/MGMT.md", "README.md", ...sources].map((file) => ({
    file,
    found: examplesIn(file),
  }));
  for (const file of [
    "docs/WORLD.md",
    "docs/FS.md",
    "docs/MGMT.md",
    "README.md",
    "src/mgmt/connect.ts",
    "src/mgmt/api.ts",
    "src/world/open.ts",
    "src/world/api/strings.ts",
    "src/world/api/world.ts",
  ]) {
    expect(Object.keys(byFile.find((one) => one.file === file)!.found).length, file).toBeGreaterThan(0);
  }
  const wrong = { "wrong.ts": 'export {};\nawait world.str.set("motd", 7);' };
  const texts = Object.assign({ "around.d.ts": around }, wrong, ...byFile.map(({ found }) => found)) as Record<string, string>;
  expect(typeErrors(texts)).toEqual([expect.stringMatching(/^wrong\.ts:2: .*'number' is not assignable/)]);
});
