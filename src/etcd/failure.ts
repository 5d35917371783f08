import { QuorateError } from "../errors.ts";

/** What is known of a call that failed. */
export interface Circumstances {
  /** Reads behind "Cannot": "read /a". */
  readonly what: string;
  readonly endpoint: string;
  /** Whether any byte of the request may have left this process. */
  readonly sent: boolean;
}

const deadlineExceeded = 4;
const resourceExhausted = 8;
/**
 * gRPC status codes that are an answer to this very request, if without etcd's own words: invalid argument, not found, already
 * exists, permission denied, resource exhausted, failed precondition, out of range, unimplemented, unauthenticated. All
 * others tell that the connection, or the server, went away.
 */
const answers = [3, 5, 6, 7, 8, 9, 11, 12, 16];

/** etcd's refusals that pass by themselves. Text of etcd, without its "etcdserver: ". */
const passing = [
  "unhealthy cluster",
  "too many learner",
  "can only promote a learner member which is in sync",
  "re-configuration failed due to not enough started members",
  "leader changed",
  "too many requests",
  "not leader",
  "rpc not supported for learner",
  "not capable",
  // The agent beside the raft leader makes room.
  "database space exceeded",
];

/** The server's, in Go's words, of a request: of an answer the client says it, in its own. */
const neverRead = /^grpc: received message larger than max/;

/** Refusals that say more about the endpoint than about the request: another one may do it. */
const elsewhere = [
  "leader changed",
  "too many requests",
  "rpc not supported for learner",
  "server stopped",
  "not capable",
  "corrupt",
];

/** A connection of ours that is gone, in grpc's own way: 14 is unavailable. */
export class ConnectionGone extends Error {
  static readonly code = 14;
  readonly code = ConnectionGone.code;
}

/** What OpenSSL and Node say of a connection that came to nothing for a certificate, and what to do: by who says it. */
export function certificateRefusal(details: string): { readonly state: string; readonly hint: string } | undefined {
  // Of a certificate that is bad, unsupported, revoked, expired, unknown, of an unknown authority, denied access, missing.
  if (/alert number (4[2-689]|116)\b/.test(details)) {
    return {
      state: "does not accept the certificate it was shown, or was shown none",
      hint: "show one that an authority it trusts has signed and that has not expired",
    };
  }
  if (/certificate has expired|CERT_HAS_EXPIRED/.test(details))
    return { state: "shows a certificate that has expired", hint: "replace its certificate; no restart is needed" };
  if (/altnames|ERR_TLS_CERT_ALTNAME_INVALID/.test(details))
    return { state: "shows a certificate of another host", hint: "connect by a name or address that its certificate is of" };
  if (
    /self.signed certificate|certificate signature failure|unable to (get|verify)[a-z ]*certificate|DEPTH_ZERO_SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/i.test(
      details,
    )
  )
    return {
      state: "shows a certificate of an authority that is not trusted here",
      hint: "name the file of the authority that signed it",
    };
  return undefined;
}

/**
 * The one place where what grpc and etcd throw becomes ours.
 *
 * @throws what it was given, when that is neither: a bug, not to be hidden
 */
export function failureOf(error: unknown, { what, endpoint, sent }: Circumstances): QuorateError {
  if (error instanceof QuorateError) return error;
  const { code, details } = statusOf(error);
  const outcome = sent ? "unknown" : "none";
  const reason = /etcdserver: (.*)$/s.exec(details)?.[1];
  if (reason === undefined) {
    if (code === deadlineExceeded) return lateFailure({ what, endpoint, sent }, undefined, error);
    const refusal = certificateRefusal(details);
    if (code === ConnectionGone.code && refusal !== undefined) {
      return new QuorateError("WRONG_CERTIFICATE", `Cannot ${what}: ${endpoint} ${refusal.state}`, {
        cause: error,
        hint: refusal.hint,
        data: { endpoint, outcome, reason: details, grpcCode: code },
      });
    }
    // "raft: stopped" is what a server says that was just removed, or is closing.
    const data = { endpoint, outcome: neverRead.test(details) ? "none" : outcome, reason: details, grpcCode: code };
    if (answers.includes(code)) {
      return new QuorateError("ETCD_REFUSED", `Cannot ${what}: ${endpoint} answered with an error`, { cause: error, data });
    }
    return new QuorateError("UNREACHABLE", `Cannot ${what}: ${endpoint} does not answer`, {
      retryable: true,
      ...(/before secure TLS connection|wrong version number/.test(details)
        ? { hint: "it hangs up on https: it may speak plain http, or be stopping" }
        : {}),
      cause: error,
      data,
    });
  }
  if (reason.startsWith("no leader")) return noQuorum("the cluster has no raft leader", "none");
  if (reason.startsWith("request timed out")) return noQuorum("the cluster could not agree in time", outcome);
  if (reason.startsWith("server stopped")) {
    return new QuorateError("UNREACHABLE", `Cannot ${what}: ${endpoint} is stopping`, {
      retryable: true,
      cause: error,
      data: { endpoint, outcome, reason },
    });
  }
  return new QuorateError("ETCD_REFUSED", `Cannot ${what}: etcd refused it: ${reason}`, {
    retryable: passing.some((text) => reason.includes(text)),
    ...(reason.startsWith("user name is empty") ? { hint: "log in: name a user, and the file that holds the password" } : {}),
    cause: error,
    // A change of raft leader is reported after the proposal was made.
    data: { endpoint, outcome: reason.includes("leader changed") ? outcome : "none", reason, grpcCode: code },
  });

  function noQuorum(state: string, known: string): QuorateError {
    return new QuorateError("NO_QUORUM", `Cannot ${what}: ${state}, as ${endpoint} sees it`, {
      retryable: true,
      cause: error,
      data: { endpoint, outcome: known, reason },
    });
  }
}

/** No answer in time. `afterMs` is what was granted. */
export function lateFailure({ what, endpoint, sent }: Circumstances, afterMs?: number, cause?: unknown): QuorateError {
  const within = afterMs === undefined ? "in time" : `within ${Math.round(afterMs)} ms`;
  return new QuorateError("DEADLINE", `Cannot ${what}: ${endpoint} did not answer ${within}`, {
    retryable: true,
    cause,
    data: { endpoint, outcome: sent ? "unknown" : "none" },
  });
}

export function wrongCluster({ what, endpoint }: Circumstances, expected: string, found: string): QuorateError {
  return new QuorateError("WRONG_CLUSTER", `Cannot ${what}: ${endpoint} belongs to cluster ${found}, not to ${expected}`, {
    hint: "Check which etcd listens there; another cluster on a known address is never used.",
    data: { endpoint, expected, found, outcome: "none" },
  });
}

/** Whether the request may have had an effect. */
export function mayHaveHappened(failure: QuorateError): boolean {
  return failure.data["outcome"] !== "none";
}

/** What the client, the session, the caller or the way there says itself, before anything is sent. */
const own: ReadonlySet<string> = new Set(["CLOSED", "SESSION_LOST", "LOCK_LOST", "LEADERSHIP_LOST", "REFUSED", "WRONG_HOST_KEY"]);

/** Whether the failure is the endpoint's: another endpoint may answer, and this one is better left alone for a while. */
export function isOfEndpoint(failure: QuorateError): boolean {
  // A host on the way lets nobody pass, or nobody to this endpoint.
  if (failure.code === "DENIED") return failure.data["endpoint"] !== undefined;
  if (failure.code !== "ETCD_REFUSED") return !own.has(failure.code);
  return elsewhere.some((text) => reasonOf(failure).includes(text));
}

/**
 * What whoever follows the store tries again for: also another cluster on a known address, a host on the way that is not what it was or
 * lets nobody pass, a certificate that is replaced in time, which somebody may set right, and a compaction between two pages of a listing.
 */
export function mayPass(error: unknown): boolean {
  if (!(error instanceof QuorateError)) return false;
  return error.retryable || passingCodes.has(error.code) || reasonOf(error).includes("compacted");
}

const passingCodes: ReadonlySet<string> = new Set(["WRONG_CLUSTER", "WRONG_HOST_KEY", "WRONG_CERTIFICATE", "DENIED"]);

/** Nobody listens there, or one side does not trust the other: no time will tell more. */
export function isRefused(failure: QuorateError): boolean {
  if (failure.code === "WRONG_CERTIFICATE") return true;
  return failure.code === "UNREACHABLE" && reasonOf(failure).includes("ECONNREFUSED");
}

/** Whether one side does not take a message of that size. */
export function isTooLarge(failure: unknown): boolean {
  if (!(failure instanceof QuorateError) || failure.data["grpcCode"] !== resourceExhausted) return false;
  return /larger than max|too large/.test(reasonOf(failure));
}

/** etcd's own words, or grpc's, or "". */
export function reasonOf(failure: unknown): string {
  const reason = failure instanceof QuorateError ? failure.data["reason"] : undefined;
  return typeof reason === "string" ? reason : "";
}

function statusOf(error: unknown): { readonly code: number; readonly details: string } {
  const { code, details, message } = error as { code?: unknown; details?: unknown; message?: unknown };
  if (typeof code !== "number") throw error;
  return { code, details: typeof details === "string" ? details : String(message) };
}
