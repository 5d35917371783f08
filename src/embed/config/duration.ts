/** Milliseconds. */
const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

const shape = /^[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+)$/;

/** A duration as Go reads it ("5m", "1h30m", "1.5s", "0"), in milliseconds; undefined where it is none. */
export function durationMs(text: string): number | undefined {
  if (!shape.test(text)) return undefined;
  let ms = 0;
  for (const [, amount = "", unit = ""] of text.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g))
    ms += Number(amount) * (units[unit] ?? NaN);
  return text.startsWith("-") ? -ms : ms;
}

/** Nanoseconds, as etcd's configuration files have durations, in the largest unit that takes no fraction. */
export function durationOfNanoseconds(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  for (const [unit, size] of [
    ["h", 3_600e9],
    ["m", 60e9],
    ["s", 1e9],
    ["ms", 1e6],
    ["us", 1e3],
  ] as const)
    if (nanoseconds % size === 0) return `${nanoseconds / size}${unit}`;
  return `${nanoseconds}ns`;
}
