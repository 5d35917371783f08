import { clip, plain, type Paint, type Style } from "../output.ts";

/** Fields that say nothing in a demo of one machine. */
const quiet = new Set([
  "level",
  "time",
  "msg",
  "pid",
  "host",
  "hostname",
  "part",
  "err",
  "because",
  "done",
  "revision",
  "memberId",
  "clusterId",
  "member",
]);

/**
 * One line of an agent's JSON log, for people: `h1 │ step carried out: 1 seat of 3; h5 is the first of the spares step=nominate agent=h5`.
 * Undefined for what a demo does not show (etcd's own chatter below an error). What is no JSON is shown as it is. Pure.
 */
export function logLine(host: string, line: string, hue: Style | undefined, paint: Paint, width: number): string | undefined {
  const prefix = `${host} │ `;
  const lead = paint(hue, prefix);
  const room = Math.max(10, width - prefix.length);
  const record = parse(line);
  if (!record) return line.trim() === "" ? undefined : lead + clip(plain(line), room);
  const level = typeof record["level"] === "number" ? record["level"] : 30;
  if ("etcd" in record && level < 50) return undefined;
  const error = record["err"] as { readonly message?: unknown } | undefined;
  const why = [record["because"], error?.message].filter((one) => typeof one === "string");
  const message = typeof record["msg"] === "string" ? record["msg"] : "";
  const text = clip(plain([message, ...why].join(": ")), room);
  const fields = Object.entries(record).flatMap(([name, value]) => field(name, value));
  const rest = fields.length === 0 ? "" : clip(` ${plain(fields.join(" "))}`, room - text.length);
  return lead + paint(level >= 50 ? "red" : level >= 40 ? "yellow" : undefined, text) + paint("dim", rest);
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** `step=nominate agent=h5` for `step: { kind: "nominate", agent: "h5", standby: false }`. */
function field(name: string, value: unknown): string[] {
  if (quiet.has(name) || value === undefined || value === null || value === false) return [];
  if (typeof value === "object" && !Array.isArray(value)) {
    const { kind, on, ...rest } = value as Record<string, unknown>;
    const word = kind ?? on;
    return [
      ...(typeof word === "string" ? [`${name}=${word}`] : []),
      ...Object.entries(rest).flatMap(([key, one]) => field(key, one)),
    ];
  }
  return [`${name}=${typeof value === "string" && /^[^\s"]*$/.test(value) ? value : JSON.stringify(value)}`];
}
