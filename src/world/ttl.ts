import { WorldError } from "./error.ts";

/** Milliseconds of a TTL in seconds. @throws WorldError INVALID_OPTION */
export function ttlMsOf(ttl: number): number {
  if (Number.isFinite(ttl) && ttl > 0) return 1_000 * Math.ceil(ttl);
  const state = `a TTL is a number of seconds, and this is ${String(ttl)}`;
  throw new WorldError("INVALID_OPTION", `Cannot do that: ${state}`, { data: { option: "ttl" } });
}
