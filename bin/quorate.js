#!/usr/bin/env node
import { existsSync } from "node:fs";

const built = new URL("../dist/cli/main.js", import.meta.url);

if (existsSync(built)) {
  const { main } = /** @type {{ main: (argv: readonly string[]) => Promise<number> }} */ (await import(built.href));
  process.exitCode = await main(process.argv.slice(2));
} else {
  console.error("error: Cannot start Quorate: it is not built\n  hint: npm start (sets up everything), or npm run build");
  process.exitCode = 1;
}
