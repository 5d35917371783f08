import { QuorateError } from "../errors.ts";
import type { ErrorCode } from "../errors.ts";

/**
 * What a World fails with.
 *
 * | code | means |
 * | --- | --- |
 * | `INVALID_NAME`, `INVALID_VALUE`, `INVALID_OPTION` | an argument is not one; also a value written by others that is not UTF-8 |
 * | `NAME_TOO_LONG`, `TOO_LARGE` | a whole key beyond 1,900 bytes; a value beyond 1 MiB, an atomic batch beyond what etcd takes |
 * | `CONFLICT` | `ifRevision`, `ifAbsent` or a deploy's chain did not hold; `data` says what is there |
 * | `NOT_EXIST` | what is asked for is not there, where that is an error: of mgmt's names, see `quorate/mgmt` |
 * | `FENCED` | whoever held the fence holds it no more |
 * | `UNAVAILABLE`, `DEADLINE` | the cluster is out of reach; it did not answer in time |
 * | `STALE` | no copy as fresh as the read needs came in time |
 * | `OUTCOME_UNKNOWN` | sent, and nothing tells what became of it |
 * | `BUSY` | too many writes are waiting |
 * | `ABORTED` | the call's own signal fired; `cause` is its reason |
 * | `DENIED` | etcd's authentication does not allow it, or a host on the way by ssh |
 * | `WRONG_HOST_KEY` | a host on the way by ssh shows a key that is not known to be its own |
 * | `WRONG_CERTIFICATE` | no endpoint shows a certificate that is trusted, or none accepts the one it is shown |
 * | `SESSION_LOST`, `LOCK_LOST`, `LEADERSHIP_LOST` | the lease, the lock or the leadership that it relies on is gone |
 * | `ETCD_REFUSED`, `WRONG_CLUSTER`, `PREFIX_UNUSABLE` | as they say; `cause` has the words of etcd or of the system |
 * | `CLOSED` | the World was closed |
 */
export type WorldErrorCode = Extract<
  ErrorCode,
  | "INVALID_NAME"
  | "INVALID_VALUE"
  | "INVALID_OPTION"
  | "NAME_TOO_LONG"
  | "TOO_LARGE"
  | "CONFLICT"
  | "NOT_EXIST"
  | "FENCED"
  | "UNAVAILABLE"
  | "DEADLINE"
  | "STALE"
  | "OUTCOME_UNKNOWN"
  | "BUSY"
  | "ABORTED"
  | "DENIED"
  | "SESSION_LOST"
  | "LOCK_LOST"
  | "LEADERSHIP_LOST"
  | "ETCD_REFUSED"
  | "WRONG_CLUSTER"
  | "WRONG_HOST_KEY"
  | "WRONG_CERTIFICATE"
  | "PREFIX_UNUSABLE"
  | "CLOSED"
>;

/**
 * What a call that failed has done to the store: nothing; all that it was to write (an export that could not delete then what was to go);
 * or nobody knows, or a part of it.
 */
export type Outcome = "none" | "applied" | "unknown";

export interface WorldErrorDetails {
  readonly retryable?: boolean;
  readonly outcome?: Outcome;
  /** The whole key that it is about. */
  readonly key?: string | undefined;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The one error of the World. `message` starts with what could not be done. */
export class WorldError extends QuorateError {
  declare readonly code: WorldErrorCode;
  readonly outcome: Outcome;
  readonly key: string | undefined;

  constructor(code: WorldErrorCode, message: string, details: WorldErrorDetails = {}) {
    const { retryable, outcome = "none", key, hint, cause, data } = details;
    super(code, message, {
      cause,
      ...(retryable === undefined ? {} : { retryable }),
      ...(hint === undefined ? {} : { hint }),
      data: { ...data, outcome, ...(key === undefined ? {} : { key }) },
    });
    this.name = "WorldError";
    this.outcome = outcome;
    this.key = key;
  }
}

/** What is being done: "write the string motd", and the key. */
export interface Doing {
  readonly what: string;
  readonly key?: string | undefined;
}

/** What wire and replica throw that the World calls by another name. */
const renamed: Partial<Record<ErrorCode, WorldErrorCode>> = { UNREACHABLE: "UNAVAILABLE", NO_QUORUM: "UNAVAILABLE" };

const asIs: ReadonlySet<string> = new Set<WorldErrorCode>([
  "INVALID_OPTION",
  "UNAVAILABLE",
  "DEADLINE",
  "STALE",
  "OUTCOME_UNKNOWN",
  "BUSY",
  "SESSION_LOST",
  "LOCK_LOST",
  "LEADERSHIP_LOST",
  "ETCD_REFUSED",
  "WRONG_CLUSTER",
  "WRONG_HOST_KEY",
  "WRONG_CERTIFICATE",
  "DENIED",
  "PREFIX_UNUSABLE",
  "CLOSED",
]);

const states: Partial<Record<WorldErrorCode, string>> = {
  UNAVAILABLE: "the cluster is out of reach",
  DEADLINE: "there was no answer in time",
  OUTCOME_UNKNOWN: "it was sent, and nothing tells what became of it",
  BUSY: "too many writes are waiting",
  SESSION_LOST: "the session is lost, and with it what hung on it",
  CLOSED: "the World was closed",
  DENIED: "etcd's authentication does not allow it",
  TOO_LARGE: "it is more than etcd takes at once",
};

/**
 * Any failure as a WorldError.
 *
 * @param signal of the caller: what it fires with is ABORTED
 * @throws what it was given, when that is a bug and no failure
 */
export function asWorldError(error: unknown, { what, key }: Doing, signal?: AbortSignal): WorldError {
  if (signal?.aborted === true && error === signal.reason) {
    return new WorldError("ABORTED", `Cannot ${what}: it was aborted`, { cause: error, key });
  }
  if (error instanceof WorldError) {
    const { code, retryable, hint, cause } = error;
    if (!ofHolders.has(code) || cause instanceof WorldError || error.message.startsWith(`Cannot ${what}`)) return error;
    return new WorldError(code, `Cannot ${what}: ${stateOf(error)}`, { retryable, hint, key, cause: error });
  }
  if (!(error instanceof QuorateError)) throw error;
  const code = codeOf(error);
  if (code === undefined) throw error;
  const { retryable, hint } = error;
  // Of what was sent only a write can have happened, and that one says so by its code: a read that was not answered has done nothing.
  const outcome = code === "OUTCOME_UNKNOWN" ? "unknown" : "none";
  // Of a host on the way, that one says more.
  const state = error.code === "DENIED" ? undefined : states[code];
  return new WorldError(code, `Cannot ${what}: ${state ?? stateOf(error)}`, {
    retryable,
    outcome,
    key,
    hint,
    cause: error,
    data: factsOf(error),
  });
}

/** What a session, a lock or a leadership says of itself: a call that relies on it says what it could not do. */
const ofHolders: ReadonlySet<WorldErrorCode> = new Set(["SESSION_LOST", "LOCK_LOST", "LEADERSHIP_LOST", "CLOSED"]);

function codeOf(error: QuorateError): WorldErrorCode | undefined {
  const reason = typeof error.data["reason"] === "string" ? error.data["reason"] : "";
  if (error.code === "ETCD_REFUSED") {
    if (/permission denied|user name is empty|invalid auth token|auth is not enabled|authentication failed/.test(reason))
      return "DENIED";
    if (/too large|too many operations|larger than max/.test(reason)) return "TOO_LARGE";
    if (reason.includes("requested lease not found")) return "SESSION_LOST";
  }
  return renamed[error.code] ?? (asIs.has(error.code) ? (error.code as WorldErrorCode) : undefined);
}

/** What its message says behind "Cannot do this". */
function stateOf({ message }: QuorateError): string {
  const at = message.indexOf(": ");
  return at === -1 ? message : message.slice(at + 2);
}

/** Of the facts those that a program may want; what is in the cause already stays there. */
function factsOf({ data }: QuorateError): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(data).filter(([name]) => name !== "outcome" && name !== "key"));
}
