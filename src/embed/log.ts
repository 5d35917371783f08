import type { Logger } from "pino";

/** One line of etcd's log. */
export interface EtcdLogLine {
  readonly level: LogLevel;
  readonly msg: string;
  /** Everything else of a JSON line, as etcd wrote it. Empty for a line of plain text. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

const levels: Readonly<Record<string, LogLevel>> = {
  debug: "debug",
  info: "info",
  warn: "warn",
  error: "error",
  dpanic: "error",
  panic: "fatal",
  fatal: "fatal",
};

const longestLine = 64 * 1024;
const linesKept = 50;

/** Cuts text that comes in pieces into lines. A line without end is cut off at 64 KiB: etcd may not fill our memory. */
export class LineSplitter {
  readonly #online: (line: string) => void;
  #rest = "";

  constructor(onLine: (line: string) => void) {
    this.#online = onLine;
  }

  write(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = (lines.pop() ?? "").slice(0, longestLine);
    for (const line of lines) this.#online(line.slice(0, longestLine));
  }

  end(): void {
    if (this.#rest !== "") this.#online(this.#rest);
    this.#rest = "";
  }
}

/** Reads a line as etcd's zap logger writes it. Anything else (usage, a Go panic) is plain text and a warning, or worse. */
export function parseLogLine(line: string): EtcdLogLine {
  if (line.startsWith("{")) {
    try {
      const { level, msg, ts: _, ...fields } = JSON.parse(line) as Record<string, unknown>;
      if (typeof level === "string" && typeof msg === "string") return { level: levels[level] ?? "warn", msg, fields };
    } catch {
      // Not JSON after all: plain text.
    }
  }
  return { level: /^(panic|fatal error): /.test(line) ? "fatal" : "warn", msg: line, fields: {} };
}

/** Writes a line to our log: etcd's own keys stay together in `etcd`, so that they cannot overwrite ours. */
export function relog(log: Logger, line: EtcdLogLine): void {
  if (line.msg === "") return;
  if (Object.keys(line.fields).length === 0) log[line.level](line.msg);
  else log[line.level]({ etcd: line.fields }, line.msg);
}

/** What one run of etcd has said about itself so far. */
export class LogReading {
  memberId: string | undefined;
  clusterId: string | undefined;
  /** It serves clients: the member has been heard by the cluster, and the listeners answer. */
  ready = false;
  /** Its own words that the cluster has removed this member. */
  removed = false;
  readonly lastLines: string[] = [];
  #fatal: string | undefined;
  #firstPlain: string | undefined;

  /** Takes in one line, in order. */
  read(raw: string): EtcdLogLine {
    const line = parseLogLine(raw);
    this.lastLines.push(raw);
    if (this.lastLines.length > linesKept) this.lastLines.shift();
    const error = line.fields["error"];
    if (line.level === "fatal") this.#fatal ??= typeof error === "string" ? error : line.msg;
    if (!raw.startsWith("{") && !raw.startsWith("[WARNING]") && raw !== "") this.#firstPlain ??= raw;
    this.memberId ??= idIn(line.fields["local-member-id"], line.fields["cluster-id"] !== undefined);
    if (this.memberId !== undefined) this.clusterId ??= idIn(line.fields["cluster-id"], true);
    // 3.4 has no "ready" line; the other one is written by the same goroutine a moment later in all versions.
    if (line.msg === "ready to serve client requests" || line.msg.startsWith("serving client traffic ")) this.ready = true;
    if (line.msg === "data-dir used by this member must be removed") this.removed = true;
    return line;
  }

  /** Why it ended, in one line, as far as the log tells. */
  get reason(): string {
    return this.#fatal ?? this.#firstPlain ?? lastMessage(this.lastLines) ?? "it wrote nothing";
  }
}

/** An id as etcd prints it: hex without padding; "0" stands for none yet. */
function idIn(value: unknown, counts: boolean): string | undefined {
  return counts && typeof value === "string" && /^[0-9a-f]+$/.test(value) && value !== "0" ? value : undefined;
}

function lastMessage(lines: readonly string[]): string | undefined {
  const last = lines.at(-1);
  return last === undefined ? undefined : parseLogLine(last).msg;
}
