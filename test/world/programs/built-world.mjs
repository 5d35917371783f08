// The World as a program gets it: the built package.

const path = new URL("../../../dist/world/index.js", import.meta.url).href;

/** @type {typeof import("../../../src/world/index.ts")} */
export const { openWorld, WorldError } = await import(path);

/** One line on stdout, which is written before this returns. */
/** @param {object} line */
export function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
