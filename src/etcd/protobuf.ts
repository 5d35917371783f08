import { Cursor, Malformed, wire } from "./protobuf-cursor.ts";

/**
 * Proto3 messages to bytes and back, by a table: loading and using it costs a fraction of what a general library does, which reads
 * the .proto text at every start, and makes an object for each 64-bit number.
 *
 * Objects look as etcd3's types say: 64-bit numbers as decimal text, enums by name, bytes as Buffers (parts of what was received),
 * what is missing as its default, a missing message as null, and of a oneof only what is there.
 */

type Scalar = "bytes" | "string" | "int64" | "uint64" | "uint32" | "bool";

interface Field {
  readonly name: string;
  readonly id: number;
  readonly repeated: boolean;
  /** Of a oneof: there or not, whatever its value. */
  readonly optional: boolean;
  readonly kind: Scalar | "enum" | "message";
  readonly names: readonly string[];
  readonly message: string;
  /** As it stands before each value: number and wire type. */
  readonly tag: number;
}

interface Shape {
  readonly fields: readonly Field[];
  readonly byId: readonly (Field | undefined)[];
  /** All defaults but those of repeated fields. */
  readonly empty: Readonly<Record<string, unknown>>;
  readonly repeated: readonly string[];
}

type Values = Record<string, unknown>;

const scalars: ReadonlySet<string> = new Set<Scalar>(["bytes", "string", "int64", "uint64", "uint32", "bool"]);
const noBytes = Buffer.alloc(0);
const two32 = 2 ** 32;
/** A cluster of seven, and its own. */
const mostTexts = 8;

/**
 * `messages` says each message's fields as `name:type=number`; a type ends in `[]` where it is repeated, a name in `?` where it is part
 * of a oneof. `enums` gives the names of each, from 0 up.
 */
export class Protobuf {
  readonly #messages: Readonly<Record<string, string>>;
  readonly #enums: Readonly<Record<string, readonly string[]>>;
  readonly #shapes = new Map<string, Shape>();
  /** Filled from its end, so that the length of a part is known when it has to be written. */
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #at = 0;
  /** Ids of cluster and member, which come with every answer, as text. */
  readonly #texts: { readonly high: number; readonly low: number; readonly text: string }[] = [];

  constructor(messages: Readonly<Record<string, string>>, enums: Readonly<Record<string, readonly string[]>>) {
    this.#messages = messages;
    this.#enums = enums;
  }

  encode(message: string, value: object): Buffer {
    this.#at = this.#bytes.length;
    this.#write(message, value as Values);
    const encoded = Buffer.from(this.#bytes.subarray(this.#at));
    // One large message is no reason to keep as much for good.
    if (this.#bytes.length > 4 * 1024 * 1024) this.#bytes = Buffer.allocUnsafe(64 * 1024);
    return encoded;
  }

  /** @throws Malformed */
  decode(message: string, bytes: Buffer): object {
    return this.#read(this.#shape(message), new Cursor(bytes), bytes.length);
  }

  #shape(message: string): Shape {
    const known = this.#shapes.get(message);
    if (known !== undefined) return known;
    const text = this.#messages[message];
    if (text === undefined) throw new TypeError(`There is no message ${message}`);
    const fields = text === "" ? [] : text.split(" ").map((one) => this.#field(one));
    const byId: (Field | undefined)[] = [];
    const empty: Values = {};
    for (const field of fields) {
      byId[field.id] = field;
      if (!field.optional && !field.repeated) empty[field.name] = defaultOf(field);
    }
    const shape = { fields, byId, empty, repeated: fields.filter(({ repeated }) => repeated).map(({ name }) => name) };
    this.#shapes.set(message, shape);
    return shape;
  }

  #field(text: string): Field {
    const [, name = "", mark, type = "", many, number] = /^(\w+)(\?)?:(\w+)(\[\])?=(\d+)$/.exec(text) ?? [];
    const id = Number(number);
    const names = this.#enums[type] ?? [];
    const kind = scalars.has(type) ? (type as Scalar) : names.length > 0 ? "enum" : "message";
    const delimited = kind === "bytes" || kind === "string" || kind === "message" || many !== undefined;
    const tag = id * 8 + (delimited ? wire.bytes : wire.varint);
    return { name, id, repeated: many !== undefined, optional: mark !== undefined, kind, names, message: type, tag };
  }

  #write(message: string, value: Values): void {
    const { fields } = this.#shape(message);
    for (let i = fields.length - 1; i >= 0; i--) {
      const field = fields[i]!;
      const given = value[field.name];
      if (given === undefined || given === null) continue;
      if (!field.repeated) this.#writeField(field, given, field.optional);
      else if (field.kind === "message" || field.kind === "bytes" || field.kind === "string") {
        const all = given as readonly unknown[];
        for (let n = all.length - 1; n >= 0; n--) this.#writeField(field, all[n], true);
      } else this.#writePacked(field, given as readonly unknown[]);
    }
  }

  #writeField(field: Field, value: unknown, always: boolean): void {
    switch (field.kind) {
      case "message": {
        const before = this.#written;
        this.#write(field.message, value as Values);
        this.#writeVarint(this.#written - before);
        break;
      }
      case "bytes": {
        const bytes = value as Uint8Array;
        if (bytes.length === 0 && !always) return;
        this.#room(bytes.length);
        this.#bytes.set(bytes, (this.#at -= bytes.length));
        this.#writeVarint(bytes.length);
        break;
      }
      case "string": {
        const text = value as string;
        if (text === "" && !always) return;
        const length = Buffer.byteLength(text);
        this.#room(length);
        this.#bytes.write(text, (this.#at -= length));
        this.#writeVarint(length);
        break;
      }
      default:
        if (!this.#writeNumber(field, value, always)) return;
    }
    this.#writeVarint(field.tag);
  }

  #writePacked(field: Field, values: readonly unknown[]): void {
    if (values.length === 0) return;
    const before = this.#written;
    for (let n = values.length - 1; n >= 0; n--) this.#writeNumber(field, values[n], true);
    this.#writeVarint(this.#written - before);
    this.#writeVarint(field.tag);
  }

  /** False where it is the default, and nothing was written. */
  #writeNumber(field: Field, value: unknown, always: boolean): boolean {
    let number: unknown = value;
    if (field.kind === "bool") number = value === true ? 1 : 0;
    else if (field.kind === "enum" && typeof value === "string") {
      number = field.names.indexOf(value);
      if (number === -1) throw new TypeError(`There is no ${field.message} ${value}`);
    }
    if (typeof number === "number" && number >= 0 && Number.isSafeInteger(number)) {
      if (number === 0 && !always) return false;
      this.#writeVarint(number);
      return true;
    }
    let rest = BigInt.asUintN(64, BigInt(number as string));
    if (rest === 0n && !always) return false;
    const groups: number[] = [];
    for (; rest > 127n; rest >>= 7n) groups.push(Number(rest & 127n) | 128);
    groups.push(Number(rest));
    this.#room(groups.length);
    for (const group of groups.reverse()) this.#bytes[--this.#at] = group;
    return true;
  }

  #writeVarint(value: number): void {
    this.#room(10);
    if (value < 128) {
      this.#bytes[--this.#at] = value;
      return;
    }
    let length = 1;
    for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++;
    let at = (this.#at -= length);
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.#bytes[at++] = (rest % 128) | 128;
    this.#bytes[at] = rest;
  }

  get #written(): number {
    return this.#bytes.length - this.#at;
  }

  #room(bytes: number): void {
    if (this.#at >= bytes) return;
    const written = this.#written;
    const larger = Buffer.allocUnsafe(2 * this.#bytes.length + bytes);
    larger.set(this.#bytes.subarray(this.#at), larger.length - written);
    this.#bytes = larger;
    this.#at = larger.length - written;
  }

  #read(shape: Shape, from: Cursor, end: number): Values {
    const value: Values = { ...shape.empty };
    for (const name of shape.repeated) value[name] = [];
    while (from.at < end) {
      const tag = from.varint();
      const field = shape.byId[tag >>> 3];
      if (field === undefined) {
        from.skip(tag & 7);
        continue;
      }
      const { name } = field;
      if ((tag & 7) === wire.bytes) {
        const length = from.varint();
        const stop = from.at + length;
        if (stop > end) throw new Malformed("A message is cut short");
        if (field.kind === "message") {
          const inner = this.#read(this.#shape(field.message), from, stop);
          if (field.repeated) (value[name] as unknown[]).push(inner);
          else value[name] = inner;
        } else if (field.kind === "bytes" || field.kind === "string") {
          const part = field.kind === "bytes" ? from.bytes.subarray(from.at, stop) : from.bytes.toString("utf8", from.at, stop);
          from.at = stop;
          if (field.repeated) (value[name] as unknown[]).push(part);
          else value[name] = part;
        } else {
          while (from.at < stop) (value[name] as unknown[]).push(this.#readNumber(field, from));
        }
      } else {
        if ((tag & 7) !== wire.varint) throw new Malformed(`${name} has wire type ${tag & 7}`);
        const number = this.#readNumber(field, from);
        if (field.repeated) (value[name] as unknown[]).push(number);
        else value[name] = number;
      }
    }
    if (from.at > end) throw new Malformed("A message is cut short");
    return value;
  }

  #readNumber(field: Field, from: Cursor): unknown {
    from.varint64();
    const { high, low } = from;
    switch (field.kind) {
      case "bool":
        return low !== 0 || high !== 0;
      case "enum":
        return field.names[low] ?? low;
      case "uint32":
        return low;
      case "int64":
      case "uint64": {
        if (high === 0) return low === 0 ? "0" : String(low);
        if (high < 0x200000) return String(high * two32 + low);
        if (field.kind === "int64") return BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low)).toString();
        for (const known of this.#texts) if (known.low === low && known.high === high) return known.text;
        const text = ((BigInt(high) << 32n) | BigInt(low)).toString();
        if (this.#texts.push({ high, low, text }) > mostTexts) this.#texts.shift();
        return text;
      }
      default:
        throw new Malformed(`${field.name} is no number`);
    }
  }
}

function defaultOf({ kind, names }: Field): unknown {
  switch (kind) {
    case "message":
      return null;
    case "bytes":
      return noBytes;
    case "string":
      return "";
    case "bool":
      return false;
    case "uint32":
      return 0;
    case "int64":
    case "uint64":
      return "0";
    case "enum":
      return names[0];
  }
}
