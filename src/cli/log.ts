import type { Logger } from "pino";
import { isServerChatter, logText } from "./log-text.ts";
import type { LogLevel } from "./options.ts";
import { painter, plain } from "./output.ts";

export interface LogSettings {
  /** Undefined: info, and on a terminal without etcd's chatter. */
  readonly level: LogLevel | undefined;
  readonly format: "pretty" | "json";
  readonly color: boolean;
}

/** The logger of `quorate run`, on standard output. The pretty printer is loaded only where somebody looks. */
export async function createLogger({ level, format, color }: LogSettings): Promise<Logger> {
  const { pino } = await import("pino");
  const base = { level: level ?? "info", base: null };
  if (format === "json") {
    return pino({ ...base, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 1, sync: true }));
  }
  const { default: pretty } = await import("pino-pretty");
  const paint = painter(color);
  const printer = pretty({
    sync: true,
    destination: 1,
    colorize: color,
    translateTime: "SYS:HH:MM:ss.l",
    hideObject: true,
    messageFormat: (record) => {
      const { message, fields } = logText(record);
      return plain(message) + (fields === "" ? "" : paint("dim", ` ${plain(fields)}`));
    },
  });
  if (level !== undefined) return pino(base, printer);
  return pino(base, {
    write: (line) => {
      // Only etcd's lines are looked into: they are the many.
      if (!line.includes('"etcd":{') || !isServerChatter(JSON.parse(line) as Record<string, unknown>)) printer.write(line);
    },
  });
}
