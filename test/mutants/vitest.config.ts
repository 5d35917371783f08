import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { ofTheLeader, ofThePlan } from "./list.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const mutant = [...ofThePlan, ...ofTheLeader][Number(process.env["QUORATE_MUTANT"])];
if (mutant === undefined) throw new Error("QUORATE_MUTANT names no mutant; use npm run mutants");
const { file, from, to } = mutant;
if (readFileSync(join(root, file), "utf8").split(from).length !== 2)
  throw new Error(`${file} does not have once what the mutant is to change`);

/** The tests as they are, over a tree in which one thing is broken. */
export default defineConfig({
  root,
  plugins: [
    {
      name: "quorate-mutant",
      enforce: "pre",
      load: (id) =>
        id.split("?")[0] === join(root, file) ? readFileSync(join(root, file), "utf8").replace(from, () => to) : null,
    },
  ],
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    retry: 0,
    bail: 1,
    reporters: ["dot"],
  },
});
