import { constants } from "node:fs";
import { badValue, checkInteger } from "./error.ts";

/** What may be done with an open file, and what opening it does. */
export interface Access {
  readonly read: boolean;
  readonly write: boolean;
  /** Every write goes to the end. */
  readonly append: boolean;
  readonly create: boolean;
  /** Only where there is nothing. */
  readonly exclusive: boolean;
  readonly truncate: boolean;
}

const { O_RDONLY, O_WRONLY, O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_TRUNC, O_SYNC } = constants;

const letters: Readonly<Record<string, number>> = {
  r: O_RDONLY,
  "r+": O_RDWR,
  w: O_TRUNC | O_CREAT | O_WRONLY,
  "w+": O_TRUNC | O_CREAT | O_RDWR,
  a: O_APPEND | O_CREAT | O_WRONLY,
  "a+": O_APPEND | O_CREAT | O_RDWR,
};

/** Letters as Node takes them, `x` and `s` anywhere behind the first. @throws TypeError */
export function numberOf(flags: unknown): number {
  if (typeof flags === "number") return checkInteger("flags", flags, 0, 2 ** 31 - 1);
  if (typeof flags !== "string") throw badValue("flags", "is invalid", flags);
  const known = /^(r|rs|sr|w|wx|xw|a|ax|xa|as|sa)\+?$/.test(flags) ? letters[flags.replace(/[xs]/g, "")] : undefined;
  if (known === undefined) throw badValue("flags", "is invalid", flags);
  return known | (flags.includes("x") ? O_EXCL : 0) | (flags.includes("s") ? O_SYNC : 0);
}

export function accessOf(flags: number): Access {
  const way = flags & (O_RDONLY | O_WRONLY | O_RDWR);
  const has = (flag: number): boolean => (flags & flag) !== 0;
  return {
    read: way !== O_WRONLY,
    write: way !== O_RDONLY,
    append: has(O_APPEND),
    create: has(O_CREAT),
    exclusive: has(O_CREAT) && has(O_EXCL),
    truncate: has(O_TRUNC),
  };
}

/** Of permissions; text is octal. @throws TypeError, RangeError */
export function modeOf(mode: unknown, otherwise: number): number {
  if (mode === undefined || mode === null) return otherwise;
  if (typeof mode === "string") {
    if (!/^[0-7]+$/.test(mode)) throw badValue("mode", "must be a 32-bit unsigned integer or an octal string", mode);
    return parseInt(mode, 8) & 0o7777;
  }
  return checkInteger("mode", mode, 0, 2 ** 32 - 1) & 0o7777;
}
