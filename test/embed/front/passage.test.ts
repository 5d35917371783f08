import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import fc from "fast-check";
import { test } from "vitest";
import { frameAt, frameType, headersAt, preface } from "../../../src/embed/front/frames.ts";
import { passUntil } from "../../../src/embed/front/passage.ts";

const ours = Buffer.from("ours");
const endHeaders = 0x4;

function frame(type: number, stream: number, payload: Buffer, flags = 0): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** Headers in one frame, or in two, cut at `cutAt`. */
function headers(stream: number, block: Buffer, cutAt: number | undefined): Buffer {
  if (cutAt === undefined) return frame(frameType.headers, stream, block, endHeaders);
  return Buffer.concat([
    frame(frameType.headers, stream, block.subarray(0, cutAt)),
    frame(frameType.continuation, stream, block.subarray(cutAt), endHeaders),
  ]);
}

function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += frames.at(-1)!.length)
    frames.push(bytes.subarray(at, at + (frameAt(bytes, at)?.bytes ?? Number.POSITIVE_INFINITY)));
  return frames;
}

type Said =
  | { readonly kind: "call"; readonly isOurs: boolean; readonly cutAt: number | undefined }
  | { readonly kind: "data"; readonly call: number; readonly size: number }
  | { readonly kind: "ping" };

const said: fc.Arbitrary<Said> = fc.oneof(
  fc.record({
    kind: fc.constant("call" as const),
    isOurs: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    cutAt: fc.option(fc.nat(8), { nil: undefined }),
  }),
  fc.record({ kind: fc.constant("data" as const), call: fc.nat(), size: fc.nat(300) }),
  fc.constant({ kind: "ping" as const }),
);
const answer = fc.record({ stream: fc.nat(40), size: fc.nat(300) });
const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 });

/** The same bytes in pieces of those sizes, over and over. */
function pieces(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const all: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = sizes[i % sizes.length]!;
    all.push(bytes.subarray(at, at + size));
    at += size;
  }
  return all;
}

/** What a client said, frame by frame, and which of it is etcd's to hear: all until the first call of ours, and then what belongs to calls before. */
function spoken(all: readonly Said[]): {
  readonly client: Buffer[];
  readonly etcd: Buffer[];
  readonly lastStream: number | undefined;
  readonly unheard: number;
} {
  const client: Buffer[] = [];
  const etcd: Buffer[] = [];
  let streams = 0;
  let lastStream: number | undefined;
  let unheard = 0;
  for (const one of all) {
    if (one.kind === "call") {
      const stream = 2 * streams + 1;
      if (one.isOurs) lastStream ??= Math.max(0, stream - 2);
      streams += 1;
      const bytes = headers(stream, Buffer.from(one.isOurs ? "it is ours" : "it is etcd's"), one.cutAt);
      client.push(bytes);
      if (lastStream === undefined) etcd.push(bytes);
    } else if (one.kind === "data" && streams > 0) {
      const stream = 2 * (one.call % streams) + 1;
      const bytes = frame(frameType.data, stream, Buffer.alloc(one.size, stream));
      client.push(bytes);
      if (lastStream === undefined || stream <= lastStream) etcd.push(bytes);
      else unheard += one.size;
    } else if (one.kind === "ping") {
      const bytes = frame(frameType.ping, 0, Buffer.from("12345678"));
      client.push(bytes);
      etcd.push(bytes);
    }
  }
  return { client, etcd, lastStream, unheard };
}

test("Etcd hears all until the first call of ours, and then of the calls before it; the client hears all of etcd's frames, whole, and once that it is to leave", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(said), fc.array(answer), cuts, cuts, async (all, answers, clientCuts, etcdCuts) => {
      const { client, etcd, lastStream, unheard } = spoken(all);
      const answered = answers.map(({ stream, size }) => frame(frameType.data, stream, Buffer.alloc(size, "a")));
      const [near, clientEnd] = duplexPair();
      const [far, etcdEnd] = duplexPair();
      let left = 0;
      passUntil(
        (block) => block.includes(ours),
        near,
        far,
        () => (left += 1),
      );
      const heard = { client: [] as Buffer[], etcd: [] as Buffer[] };
      const ended = (["client", "etcd"] as const).map((who) => {
        const end = who === "client" ? clientEnd : etcdEnd;
        end.on("data", (bytes: Buffer) => heard[who].push(bytes));
        return new Promise<void>((resolve) => end.once("end", () => resolve()));
      });
      const calling = pieces(Buffer.concat([Buffer.from(preface), ...client]), clientCuts);
      const answering = pieces(Buffer.concat(answered), etcdCuts);
      while (calling.length > 0 || answering.length > 0) {
        const [call, reply] = [calling.shift(), answering.shift()];
        if (call !== undefined) clientEnd.write(call);
        if (reply !== undefined) etcdEnd.write(reply);
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      clientEnd.end();
      etcdEnd.end();
      await Promise.all(ended);

      assert.deepEqual(Buffer.concat(heard.etcd), Buffer.concat([Buffer.from(preface), ...etcd]));
      const received = framesOf(Buffer.concat(heard.client));
      const ofType = (type: number): Buffer[] => received.filter((one) => one[3] === type);
      assert.deepEqual(ofType(frameType.data), answered);
      assert.equal(left, lastStream === undefined ? 0 : 1);
      assert.deepEqual(
        ofType(frameType.goaway),
        lastStream === undefined ? [] : [frame(frameType.goaway, 0, Buffer.from([0, 0, 0, lastStream, 0, 0, 0, 0]))],
      );
      const room = ofType(frameType.windowUpdate).reduce((sum, one) => sum + one.readUInt32BE(9), 0);
      assert.equal(room, unheard);
    }),
  );
});

test("Headers that refer to those that etcd has not seen end the connection", async () => {
  const [near, client] = duplexPair();
  const [far] = duplexPair();
  passUntil(
    (block) => block.includes(ours),
    near,
    far,
    () => undefined,
  );
  client.resume();
  const closed = new Promise<void>((resolve) => far.once("close", () => resolve()));
  client.write(
    Buffer.concat([
      Buffer.from(preface),
      headers(1, Buffer.from("etcd's"), undefined),
      headers(3, ours, undefined),
      headers(1, Buffer.from("trailers"), undefined),
    ]),
  );
  await closed;
});

test("Headers without an end are not kept for ever", async () => {
  const [near, client] = duplexPair();
  const [far] = duplexPair();
  passUntil(
    () => false,
    near,
    far,
    () => undefined,
  );
  client.on("error", () => undefined);
  const closed = new Promise<void>((resolve) => near.once("close", () => resolve()));
  const more = Buffer.concat([
    frame(frameType.headers, 1, Buffer.alloc(16_384)),
    frame(frameType.continuation, 1, Buffer.alloc(1_100_000)),
  ]);
  client.write(Buffer.concat([Buffer.from(preface), more]));
  await closed;
});

test("Headers are read across the frames that continue them", () => {
  const bytes = Buffer.concat([headers(1, Buffer.from("one and two"), 3), frame(frameType.ping, 0, Buffer.alloc(8))]);
  assert.deepEqual(headersAt(bytes, 0), { block: Buffer.from("one and two"), bytes: 9 + 9 + 11 });
  assert.equal(headersAt(bytes.subarray(0, 28), 0), undefined);
});
