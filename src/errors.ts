/**
 * Every code this program and library fail with, and the exit code the command line gives it.
 * Codes are stable: scripts may branch on them.
 *
 * 1 failed, 2 usage or configuration, 3 unreachable, 4 no quorum, 5 a wait timed out, 6 refused by a safety rule,
 * 7 no usable etcd.
 */
export const exitCodes = {
  INVALID_OPTION: 2,
  INVALID_NAME: 2,
  PREFIX_UNUSABLE: 2,
  PREFIX_IN_USE: 1,
  PORT_IN_USE: 1,
  DATA_DIR_IN_USE: 1,
  DATA_DIR_UNUSABLE: 1,
  SERVER_EXITED: 1,
  SERVER_START_TIMEOUT: 1,
  NO_ETCD: 7,
  INVALID_ETCD: 7,
  UNREACHABLE: 3,
  DEADLINE: 3,
  NO_QUORUM: 4,
  WAIT_TIMEOUT: 5,
  REFUSED: 6,
  WRONG_CLUSTER: 6,
  WRONG_HOST_KEY: 6,
  WRONG_CERTIFICATE: 6,
  DUPLICATE_HOSTNAME: 6,
  SESSION_LOST: 1,
  LEADERSHIP_LOST: 1,
  LOCK_LOST: 1,
  ETCD_REFUSED: 1,
  OUTCOME_UNKNOWN: 1,
  BUSY: 1,
  STALE: 1,
  UNAVAILABLE: 3,
  NAME_TOO_LONG: 2,
  INVALID_VALUE: 2,
  TOO_LARGE: 2,
  CONFLICT: 1,
  NOT_EXIST: 1,
  FENCED: 1,
  DENIED: 6,
  ABORTED: 1,
  CLOSED: 1,
  FAILED: 1,
} as const;

export type ErrorCode = keyof typeof exitCodes;

export interface ErrorDetails {
  /** The same call may succeed later although the caller changes nothing. Default false. */
  readonly retryable?: boolean;
  /** What to do about it: a sentence or a command to run. */
  readonly hint?: string;
  readonly cause?: unknown;
  /** Facts as fields, for programs: ports, pids, keys, log lines. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/**
 * Everything Quorate throws on purpose. A program branches on `code` or `retryable`; people read `message`, which starts
 * with what could not be done ("Cannot ...: current state"), and `hint`. The cause travels in `cause`, never inside
 * `message`: pino's serializer prints the whole chain.
 */
export class QuorateError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly hint: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "QuorateError";
    this.code = code;
    this.retryable = details.retryable ?? false;
    this.hint = details.hint;
    this.data = details.data ?? {};
  }

  /** What the command line exits with when this error ends it. */
  get exitCode(): number {
    return exitCodes[this.code];
  }
}

/** Whether the same call may succeed later. An error that is not ours is a bug, and a bug is never retried. */
export function isRetryable(error: unknown): error is QuorateError {
  return error instanceof QuorateError && error.retryable;
}

/** The message of anything that can be thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
