import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(join(root, "docs/MGMT.md"), "utf8");

/** Cells of the table below a heading, without its head. */
function rowsBelow(heading: string): readonly (readonly string[])[] {
  const section = page.slice(page.indexOf(`## ${heading}`)).split("\n## ")[0]!;
  const lines = section.split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

function namesIn(cells: readonly (string | undefined)[]): readonly string[] {
  return cells.flatMap((cell) => [...cell!.matchAll(/`(\w+)`/g)].map(([, name]) => name!));
}

/** Of an interface in src/mgmt/api.ts. */
function membersOf(name: string): readonly string[] {
  const path = join(root, "src/mgmt/api.ts");
  const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true);
  const found = source.statements.find((node) => ts.isInterfaceDeclaration(node) && node.name.text === name);
  return (found as ts.InterfaceDeclaration).members.map((member) => member.name!.getText());
}

/** Of the World of purpleidea/mgmt and the interfaces beside it. */
const reference = [
  ...["Connect", "Cleanup", "URI", "Fs", "WatchMembers"],
  ...["StrGet", "StrSet", "StrDel", "StrWatch", "StrIsNotExist"],
  ...["StrMapGet", "StrMapSet", "StrMapDel", "StrMapWatch"],
  ...["ResCollect", "ResExport", "ResDelete", "ResWatch"],
  ...["Scheduler", "Scheduled"],
  ...["AddDeploy", "GetDeploy", "GetDeploys", "GetMaxDeployID", "WatchDeploy"],
  ...["IdealClusterSizeGet", "IdealClusterSizeSet", "IdealClusterSizeWatch"],
];

test("the table has every function of mgmt's World, and every one of ours has its name", () => {
  const rows = rowsBelow("The functions");
  expect([...namesIn(rows.map(([go]) => go))].sort()).toEqual([...reference].sort());
  const functions = ["connect", ...membersOf("MgmtWorld").filter((name) => !["hostname", "namespace", "world"].includes(name))];
  expect([...namesIn(rows.map(([, ours]) => ours))].sort()).toEqual(functions.filter((name) => !name.startsWith("[")).sort());
  for (const [go, ours] of rows) expect(ours!.toLowerCase(), go).toBe(go!.toLowerCase());
});

test("every option of connect is explained", () => {
  const explained = namesIn(rowsBelow("The options").map(([, ours]) => ours));
  for (const option of membersOf("ConnectOptions")) expect(explained).toContain(option);
});

test("every function says in its docstring what it promises, and every link of the page leads somewhere", () => {
  const text = readFileSync(join(root, "src/mgmt/api.ts"), "utf8");
  for (const name of membersOf("MgmtWorld").filter((member) => !/^(\[|namespace$)/.test(member)))
    expect(text, name).toMatch(new RegExp(`\\*/\\n  (readonly )?${name}[(:]`));
  for (const [, to] of page.matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
    if (!to!.startsWith("http")) expect(existsSync(join(root, "docs", to!)), to).toBe(true);
  }
});
