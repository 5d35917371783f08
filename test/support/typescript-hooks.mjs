// Lets a plain `node --import THIS file.ts` run our sources: for tests that need a process of their own.
import { readFile } from "node:fs/promises";
import { isMainThread } from "node:worker_threads";
import { register } from "node:module";
import { fileURLToPath } from "node:url";

// Hooks run in a thread of their own, which loads this file a second time. Only there is a compiler of use, which takes long to load.
if (isMainThread) register(import.meta.url);
const ts = isMainThread ? undefined : (await import("typescript")).default;

/** @type {import("node:module").LoadHook} */
export async function load(url, context, next) {
  if (!ts || !url.endsWith(".ts")) return next(url, context);
  const { outputText } = ts.transpileModule(await readFile(fileURLToPath(url), "utf8"), {
    compilerOptions: {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2022,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
    },
    fileName: fileURLToPath(url),
  });
  return { format: "module", shortCircuit: true, source: outputText };
}
