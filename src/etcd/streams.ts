import type { IResponseHeader } from "etcd3";
import { QuorateError } from "../errors.ts";
import type { Caller } from "./caller.ts";
import { isStaleToken } from "./credentials.ts";
import type { Pass } from "./credentials.ts";
import { failureOf, isOfEndpoint, lateFailure } from "./failure.ts";
import type { LinkStream, StreamMethod } from "./link.ts";
import { passOn } from "../clock.ts";
import { abortAfter, inTime, late } from "./signals.ts";

export interface StreamKind {
  readonly service: StreamMethod["service"];
  readonly method: StreamMethod["method"];
  /** Reads behind "Cannot": "watch /a". */
  readonly what: string;
}

export interface StreamHandlers<Response> {
  readonly onData: (response: Response) => void;
  /** Once, unless the stream was closed from here. */
  readonly onEnd: (failure: QuorateError) => void;
}

/** A stream of one endpoint. */
export interface EndpointStream<Request> extends LinkStream<Request> {
  readonly endpoint: string;
  /** What it was opened with, where the client logs in. */
  readonly pass: Pass | undefined;
  /**
   * Tells that an answer is overdue: closes the stream, has the endpoint tried last for a while, and cuts the connection where
   * nothing at all arrived since the last write. Returns the failure.
   */
  stalled(): QuorateError;
}

/**
 * Opens a stream on one listed endpoint, which has to have a raft leader. It ends (by `onEnd`) when the connection is lost, the
 * endpoint leaves the list, another cluster answers, or the client is closed. `signal` ends the dialling only.
 */
export async function openStream<Request, Response extends { readonly header?: IResponseHeader }>(
  caller: Caller,
  endpoint: string,
  kind: StreamKind,
  handlers: StreamHandlers<Response>,
  options: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<EndpointStream<Request>> {
  const { endpoints, closing } = caller;
  const { what } = kind;
  caller.admit(options.signal);
  if (!isListed()) throw retired(what, endpoint);
  const { link, giveBack } = endpoints.borrow(endpoint);
  const dialling = new AbortController();
  const release = passOn([options.signal, closing], dialling);
  const timer = abortAfter(caller.clock, options.timeoutMs, dialling);
  let stream: LinkStream<Request> | undefined;
  let pass: Pass | undefined;
  let over = false;
  const onClosing = (): void => {
    end(closing.reason);
  };
  const stopFollowing = endpoints.onRetired((url) => {
    if (url === endpoint) end(retired(what, endpoint));
  });
  closing.addEventListener("abort", onClosing);
  try {
    pass = await caller.credentials?.pass();
    const method = { ...kind, requireLeader: true, token: pass?.token };
    stream = await link.open<Request, Response>(method, { onData, onEnd: lost }, dialling.signal);
  } catch (error) {
    close();
    caller.admit(options.signal);
    if (!isListed()) throw retired(what, endpoint);
    endpoints.failed(endpoint);
    const circumstances = { what, endpoint, sent: false };
    throw dialling.signal.reason === late ? lateFailure(circumstances, options.timeoutMs) : failureOf(error, circumstances);
  } finally {
    timer.abort(inTime);
    release();
  }
  const open = stream;
  // It may have ended while it was dialling: then onEnd was called, and nobody else may use it.
  if (isOver()) open.close();
  let bytesBefore = link.bytesReceived;
  return {
    endpoint,
    pass,
    write: (request) => {
      bytesBefore = link.bytesReceived;
      open.write(request);
    },
    close,
    stalled: () => {
      close();
      endpoints.failed(endpoint);
      if (link.bytesReceived === bytesBefore) link.reset();
      return lateFailure({ what, endpoint, sent: true });
    },
  };

  function onData(response: Response): void {
    try {
      if (response.header) caller.checkCluster(response.header, what, endpoint);
    } catch (foreign) {
      end(foreign);
      return;
    }
    handlers.onData(response);
  }

  function lost(error: unknown): void {
    const failure = failureOf(error, { what, endpoint, sent: true });
    if (isOfEndpoint(failure)) endpoints.failed(endpoint);
    if (isStaleToken(failure)) void caller.credentials?.forget(pass?.token);
    end(failure);
  }

  function end(error: unknown): void {
    if (over) return;
    close();
    handlers.onEnd(failureOf(error, { what, endpoint, sent: true }));
  }

  function close(): void {
    if (over) return;
    over = true;
    stopFollowing();
    closing.removeEventListener("abort", onClosing);
    stream?.close();
    giveBack();
  }

  function isOver(): boolean {
    return over;
  }

  function isListed(): boolean {
    return endpoints.urls().includes(endpoint);
  }
}

function retired(what: string, endpoint: string): QuorateError {
  const details = { retryable: true, data: { endpoint, outcome: "unknown" } };
  return new QuorateError("UNREACHABLE", `Cannot ${what}: ${endpoint} is no longer an endpoint`, details);
}
