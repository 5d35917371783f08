import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";
import type { WorldErrorCode } from "../../src/world/index.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const guide = readFileSync(join(root, "docs/WORLD.md"), "utf8");
const table = guide.slice(guide.indexOf("## Beside mgmt's World"));
const rows = table.split("\n").flatMap((line) => {
  const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
  return line.startsWith("|") ? [{ reference: cells[1]!, ours: cells[2]!, tests: cells[3]! }] : [];
});

/** Members by interface, with the type that is named for each, of the types users see. */
function interfacesOfWorld(): ReadonlyMap<string, ReadonlyMap<string, string | undefined>> {
  const folder = join(root, "src/world/api");
  const found = new Map<string, ReadonlyMap<string, string | undefined>>();
  for (const file of readdirSync(folder)) {
    const source = ts.createSourceFile(file, readFileSync(join(folder, file), "utf8"), ts.ScriptTarget.Latest, true);
    for (const node of source.statements) {
      if (!ts.isInterfaceDeclaration(node)) continue;
      const members = node.members.map((member): [string, string | undefined] => {
        const type = ts.isPropertySignature(member) ? member.type?.getText() : undefined;
        return [member.name?.getText() ?? "", type];
      });
      found.set(node.name.text, new Map(members));
    }
  }
  return found;
}

/** As users write them: `str.get`, `lock`. */
function functionsOfWorld(): readonly string[] {
  const interfaces = interfacesOfWorld();
  return [...interfaces.get("World")!].flatMap(([name, type]) => {
    const part = type === undefined || type === "WorldStatus" ? undefined : interfaces.get(type);
    return part === undefined ? [name] : [...part.keys()].map((method) => `${name}.${method}`);
  });
}

/** Of the World of purpleidea/mgmt. */
const reference = [
  ...["Connect", "Cleanup", "URI", "Fs", "WatchMembers"],
  ...["StrGet", "StrSet", "StrDel", "StrWatch", "StrIsNotExist"],
  ...["StrMapGet", "StrMapSet", "StrMapDel", "StrMapWatch"],
  ...["ResCollect", "ResExport", "ResDelete", "ResWatch"],
  ...["AddDeploy", "GetDeploy", "GetDeploys", "GetMaxDeployID", "WatchDeploy"],
  ...["IdealClusterSizeGet", "IdealClusterSizeSet", "IdealClusterSizeWatch"],
  ...["Scheduler", "SchedulerAdd", "SchedulerCleanup", "ScheduledGet", "Scheduled"],
];

test("the table has every function of the World, and no other", () => {
  const functions = functionsOfWorld();
  expect(functions).toContain("str.get");
  const named = rows.flatMap(({ ours }) => [...ours.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
  const elsewhere = ["openWorld", "agent.world"];
  expect(functions.filter((name) => !named.includes(name))).toEqual([]);
  expect(named.filter((name) => !functions.includes(name) && !elsewhere.includes(name))).toEqual([]);
});

test("the table has every function of the reference's World, with ours or the word that it comes later", () => {
  for (const name of reference) {
    const row = rows.find((one) => one.reference.split(", ").includes(`\`${name}\``));
    expect(row?.ours, name).toMatch(/^`|^comes with a later release$/);
  }
});

test("each function of ours has a test file that there is", () => {
  for (const { ours, tests } of rows.filter((row) => row.ours.startsWith("`"))) {
    const files = tests.split(", ");
    expect(
      files.filter((file) => !existsSync(join(root, "test/world", file))),
      ours,
    ).toEqual([]);
  }
  expect(existsSync(join(root, "test/world/history.test.ts"))).toBe(true);
});

test("every code that a World may fail with is explained, in the guide and where it is declared", () => {
  const declared = readFileSync(join(root, "src/world/error.ts"), "utf8");
  const list = /export type WorldErrorCode = Extract<\n.*?>;/s.exec(declared)![0];
  const codes = [...list.matchAll(/"([A-Z_]+)"/g)].map(([, code]) => code as WorldErrorCode);
  expect(codes.length).toBeGreaterThan(10);
  const explained = declared.slice(0, declared.indexOf("export type WorldErrorCode"));
  for (const code of codes) {
    expect(guide, code).toContain(`\`${code}\``);
    expect(explained, code).toContain(`\`${code}\``);
  }
});

test.each(["WORLD.md", "FS.md"])("every link of %s within the project leads somewhere", (name) => {
  const guide = readFileSync(join(root, "docs", name), "utf8");
  const headings = [...guide.matchAll(/^## (.*)$/gm)].map(([, text]) =>
    text!
      .toLowerCase()
      .replace(/[^a-z -]/g, "")
      .replaceAll(" ", "-"),
  );
  for (const [, to] of guide.matchAll(/\]\(([^)]+)\)/g)) {
    if (to!.startsWith("#")) expect(headings, to).toContain(to!.slice(1));
    else if (!to!.startsWith("http")) expect(existsSync(join(root, "docs", to!.replace(/#.*$/, ""))), to).toBe(true);
  }
});
