import { logText, serverFields } from "../log-text.ts";
import { clip, plain, type Paint, type Style } from "../output.ts";

/**
 * One line of an agent's JSON log, for people: `h1 │ step carried out: 1 seat of 3; h5 is the first of the spares step=nominate agent=h5`.
 * Undefined for what a demo does not show: etcd's own words below an error. What is no JSON is shown as it is. Pure.
 */
export function logLine(host: string, line: string, hue: Style | undefined, paint: Paint, width: number): string | undefined {
  const prefix = `${host} │ `;
  const lead = paint(hue, prefix);
  const room = Math.max(10, width - prefix.length);
  const record = parse(line);
  if (!record) return line.trim() === "" ? undefined : lead + clip(plain(line), room);
  const level = typeof record["level"] === "number" ? record["level"] : 30;
  if (serverFields(record) && level < 50) return undefined;
  const { message, fields } = logText(record);
  const text = clip(plain(message), room);
  const rest = fields === "" ? "" : clip(` ${plain(fields)}`, room - text.length);
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
