import type * as Grpc from "@grpc/grpc-js";
import { grpc } from "./grpc.ts";
import type { Method } from "./messages.ts";

const { OK, CANCELLED, UNIMPLEMENTED, INTERNAL } = grpc.status;

/** What a call ended with, in grpc's own way. */
class CallFailed extends Error {
  readonly code: number;
  readonly details: string;

  constructor({ code, details }: Pick<Grpc.StatusObject, "code" | "details">) {
    super(`${code}: ${details}`);
    this.code = code;
    this.details = details;
  }
}

/**
 * One request and its answer on a channel, without what grpc's own clients put around each: interceptors, events, and a stack trace of
 * the caller, which together cost more than the request. `done` is called once. Returns how to give up; `done` is called then too.
 */
export function callOnce(
  channel: Grpc.Channel,
  { path, serialize, deserialize }: Method,
  request: object,
  metadata: Grpc.Metadata,
  done: (error: unknown, response: object | undefined) => void,
): () => void {
  const bytes = serialize(request);
  const call = channel.createCall(path, Infinity, null, null, null);
  // Grpc's call lives on until memory is cleared thoroughly, and must not take request and response with it.
  let tell: typeof done | undefined = done;
  let response: object | undefined;
  let malformed: Pick<Grpc.StatusObject, "code" | "details"> | undefined;
  call.start(metadata, {
    onReceiveMetadata: () => undefined,
    onReceiveMessage: (message: Buffer | null) => {
      if (message === null) return;
      try {
        response = deserialize(message);
      } catch (error) {
        malformed = { code: INTERNAL, details: `The response cannot be parsed: ${String(error)}` };
        call.cancelWithStatus(malformed.code, malformed.details);
      }
    },
    onReceiveStatus: (status) => {
      const [told, received] = [tell, response];
      tell = response = undefined;
      if (malformed !== undefined || status.code !== OK) told?.(new CallFailed(malformed ?? status), undefined);
      else if (received === undefined) told?.(new CallFailed({ code: UNIMPLEMENTED, details: "No message received" }), undefined);
      else told?.(undefined, received);
    },
  });
  call.startRead();
  call.sendMessageWithContext({}, bytes);
  call.halfClose();
  return () => {
    call.cancelWithStatus(CANCELLED, "Cancelled on client");
  };
}
