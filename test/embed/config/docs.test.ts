import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { fields, newConfig, type FieldPath, type FieldSpec } from "../../../src/embed/config/index.ts";
import { minors } from "../../../src/embed/config/table.ts";
import { valueOf } from "../../../src/embed/config/values.ts";
import { etcdAtLeast } from "../../support/etcd.ts";
import { elsewhere, groups, refusals, type By } from "./readings.ts";

const page = readFileSync(new URL("../../../docs/EMBED.md", import.meta.url), "utf8");

/** How `readings.test.ts` reads each field back, with an etcd 3.5. */
async function shownBy(): Promise<ReadonlyMap<string, By>> {
  const found = new Map<string, By>(Object.entries(elsewhere));
  for (const { field } of refusals) found.set(field, "log");
  for (const make of Object.values(groups))
    for (const [path, { by }] of Object.entries((await make()).fields)) found.set(path, by);
  return found;
}

test.skipIf(!etcdAtLeast(3, 5))(
  "the page lists every field with its default, its key in files, its flags, and how it is read back",
  async () => {
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
    const by = await shownBy();
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
        by.get(path) ?? "-",
      ];
    });
    expect(listed).toEqual(rows);
  },
);
