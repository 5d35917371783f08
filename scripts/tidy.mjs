// Checks what neither the compiler nor the linter sees: which folder may import which (DESIGN, "Layout and the dependency rule"),
// and where time, randomness, the terminal and the environment may be touched.
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const leaves = ["clock", "errors", "keys", "system-tools"];

/** Layer -> the layers it may import. `index` re-exports, so it may name any. */
const mayImport = {
  chooser: ["chooser"],
  embed: ["embed", ...leaves],
  etcd: ["etcd", ...leaves],
  ssh: ["ssh", ...leaves],
  world: ["world", "etcd", "ssh", ...leaves],
  mgmt: ["mgmt", "world"],
  agent: ["agent", "chooser", "embed", "world", "etcd", ...leaves],
  http: ["http", "agent", "chooser", "embed", "world", "etcd", "ssh", ...leaves],
  cli: ["cli", "agent", "chooser", "embed", "world", "etcd", "ssh", ...leaves],
  clock: leaves,
  errors: leaves,
  keys: leaves,
  "system-tools": leaves,
};

const clockOnly = { use: "the injected Clock and `within` of src/clock.ts", but: /^src\/clock\.ts$/ };
const dice = { use: "randomness that is passed in (for ids: node:crypto)", but: /^$/ };
const terminal = { use: "the injected logger; only src/cli prints", but: /^src\/cli\// };

/** @type {Record<string, { use: string, but: RegExp }>} */
const banned = {
  setTimeout: clockOnly,
  setInterval: clockOnly,
  "new Date()": clockOnly,
  "Date()": clockOnly,
  "Date.now": clockOnly,
  "performance.now": clockOnly,
  "process.hrtime": clockOnly,
  "AbortSignal.timeout": clockOnly,
  "node:timers": clockOnly,
  "node:timers/promises": clockOnly,
  "Math.random": dice,
  console: terminal,
  "process.stdout": terminal,
  "process.stderr": terminal,
  "process.env": { use: "options, read in src/cli/options", but: /^src\/(cli\/options[^/]*\.ts|embed\/store[^/]*\.mjs)$/ },
};

/**
 * What is untidy in the `src` folder of a project, as `file:line: what, and what to do instead`.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function tidy(root) {
  return readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => /\.m?[jt]s$/.test(file) && !file.endsWith(".d.ts"))
    .sort()
    .flatMap((file) => problemsIn(root, join("src", file)));
}

/**
 * @param {string} root
 * @param {string} file
 * @returns {string[]}
 */
function problemsIn(root, file) {
  const name = file.split(sep).join("/");
  const source = ts.createSourceFile(name, readFileSync(join(root, file), "utf8"), ts.ScriptTarget.Latest, true);
  /** @type {string[]} */
  const problems = [];
  /** @type {(node: ts.Node, what: string) => void} */
  const report = (node, what) => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    problems.push(`${name}:${line + 1}: ${what}`);
  };
  /** @type {(node: ts.Node, what: string) => void} */
  const checkBanned = (node, what) => {
    const rule = Object.hasOwn(banned, what) ? banned[what] : undefined;
    if (rule !== undefined && !rule.but.test(name)) report(node, `${what} is banned here, use ${rule.use}`);
  };
  /** @type {(node: ts.Node) => void} */
  const visit = (node) => {
    const target = importTarget(node);
    if (target !== undefined) {
      checkBanned(node, target);
      const refused = whyNotImport(name, target);
      if (refused !== undefined) report(node, refused);
    }
    if (ts.isIdentifier(node) && isUse(node)) checkBanned(node, node.text);
    if (ts.isPropertyAccessExpression(node)) checkBanned(node, node.getText(source).replace(/^globalThis\./, ""));
    if (ts.isNewExpression(node) && isNamed(node.expression, "Date") && !node.arguments?.length) checkBanned(node, "new Date()");
    if (ts.isCallExpression(node) && isNamed(node.expression, "Date")) checkBanned(node, "Date()");
    ts.forEachChild(node, visit);
  };
  visit(source);
  return problems;
}

/**
 * The module an import, a re-export, an `import()` or an `import("...")` type names.
 *
 * @param {ts.Node} node
 * @returns {string | undefined}
 */
function importTarget(node) {
  /** @type {ts.Node | undefined} */
  let target;
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) target = node.moduleSpecifier;
  else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) target = node.arguments[0];
  else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) target = node.argument.literal;
  return target !== undefined && ts.isStringLiteralLike(target) ? target.text : undefined;
}

/**
 * Whether an identifier is the global itself: not a property, not a name somebody gave.
 *
 * @param {ts.Identifier} node
 */
function isUse(node) {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  return !(
    (ts.isPropertyAssignment(parent) ||
      ts.isPropertyDeclaration(parent) ||
      ts.isMethodDeclaration(parent) ||
      ts.isPropertySignature(parent)) &&
    parent.name === node
  );
}

/**
 * @param {ts.Node} node
 * @param {string} name
 */
function isNamed(node, name) {
  return ts.isIdentifier(node) && node.text === name;
}

/**
 * @param {string} file
 * @param {string} target
 * @returns {string | undefined}
 */
function whyNotImport(file, target) {
  const from = layerOf(file);
  const relative = target.startsWith(".");
  if (/^src\/embed\/store[^/]*\.mjs$/.test(file)) {
    const fits = relative ? /^\.\/store[^/]*\.mjs$/.test(target) : target.startsWith("node:");
    return fits ? undefined : `must not import ${target}: the store runs before anything is installed or built`;
  }
  if (!relative) return from === "chooser" ? `chooser must not import ${target}: it is pure` : undefined;
  const path = normalize(join(dirname(file), target))
    .split(sep)
    .join("/");
  if (!path.startsWith("src/")) return `must not import ${path}: only src is shipped`;
  const to = layerOf(path);
  if (from === "index") return undefined;
  if (!Object.hasOwn(mayImport, from)) return `is in no known layer: add ${from} to the rule in scripts/tidy.mjs and to DESIGN`;
  const allowed = mayImport[/** @type {keyof typeof mayImport} */ (from)];
  return allowed.includes(to) ? undefined : `${from} must not import ${to}`;
}

/** @param {string} file such as src/chooser/plan.ts or src/clock.ts */
function layerOf(file) {
  return (file.split("/")[1] ?? "").replace(/\.m?[jt]s$/, "");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = tidy(process.argv[2] ?? fileURLToPath(new URL("..", import.meta.url)));
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}
