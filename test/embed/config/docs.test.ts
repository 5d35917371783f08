import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { fields, newConfig, type FieldPath, type FieldSpec } from "../../../src/embed/config/index.ts";
import { minors } from "../../../src/embed/config/table.ts";
import { valueOf } from "../../../src/embed/config/values.ts";

const page = readFileSync(new URL("../../../docs/EMBED.md", import.meta.url), "utf8");

test("the page lists every field with its default, its key in files and its flags", () => {
  const listed = page
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const config = newConfig();
  const rows = (Object.entries(fields) as [FieldPath, FieldSpec][]).map(([path, { file, flags, gate }]) => {
    const value = valueOf(config, path);
    const texts = minors.map((minor) => {
      const flag = flags[minor];
      return flag === undefined ? "-" : flag === "feature-gates" ? `gate \`${gate ?? ""}\`` : `\`${flag}\``;
    });
    return [
      `\`${path}\``,
      value === undefined ? "etcd's" : `\`${JSON.stringify(value)}\``,
      file === undefined ? "-" : `\`${file}\``,
      ...texts,
    ];
  });
  expect(listed).toEqual(rows);
});
