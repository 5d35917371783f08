import { readFileSync } from "node:fs";
import { z } from "zod";

const file = new URL("../../package.json", import.meta.url);

/** Quorate's own version, from its package. */
export const quorateVersion: string = z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, "utf8"))).version;
