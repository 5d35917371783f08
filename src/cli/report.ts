import { exitCodes, messageOf, QuorateError, type ErrorCode } from "../errors.ts";
import { plain } from "./output.ts";
import { flagOf } from "./options.ts";

/** What the command line says about an error, and exits with. */
export interface Report {
  readonly text: string;
  readonly exitCode: number;
}

/**
 * `error: what` / `  cause: why, with endpoint` / `  hint: command to run`. An error that is not ours is a bug and comes with its
 * stack.
 */
export function report(thrown: unknown): Report {
  const error = known(thrown);
  if (!(error instanceof QuorateError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { text: `error: Cannot go on: this is a bug in Quorate\n  cause: ${text.split("\n").join("\n    ")}\n`, exitCode: 1 };
  }
  const lines = [`error: ${plain(withFlag(error))}`];
  for (const cause of causesOf(error)) lines.push(`  cause: ${plain(cause)}`);
  if (error.hint !== undefined) lines.push(`  hint: ${plain(error.hint)}`);
  return { text: `${lines.join("\n")}\n`, exitCode: error.exitCode };
}

/** The first line of a foreign message, without what only gRPC and Node need in it. */
export function inWords(message: string): string {
  return (message.split("\n")[0] ?? "")
    .replace(/\b[0-9]{1,2} [A-Z_]{4,}: /, "")
    .replace(/^[0-9]{1,2}: /, "")
    .replace(/No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:.*$/, "$1")
    .replace(/connect ECONNREFUSED \S+/, "connection refused")
    .replace(/connect E(HOST|NET)UNREACH \S+/, "no route to it")
    .replace(/getaddrinfo (ENOTFOUND|EAI_AGAIN) (\S+)/, "no such host name: $2");
}

/** The managed store cannot import our errors: it throws plain ones with a code of ours and a hint. */
function known(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof QuorateError || !("code" in error) || !("hint" in error)) return error;
  const { code, hint } = error as { code: unknown; hint: unknown };
  if (typeof code !== "string" || !(code in exitCodes)) return error;
  return new QuorateError(code as ErrorCode, error.message, {
    cause: error.cause,
    ...(typeof hint === "string" ? { hint } : {}),
  });
}

/** The library names an option as a program writes it; at a command line it is a flag. */
function withFlag(error: QuorateError): string {
  const option = error.data["option"];
  const flag = typeof option === "string" ? flagOf(option) : undefined;
  return flag === undefined ? error.message : error.message.replace(`option ${String(option)}`, flag);
}

/** The chain of causes, one line each; several causes side by side (AggregateError) are lines of their own. */
function causesOf(error: QuorateError): string[] {
  const lines: string[] = [];
  const walk = (cause: unknown, depth: number): void => {
    if (cause === undefined || cause === null || depth > 4) return;
    if (cause instanceof AggregateError && cause.errors.length > 0) {
      for (const one of cause.errors) walk(one, depth + 1);
      return;
    }
    const where = cause instanceof QuorateError ? cause.data["endpoint"] : undefined;
    const message = inWords(messageOf(cause));
    const line = typeof where === "string" && !message.includes(where) ? `${message} (${where})` : message;
    if (line !== "" && !lines.includes(line) && !error.message.includes(line)) lines.push(line);
    if (cause instanceof Error) walk(cause.cause, depth + 1);
  };
  walk(error.cause, 0);
  const endpoint = error.data["endpoint"];
  if (typeof endpoint !== "string" || [error.message, ...lines].some((line) => line.includes(endpoint))) return lines;
  return [`at ${endpoint}`, ...lines];
}
