// npm run bench -- NAME: set-up, then bench/NAME.ts (or .mjs) with the further arguments; `all`: one after the other. Without a name: which there
// are. Ends with 1 where a limit is missed.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fail, setup } from "./setup.mjs";

const folder = fileURLToPath(new URL("../bench", import.meta.url));
const [name, ...args] = process.argv.slice(2);
const all = existsSync(folder) ? readdirSync(folder).filter((path) => /\.(ts|mjs)$/.test(path)) : [];
const names = all.map((path) => path.replace(/\.\w+$/, ""));
const file = ["ts", "mjs"].map((ending) => join(folder, `${name}.${ending}`)).find((path) => existsSync(path));

if (file !== undefined) {
  await setup().catch((/** @type {unknown} */ error) => {
    fail(error);
    process.exit();
  });
  try {
    process.argv = [process.execPath, file, ...args];
    // Node 20 does not read TypeScript by itself.
    const { runnerImport } = await import("vite");
    await runnerImport(file, { configFile: false, logLevel: "error", esbuild: { target: "node20" } });
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
} else if (name === "all") {
  const missed = names.filter((one) => {
    console.log(`\n${one}`);
    return spawnSync(process.execPath, [fileURLToPath(import.meta.url), one], { stdio: "inherit" }).status !== 0;
  });
  console.log(
    `\n${names.length - missed.length} of ${names.length} benchmarks within their limits${missed.length > 0 ? `, not ${missed.join(", ")}` : ""}`,
  );
  if (missed.length > 0) process.exitCode = 1;
} else {
  if (name !== undefined) {
    console.error(`error: there is no benchmark ${name}; there are:`);
    process.exitCode = 2;
  }
  for (const one of names) console.log(`npm run bench -- ${one}`);
}
