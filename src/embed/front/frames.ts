/** What an HTTP/2 client says first (RFC 9113, section 3.4), and its frames (section 4). */
export const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export const frameType = { data: 0, headers: 1, settings: 4, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9 } as const;
const ack = 0x1;
const endHeaders = 0x4;
const headerBytes = 9;

export interface Frame {
  readonly type: number;
  readonly isAck: boolean;
  readonly stream: number;
  /** With its header. */
  readonly bytes: number;
}

/** Undefined until its header is there. */
export function frameAt(bytes: Buffer, at: number): Frame | undefined {
  if (bytes.length - at < headerBytes) return undefined;
  return {
    bytes: headerBytes + bytes.readUIntBE(at, 3),
    type: bytes[at + 3]!,
    isAck: (bytes[at + 4]! & ack) !== 0,
    stream: bytes.readUInt32BE(at + 5) & 0x7fff_ffff,
  };
}

/** Where the frame's payload begins. */
export function payloadAt(at: number): number {
  return at + headerBytes;
}

/** What the frame of headers at `at` and those that continue it say, and how many bytes they are. Undefined until all of it is there. */
export function headersAt(bytes: Buffer, at: number): { readonly block: Buffer; readonly bytes: number } | undefined {
  const pieces: Buffer[] = [];
  for (let from = at; ;) {
    const frame = frameAt(bytes, from);
    if (frame === undefined || from + frame.bytes > bytes.length) return undefined;
    pieces.push(bytes.subarray(payloadAt(from), from + frame.bytes));
    const isLast = (bytes[from + 4]! & endHeaders) !== 0;
    from += frame.bytes;
    if (isLast) return { block: pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), bytes: from - at };
  }
}

export const emptySettings = frame(frameType.settings, 0, Buffer.alloc(0));

export function pingAnswer(asked: Buffer): Buffer {
  return frame(frameType.ping, ack, asked);
}

/** No more calls here: those after that stream have not been looked at, and may be made elsewhere (RFC 9113, section 6.8). */
export function goAway(lastStream: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStream);
  return frame(frameType.goaway, 0, payload);
}

/** So many more bytes may be said on the connection. */
export function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frame(frameType.windowUpdate, 0, payload);
}

/** Of the connection, not of a stream. */
function frame(type: number, flags: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  return Buffer.concat([header, payload]);
}
