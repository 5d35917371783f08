import type { Logger } from "pino";
import type { LogLevel } from "./options.ts";

/** The logger of `quorate run`, on standard output. The pretty printer is loaded only where somebody looks. */
export async function createLogger(options: {
  readonly level: LogLevel;
  readonly format: "pretty" | "json";
  readonly color: boolean;
}): Promise<Logger> {
  const { pino } = await import("pino");
  const base = { level: options.level, base: null };
  if (options.format === "json") {
    return pino({ ...base, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 1, sync: true }));
  }
  const { default: pretty } = await import("pino-pretty");
  return pino(
    base,
    pretty({
      sync: true,
      destination: 1,
      colorize: options.color,
      translateTime: "SYS:HH:MM:ss.l",
      ignore: "pid,hostname",
      singleLine: true,
    }),
  );
}
