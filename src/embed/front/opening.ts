import type { Socket } from "node:net";
import { emptySettings, frameAt, frameType, headersAt, payloadAt, pingAnswer, preface } from "./frames.ts";

/** More than a client says before its first call is made. */
const mostBytes = 1_024 * 1_024;

/**
 * Reads what an HTTP/2 client says until its first call, which stays to be read as if nothing had been; calls `then` with the headers of
 * that call, undefined where they are none. Clients of gRPC wait for a server's first word before they call: it is said here, and its
 * acknowledgement is kept from whom the connection is for.
 */
export function untilFirstCall(socket: Socket, then: (headers: Buffer | undefined) => void): void {
  let said = Buffer.alloc(0);
  let at = preface.length;
  let headers: Buffer | undefined;
  let hasSpoken = false;
  let isAcknowledged = false;

  const speak = (): void => {
    if (!hasSpoken) socket.write(emptySettings);
    hasSpoken = true;
  };
  const cut = (bytes: number): void => {
    said = Buffer.concat([said.subarray(0, at), said.subarray(at + bytes)]);
  };
  const isOver = (): boolean => headers !== undefined && hasSpoken === isAcknowledged;
  /** False where more has to be said first. */
  const takeFrame = (): boolean => {
    const frame = frameAt(said, at);
    if (frame === undefined || at + frame.bytes > said.length) return false;
    if (frame.type === frameType.headers) {
      const all = headersAt(said, at);
      if (all === undefined) return false;
      headers ??= all.block;
      at += all.bytes;
    } else if (frame.type === frameType.settings && frame.isAck && hasSpoken && !isAcknowledged) {
      isAcknowledged = true;
      cut(frame.bytes);
    } else if (frame.type === frameType.ping && !frame.isAck) {
      speak();
      socket.write(pingAnswer(said.subarray(payloadAt(at), at + frame.bytes)));
      cut(frame.bytes);
    } else at += frame.bytes;
    return true;
  };
  const look = (): void => {
    const more = socket.read() as Buffer | null;
    if (more !== null) said = Buffer.concat([said, more]);
    const begins = said.toString("latin1", 0, preface.length);
    const isHttp2 = preface.startsWith(begins);
    if (isHttp2 && begins.length === preface.length) while (!isOver() && takeFrame());
    if (isHttp2 && !isOver() && said.length <= mostBytes) {
      if (begins.length === preface.length) speak();
      return;
    }
    socket.off("readable", look).off("end", end);
    socket.unshift(said);
    then(isOver() ? headers : undefined);
  };
  const end = (): void => {
    socket.destroy();
  };
  socket.on("readable", look).on("end", end);
  look();
}
