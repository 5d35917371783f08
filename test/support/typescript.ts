import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Nothing is written there: texts are compiled as if they lay in a folder of the project. */
const folder = join(root, "test", "texts");

/**
 * Compiles texts, all in one program, with the project's own strict settings and without writing anything.
 *
 * @param texts by file name
 * @returns each error as `file:line: message`: of the texts, and of declaration files of the project; not of other people's packages
 */
export function typeErrors(texts: Readonly<Record<string, string>>, more: ts.CompilerOptions = {}): readonly string[] {
  const options: ts.CompilerOptions = { ...projectOptions(), noUnusedLocals: false, noUnusedParameters: false, ...more };
  const byPath = new Map(Object.entries(texts).map(([name, text]) => [join(folder, name), text]));
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (path) => byPath.has(resolve(path)) || fileExists(path);
  host.readFile = (path) => byPath.get(resolve(path)) ?? readFile(path);
  const program = ts.createProgram([...byPath.keys()], options, host);
  const sources = program.getSourceFiles().filter(({ fileName }) => isOurs(fileName, byPath));
  return sources
    .flatMap((source) => [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)])
    .map(({ file, start = 0, messageText }) => {
      const text = ts.flattenDiagnosticMessageText(messageText, " ");
      if (file === undefined) return text;
      const from = byPath.has(resolve(file.fileName)) ? folder : root;
      return `${relative(from, file.fileName)}:${file.getLineAndCharacterOfPosition(start).line + 1}: ${text}`;
    });
}

/** Sources of the project are checked by themselves. */
function isOurs(path: string, texts: ReadonlyMap<string, string>): boolean {
  if (texts.has(resolve(path))) return true;
  return path.endsWith(".d.ts") && !relative(root, path).startsWith("..") && !path.includes("node_modules");
}

function projectOptions(): ts.CompilerOptions {
  const path = join(root, "tsconfig.json");
  const read: { config?: unknown; error?: ts.Diagnostic } = ts.readConfigFile(path, (file) => ts.sys.readFile(file));
  if (read.error !== undefined) throw new Error(ts.flattenDiagnosticMessageText(read.error.messageText, " "));
  const { compilerOptions } = read.config as { readonly compilerOptions: unknown };
  return ts.convertCompilerOptionsFromJson(compilerOptions, dirname(path)).options;
}
