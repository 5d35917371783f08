import type { Place } from "./error.ts";
import type { Access } from "./flags.ts";
import type { Found, RawFile, Volume } from "./volume.ts";

/** One call. */
export interface Call {
  readonly place: Place;
  readonly signal: AbortSignal | undefined;
}

/** Which file is to be opened: it is there, or is to be made. */
export interface Opening {
  readonly path: string;
  readonly found: Found | undefined;
  readonly access: Access;
  readonly mode: number;
}

/**
 * How calls come to what they work on: to the tree as it is now, to the draft of a transaction, to a folder. What is thrown is told as Node
 * tells it.
 */
export interface Way {
  readonly read: <T>(call: Call, act: (volume: Volume) => Promise<T>) => Promise<T>;
  /** All that `act` does, or nothing. @param again it may be done anew where somebody else was first */
  readonly change: <T>(call: Call, again: boolean, act: (volume: Volume) => Promise<T>) => Promise<T>;
  /** A file that stays open. */
  readonly open: (call: Call, access: Access, plan: (volume: Volume) => Promise<Opening>) => Promise<RawFile>;
}

/** Runs a call: where there is a connection, in time, and with what it fails told as Node tells it. */
export type Run = <T>(call: Call, act: () => Promise<T>) => Promise<T>;
