import { QuorateError } from "../errors.ts";

/** What is known of a call that failed. */
export interface Circumstances {
  /** Reads behind "Cannot": "read /a". */
  readonly what: string;
  readonly endpoint: string;
  /** Whether any byte of the request may have left this process. */
  readonly sent: boolean;
}

/** gRPC status codes that mean something to us. */
const cancelled = 1;
const deadlineExceeded = 4;
const unavailable = 14;

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
];

/** Refusals that say more about the endpoint than about the request: another one may do it. */
const elsewhere = [
  "leader changed",
  "too many requests",
  "rpc not supported for learner",
  "server stopped",
  "not capable",
  "corrupt",
];

/** The one place where what grpc and etcd throw becomes ours. */
export function failureOf(error: unknown, { what, endpoint, sent }: Circumstances): QuorateError {
  if (error instanceof QuorateError) return error;
  const { code, details } = statusOf(error);
  const outcome = sent ? "unknown" : "none";
  const reason = /etcdserver: (.*)$/s.exec(details)?.[1];
  if (reason === undefined) {
    if (code === deadlineExceeded) return lateFailure({ what, endpoint, sent }, undefined, error);
    // "raft: stopped" is what a server says that was just removed, or is closing.
    if (code === unavailable || code === cancelled || code === undefined || details.includes("raft: stopped")) {
      return new QuorateError("UNREACHABLE", `Cannot ${what}: ${endpoint} does not answer`, {
        retryable: true,
        cause: error,
        data: { endpoint, outcome, detail: details },
      });
    }
    return new QuorateError("ETCD_REFUSED", `Cannot ${what}: ${endpoint} answered with an error`, {
      cause: error,
      data: { endpoint, outcome, reason: details, grpcCode: code },
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

/** Whether the failure is the endpoint's: another endpoint may answer, and this one is better left alone for a while. */
export function isOfEndpoint(failure: QuorateError): boolean {
  if (failure.code !== "ETCD_REFUSED") return failure.code !== "CLOSED" && failure.code !== "SESSION_LOST";
  return elsewhere.some((text) => reasonOf(failure).includes(text));
}

/** etcd's own words, or "". */
export function reasonOf(failure: unknown): string {
  const reason = failure instanceof QuorateError ? failure.data["reason"] : undefined;
  return typeof reason === "string" ? reason : "";
}

function statusOf(error: unknown): { readonly code: number | undefined; readonly details: string } {
  if (typeof error !== "object" || error === null) return { code: undefined, details: String(error) };
  const { code, details, message } = error as { code?: unknown; details?: unknown; message?: unknown };
  const text = typeof details === "string" ? details : typeof message === "string" ? message : "";
  return { code: typeof code === "number" ? code : undefined, details: text };
}
