import { type Duplex, Transform, type TransformCallback } from "node:stream";
import { frameAt, frameType, goAway, headersAt, payloadAt, preface, windowUpdate } from "./frames.ts";

/** More than the headers of a call are. */
const mostHeldBytes = 1_024 * 1_024;

/**
 * Hands a connection that speaks HTTP/2, from its first byte, through to etcd, until a call comes whose headers are `ours`. That call, and
 * those after it, do not reach etcd: the client is told to make them on another connection (GOAWAY), as gRPC does by itself, and `left` is
 * called. What has been called before goes on here.
 */
export function passUntil(ours: (headers: Buffer) => boolean, client: Duplex, etcd: Duplex, left: () => void): void {
  let lastStream = 0;
  let hasLeft = false;
  const answers = new Frames(0, (bytes, at) => {
    const frame = frameAt(bytes, at);
    return frame && { bytes: frame.bytes, isPassedOn: true };
  });
  const calls = new Frames(preface.length, (bytes, at) => {
    const frame = frameAt(bytes, at);
    if (frame === undefined) return undefined;
    if (frame.type !== frameType.headers) {
      const isPassedOn = !hasLeft || frame.stream <= lastStream;
      // Etcd gives no room for what it does not get.
      const room = frame.bytes - payloadAt(0);
      if (!isPassedOn && frame.type === frameType.data && room > 0) answers.insert(windowUpdate(room));
      return { bytes: frame.bytes, isPassedOn };
    }
    const all = headersAt(bytes, at);
    if (all === undefined) return undefined;
    if (!hasLeft && frame.stream > lastStream) {
      if (ours(all.block)) {
        hasLeft = true;
        answers.insert(goAway(lastStream));
        left();
      } else lastStream = frame.stream;
    } else if (hasLeft && frame.stream <= lastStream) {
      // They may refer to headers that etcd has not seen.
      client.destroy();
    }
    return { bytes: all.bytes, isPassedOn: frame.stream <= lastStream };
  });

  const cut = (): void => {
    client.destroy();
    etcd.destroy();
  };
  for (const end of [client, etcd]) end.on("error", cut).on("close", cut);
  for (const way of [calls, answers]) way.on("error", cut);
  client.pipe(calls).pipe(etcd);
  etcd.pipe(answers).pipe(client);
}

/** How many bytes from here belong together, and whether they go on. Undefined until it can be said. */
type Judge = (bytes: Buffer, at: number) => { readonly bytes: number; readonly isPassedOn: boolean } | undefined;

/** Frames on their way, after so many other bytes. What cannot be judged yet is held back; all else goes on as it comes. */
class Frames extends Transform {
  readonly #judge: Judge;
  readonly #toInsert: Buffer[] = [];
  #held: Buffer = Buffer.alloc(0);
  /** Of what is on its way. */
  #bytesToCome: number;
  #isPassedOn = true;

  constructor(bytesBefore: number, judge: Judge) {
    super();
    this.#bytesToCome = bytesBefore;
    this.#judge = judge;
  }

  /** Puts a frame between two others, as soon as there is a place. */
  insert(frame: Buffer): void {
    if (this.#bytesToCome === 0) this.push(frame);
    else this.#toInsert.push(frame);
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    let at = 0;
    let sent = 0;
    const send = (): void => {
      if (at > sent) this.push(bytes.subarray(sent, at));
      sent = at;
    };
    while (at < bytes.length) {
      if (this.#bytesToCome === 0) {
        const next = this.#judge(bytes, at);
        if (next === undefined) break;
        this.#bytesToCome = next.bytes;
        this.#isPassedOn = next.isPassedOn;
      }
      const here = Math.min(this.#bytesToCome, bytes.length - at);
      if (!this.#isPassedOn) send();
      at += here;
      this.#bytesToCome -= here;
      if (!this.#isPassedOn) sent = at;
      if (this.#bytesToCome === 0 && this.#toInsert.length > 0) {
        send();
        for (const frame of this.#toInsert.splice(0)) this.push(frame);
      }
    }
    send();
    this.#held = bytes.subarray(at);
    done(this.#held.length > mostHeldBytes ? new Error("The headers of a call are too long") : null);
  }

  override _flush(done: TransformCallback): void {
    done(null, this.#held);
  }
}
