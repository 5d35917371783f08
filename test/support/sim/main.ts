import { constants, setPriority } from "node:os";
import { parseArgs } from "node:util";
import { useLightSignals } from "./light-signals.ts";
import { Broken, simulate } from "./simulate.ts";

// One worker of scripts/sim.mjs: plays lives and tells of each in one line of JSON on its standard output.
const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    rounds: { type: "string", default: "1" },
    /** Every so many seeds: workers take turns. */
    step: { type: "string", default: "1" },
    trace: { type: "string" },
  },
});
const { trace } = values;
// Virtual time waits for nothing: whatever waits in real time goes first.
setPriority(constants.priority.PRIORITY_LOW);
useLightSignals();
const [first, rounds, step] = [Number(values.seed), Number(values.rounds), Number(values.step)];

// Thousands of errors are made and caught; their stacks are only wanted of a life that is looked at.
if (trace === undefined) Error.stackTraceLimit = 0;

for (let seed = first; seed < first + rounds; seed += step) {
  const startMs = process.cpuUsage().user / 1_000;
  let told: object;
  try {
    const { faults, events, stormEvents, changes, seconds, notes, kinds } = await simulate(
      seed,
      trace === "info" || trace === "debug" ? { trace } : {},
    );
    told = {
      seed,
      faults,
      events,
      stormEvents,
      changes,
      seconds,
      kinds: Object.fromEntries(kinds),
      ...(trace === undefined ? {} : { notes }),
    };
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    told = {
      seed,
      broken: error.message,
      notes: error.notes,
      stack: error.cause instanceof Error ? error.cause.stack : undefined,
    };
  }
  process.stdout.write(`${JSON.stringify({ ...told, cpuMs: process.cpuUsage().user / 1_000 - startMs })}\n`);
}
// Agents that were killed in the model wait for ever.
process.exitCode = 0;
