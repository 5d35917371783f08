/**
 * How many lives of at least 300 faults the simulation plays in a minute of one core. The time of the core counts and not that of the clock,
 * so that what else runs on the machine counts little.
 *
 *   npm run bench -- sim [SEED]
 *
 * Exits 1 below 1,000, and where a life breaks a rule.
 */
import { fileURLToPath } from "node:url";
import { runSim } from "../test/support/sim/script.ts";

const least = 1_000;
/** The first few hundred are slow: the code is not yet compiled. */
const lives = 2_000;
const root = fileURLToPath(new URL("..", import.meta.url));

const { code, said } = await runSim(root, "--seed", process.argv[2] ?? "500001", "--rounds", String(lives), "--kinds");
console.log(said.trimEnd());
const figure = Number(/\(([0-9]+) a minute of one core\)/.exec(said)?.[1]);
const faults = Number(/\(([0-9]+) at least\)/.exec(said)?.[1]);
if (code !== 0) console.log("MISSED: a life broke a rule");
if (!(faults >= 300)) console.log(`MISSED: a life had ${faults} faults, and not 300`);
if (!(figure >= least)) console.log(`MISSED: ${figure} lives a minute of one core, and not ${least}`);
if (code !== 0 || !(faults >= 300) || !(figure >= least)) process.exitCode = 1;
