import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { tidy } from "../../scripts/tidy.mjs";

/** What tidy says of a project with just these files. */
function tidied(files: Readonly<Record<string, string>>): string[] {
  const root = mkdtempSync(join(tmpdir(), "quorate-tidy-"));
  try {
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), text);
    }
    return tidy(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

test("this project is tidy", () => {
  expect(tidy(fileURLToPath(new URL("../..", import.meta.url)))).toEqual([]);
});

test("an import against the arrows is found, with its line", () => {
  expect(tidied({ "src/etcd/watch.ts": `import { a } from "../clock.ts";\nimport type { B } from "../agent/b.ts";\n` })).toEqual([
    "src/etcd/watch.ts:2: etcd must not import agent",
  ]);
});

test("siblings, re-exports, import() and import types are imports too", () => {
  expect(
    tidied({
      "src/embed/a.ts": `export * from "../etcd/index.ts";`,
      "src/embed/b.ts": `const wire = await import("../etcd/index.ts");`,
      "src/embed/c.ts": `type Wire = import("../etcd/index.ts").Wire;`,
      "src/cli/d.ts": `import { x } from "../../test/support/x.ts";`,
    }),
  ).toEqual([
    "src/cli/d.ts:1: must not import test/support/x.ts: only src is shipped",
    "src/embed/a.ts:1: embed must not import etcd",
    "src/embed/b.ts:1: embed must not import etcd",
    "src/embed/c.ts:1: embed must not import etcd",
  ]);
});

test("the chooser imports nothing outside itself", () => {
  expect(
    tidied({
      "src/chooser/plan.ts": `import { rank } from "./rank.ts";\nimport { of } from "rxjs";\nimport { keysUnder } from "../keys.ts";`,
    }),
  ).toEqual([
    "src/chooser/plan.ts:2: chooser must not import rxjs: it is pure",
    "src/chooser/plan.ts:3: chooser must not import keys",
  ]);
});

test("the store imports only what Node brings", () => {
  expect(
    tidied({ "src/embed/store.mjs": `import "node:fs";\nimport "./store-apt.mjs";\nimport "../errors.ts";\nimport "pino";` }),
  ).toEqual([
    "src/embed/store.mjs:3: must not import ../errors.ts: the store runs before anything is installed or built",
    "src/embed/store.mjs:4: must not import pino: the store runs before anything is installed or built",
  ]);
});

test("every banned call is found", () => {
  const calls = [
    "setTimeout(f, 1)",
    "globalThis.setTimeout(f, 1)",
    "setInterval(f, 1)",
    "Date.now()",
    "new Date()",
    "performance.now()",
    "AbortSignal.timeout(1)",
    "Math.random()",
    "console.log(1)",
    "process.env",
    'import "node:timers/promises"',
  ];
  for (const call of calls) expect(tidied({ "src/agent/a.ts": `${call};` }), call).toHaveLength(1);
});

test("a banned word is no banned call: in comments, texts, own names and where it is allowed", () => {
  expect(
    tidied({
      "src/agent/a.ts": `// setTimeout\nconst text = "Math.random()";\nconst at = new Date(0);\nconst o = { console: 1 };\nthis.console.log(o.console);`,
      "src/clock.ts": `setTimeout(f, 1); Date.now();`,
      "src/cli/options.ts": `console.log(process.env);`,
    }),
  ).toEqual([]);
});
