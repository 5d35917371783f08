import { test } from "vitest";

/** Whether this is `npm run test:full`, which plays every case and counts further. */
export const full = process.env["QUORATE_TEST_FULL"] === "1";

/** A test of `npm run test:full` alone: what it shows, `npm test` shows with less, or in the simulation. */
export const slow: typeof test | (() => undefined) = full ? test : () => undefined;
