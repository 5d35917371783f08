import { execFileSync, spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { clip, encode, painter, plain, table, yaml } from "../../src/cli/output.ts";

const noPaint = painter(false);

describe("a table", () => {
  const columns = [{ title: "HOST" }, { title: "ROLE" }, { title: "URL", spare: 1 }, { title: "DB", spare: 2 }];
  const rows = [
    ["h1", "voter", "http://127.0.0.1:2379", "20 KiB"],
    [{ text: "h20", style: "bold" as const }, "learner", "http://127.0.0.1:2381", ""],
  ];

  test("has aligned columns and no blanks at the end of a line", () => {
    expect(table(columns, rows, noPaint)).toEqual([
      "HOST  ROLE     URL                    DB",
      "h1    voter    http://127.0.0.1:2379  20 KiB",
      "h20   learner  http://127.0.0.1:2381",
    ]);
  });

  test("leaves out spare columns where the terminal is narrow, the highest number first", () => {
    expect(table(columns, rows, noPaint, 40)[0]).toBe("HOST  ROLE     URL");
    expect(table(columns, rows, noPaint, 20)[0]).toBe("HOST  ROLE");
  });

  test("cuts what still does not fit", () => {
    expect(table(columns, rows, noPaint, 8)).toEqual(["HOST  R…", "h1    v…", "h20   l…"]);
  });

  test("never has a line longer than the terminal, painted or not", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.string(), { minLength: 4, maxLength: 4 })),
        fc.integer({ min: 1, max: 120 }),
        (cells, width) => {
          for (const line of table(columns, cells, noPaint, width)) expect(line.length).toBeLessThanOrEqual(width);
        },
      ),
    );
  });

  test("paints a cell without counting the escape sequence", () => {
    expect(table(columns, rows, painter(true))[2]).toBe("\u001b[1mh20   \u001b[0mlearner  http://127.0.0.1:2381");
  });
});

test("an escape sequence in a foreign value does not reach the terminal", () => {
  expect(plain("\u001b[2Jgone\u0007")).toBe("·[2Jgone·");
});

test("a cut line ends in an ellipsis", () => {
  expect(clip("settled: 3 voters", 8)).toBe("settled…");
  expect(clip("settled", 7)).toBe("settled");
  expect(clip("settled", 0)).toBe("");
});

describe("YAML", () => {
  test("is block style, with words bare and everything doubtful quoted", () => {
    const value = {
      name: "h1",
      urls: ["http://a:1"],
      empty: [],
      none: {},
      yes: "yes",
      n: 1,
      off: null,
      deep: [{ a: 1, b: [true] }, []],
    };
    expect(encode(value, "yaml")).toBe(
      [
        "name: h1",
        "urls:",
        '  - "http://a:1"',
        "empty: []",
        "none: {}",
        '"yes": "yes"',
        '"n": 1',
        '"off": null',
        "deep:",
        "  - a: 1",
        "    b:",
        "      - true",
        "  - []",
        "",
      ].join("\n"),
    );
  });

  const reader = spawnSync("python3", ["-c", "import yaml"]).status === 0;
  test.skipIf(!reader)("means to a YAML reader what JSON means (needs python3 with yaml)", () => {
    // That reader takes 9e-323 for text (YAML 1.1): whole numbers are all that the commands print.
    const wholeNumbers = (_: string, value: unknown): unknown => (typeof value === "number" ? Math.trunc(value % 1e9) : value);
    const values = fc
      .sample(fc.jsonValue({ noUnicodeString: true }), { numRuns: 100, seed: 7 })
      .map((value) => JSON.parse(JSON.stringify(value, wholeNumbers)) as unknown);
    const documents = values.map(yaml).join("---\n");
    const script = "import sys,yaml,json; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    const read = JSON.parse(execFileSync("python3", ["-c", script], { input: documents, encoding: "utf8" })) as unknown;
    expect(read).toEqual(values);
  });
});
