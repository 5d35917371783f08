import type * as Grpc from "@grpc/grpc-js";
import { grpc } from "./grpc.ts";
import type { Method } from "./messages.ts";

const { OK, CANCELLED, UNIMPLEMENTED, INTERNAL } = grpc.status;
const { READY } = grpc.connectivityState;

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

/** What is done with one that has begun, and nothing of it sent. */
interface Begun {
  sendMessageWithContext(context: object, message: Buffer): void;
  startRead(): void;
  halfClose(): void;
  cancelWithStatus(code: Grpc.status, details: string): void;
}

interface Listener {
  onReceiveMetadata(): void;
  onReceiveMessage(message: Buffer | null): void;
  onReceiveStatus(status: Grpc.StatusObject): void;
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
  // Grpc's call lives on until memory is cleared thoroughly, and must not take request and response with it.
  let tell: typeof done | undefined = done;
  let response: object | undefined;
  let malformed: Pick<Grpc.StatusObject, "code" | "details"> | undefined;
  const listener: Listener = {
    onReceiveMetadata: () => undefined,
    onReceiveMessage: (message) => {
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
  };
  const beneath = beginBeneath(channel, path, metadata, listener);
  const call = beneath ?? begin(channel, path, metadata, listener);
  call.startRead();
  call.sendMessageWithContext({}, beneath === undefined ? bytes : prefixed(bytes));
  call.halfClose();
  return () => {
    call.cancelWithStatus(CANCELLED, "Cancelled on client");
  };
}

function begin(channel: Grpc.Channel, path: string, metadata: Grpc.Metadata, listener: Listener): Begun {
  const call = channel.createCall(path, Infinity, null, null, null);
  call.start(metadata, listener);
  return call;
}

/** What a channel hands its calls to. No part of it is promised. */
interface Inside {
  readonly defaultAuthority?: string;
  readonly currentPicker?: {
    pick?(what: { readonly metadata: Grpc.Metadata; readonly extraPickInfo: object }): {
      readonly subchannel?: { getRealSubchannel?(): Connection } | null;
    };
  };
}

interface Connection {
  getConnectivityState?(): Grpc.connectivityState;
  /** Its messages have a prefix. */
  createCall?(metadata: Grpc.Metadata, host: string, path: string, listener: Listener): Begun;
}

/** Whether the message is compressed, and its length. */
const prefixBytes = 5;

/**
 * The same on the connection beneath the channel: what lies between is for deadlines, repetition, credentials of single calls and
 * compression, none of which is used here, and takes a fifth of the time that a call costs this process. Undefined, and nothing was sent,
 * where there is no connection now or grpc is made in another way.
 */
function beginBeneath(channel: Grpc.Channel, path: string, metadata: Grpc.Metadata, listener: Listener): Begun | undefined {
  const inside = (channel as unknown as { readonly internalChannel?: Inside }).internalChannel;
  if (inside?.defaultAuthority === undefined || channel.getConnectivityState(false) !== READY) return undefined;
  const connection = inside.currentPicker?.pick?.({ metadata, extraPickInfo: {} }).subchannel?.getRealSubchannel?.();
  if (connection?.getConnectivityState?.() !== READY) return undefined;
  let call: Begun | undefined;
  const ownListener: Listener = {
    ...listener,
    onReceiveMessage: (message) => {
      if (message !== null && message[0] !== 0) call?.cancelWithStatus(INTERNAL, "The response is compressed");
      else listener.onReceiveMessage(message?.subarray(prefixBytes) ?? null);
      // What comes next is the status.
      call?.startRead();
    },
  };
  try {
    call = connection.createCall?.(metadata, inside.defaultAuthority, path, ownListener);
  } catch {
    // It ended just now.
  }
  return call;
}

function prefixed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
