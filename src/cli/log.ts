import type { Logger } from "pino";
import type { LogLevel } from "./options.ts";

export interface LogSettings {
  /** Undefined: info, and on a terminal without what etcd itself says at that level. */
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
  const printer = pretty({
    sync: true,
    destination: 1,
    colorize: color,
    translateTime: "SYS:HH:MM:ss.l",
    ignore: "pid,hostname,host",
    singleLine: true,
  });
  if (level !== undefined) return pino(base, printer);
  return pino(base, {
    write: (line) => {
      if (!isServerChatter(line)) printer.write(line);
    },
  });
}

/** What etcd says at level info: some 40 lines at each start, for whoever looks for a fault in etcd. */
export function isServerChatter(line: string): boolean {
  return line.startsWith('{"level":30,') && line.includes('"part":"server"') && line.includes('"etcd":{');
}
