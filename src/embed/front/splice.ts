import type { Duplex } from "node:stream";

/** Hands what each of the two says to the other until both have ended; the end of one that broke is the end of both. */
export function splice(one: Duplex, other: Duplex): void {
  const cut = (): void => {
    one.destroy();
    other.destroy();
  };
  for (const end of [one, other]) end.on("error", cut).on("close", cut);
  one.pipe(other);
  other.pipe(one);
}
