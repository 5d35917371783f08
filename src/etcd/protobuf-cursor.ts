/** How a value stands on the wire: the lower three bits before it. */
export const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** What is received is no message of that kind. */
export class Malformed extends Error {}

/** Reads the values of a message one after the other. All throw Malformed. */
export class Cursor {
  readonly bytes: Buffer;
  at = 0;
  /** Halves of the last {@link varint64}, both from 0 up. */
  high = 0;
  low = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Of what has 32 bits at most. */
  varint(): number {
    const first = this.bytes[this.at];
    if (first !== undefined && first < 128) {
      this.at++;
      return first;
    }
    this.varint64();
    return this.low;
  }

  varint64(): void {
    const { bytes } = this;
    let at = this.at;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined || shift > 63) throw new Malformed("A number is cut short, or too long");
      const bits = byte & 127;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 128) break;
    }
    this.at = at;
    this.low = low >>> 0;
    this.high = high >>> 0;
  }

  skip(type: number): void {
    if (type === wire.varint) this.varint64();
    else if (type === wire.bytes) this.at += this.varint();
    else if (type === wire.fixed64) this.at += 8;
    else if (type === wire.fixed32) this.at += 4;
    else throw new Malformed(`There is no wire type ${type}`);
  }
}
