import { WorldError } from "../../error.ts";
import { addressOf } from "./node.ts";
import { chunkBytes } from "./types.ts";
import type { Address, Content, Editing } from "./types.ts";

/** Changed chunks of one file that are in memory; the others are stored ahead. */
const mostInMemory = 8;

export interface EditingParts {
  readonly mostBytes: number;
  readonly read: (content: Content, from: number, to: number, signal?: AbortSignal) => Promise<Buffer>;
  readonly store: (address: Address, bytes: Buffer, signal?: AbortSignal) => Promise<void>;
}

/** One that is stored. */
interface StoredChunk {
  /** SHA-256. */
  readonly hash: string;
  readonly bytes: number;
  /** Bytes of it that still count: what is behind them is zeros. */
  readonly valid: number;
}

type Chunk = StoredChunk | "zeros" | { readonly buffer: Buffer };

/** See {@link Editing}. */
export class ChunkEditing implements Editing {
  readonly #parts: EditingParts;
  readonly #chunks: Chunk[];
  /** Those with a buffer, that which was written least recently first. */
  readonly #changed = new Set<number>();
  #size: number;

  constructor(parts: EditingParts, from: Content) {
    this.#parts = parts;
    this.#size = from.size;
    this.#chunks = from.chunks.map((hash, n) => {
      const bytes = Math.min(chunkBytes, from.size - n * chunkBytes);
      return { hash, bytes, valid: bytes };
    });
  }

  get size(): number {
    return this.#size;
  }

  async read(from: number, to: number, signal?: AbortSignal): Promise<Buffer> {
    const end = Math.min(to, this.#size);
    const parts: Buffer[] = [];
    for (let at = from; at < end;) {
      const n = Math.floor(at / chunkBytes);
      const upTo = Math.min(end, (n + 1) * chunkBytes);
      const chunk = await this.#bytes(n, signal);
      parts.push(Buffer.from(chunk.subarray(at - n * chunkBytes, upTo - n * chunkBytes)));
      at = upTo;
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  async write(at: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (bytes.byteLength === 0) return;
    this.#grow(Math.max(this.#size, at + bytes.byteLength));
    for (let done = 0; done < bytes.byteLength;) {
      const n = Math.floor((at + done) / chunkBytes);
      const within = at + done - n * chunkBytes;
      const length = Math.min(chunkBytes - within, bytes.byteLength - done);
      const buffer = length === chunkBytes ? this.#fresh(n) : await this.#writable(n, signal);
      buffer.set(bytes.subarray(done, done + length), within);
      done += length;
      while (this.#changed.size > mostInMemory) await this.#store([...this.#changed][0]!, signal);
    }
  }

  truncate(size: number): Promise<void> {
    if (size >= this.#size) this.#grow(size);
    else {
      this.#size = size;
      this.#chunks.length = Math.ceil(size / chunkBytes);
      for (const n of this.#changed) if (n >= this.#chunks.length) this.#changed.delete(n);
      const last = this.#chunks.length - 1;
      const chunk = this.#chunks[last];
      const left = size - last * chunkBytes;
      if (chunk !== undefined && chunk !== "zeros") {
        if ("buffer" in chunk) chunk.buffer.fill(0, left);
        else this.#chunks[last] = { ...chunk, valid: Math.min(chunk.valid, left) };
      }
    }
    return Promise.resolve();
  }

  async finish(signal?: AbortSignal): Promise<Content> {
    const chunks: string[] = [];
    for (let n = 0; n < this.#chunks.length; n++) chunks.push(await this.#store(n, signal));
    return { size: this.#size, chunks };
  }

  /** @throws WorldError TOO_LARGE */
  #grow(size: number): void {
    const { mostBytes } = this.#parts;
    if (size > mostBytes && size > this.#size) {
      throw new WorldError("TOO_LARGE", `Cannot write a file of ${size} bytes: at most ${mostBytes} are allowed`, {
        data: { limit: "file", bytes: size, most: mostBytes },
      });
    }
    this.#size = size;
    while (this.#chunks.length < Math.ceil(size / chunkBytes)) this.#chunks.push("zeros");
  }

  #lengthOf(n: number): number {
    return Math.min(chunkBytes, this.#size - n * chunkBytes);
  }

  /** As much as the file has there, at least. */
  async #bytes(n: number, signal?: AbortSignal): Promise<Buffer> {
    const chunk = this.#chunks[n]!;
    if (chunk === "zeros") return Buffer.alloc(this.#lengthOf(n));
    if ("buffer" in chunk) return chunk.buffer;
    const { hash, bytes, valid } = chunk;
    const stored = await this.#parts.read({ size: bytes, chunks: [hash] }, 0, valid, signal);
    return stored.length >= this.#lengthOf(n) ? stored : Buffer.concat([stored], this.#lengthOf(n));
  }

  /** A whole chunk to write into, with what is there. */
  async #writable(n: number, signal?: AbortSignal): Promise<Buffer> {
    const chunk = this.#chunks[n]!;
    const isThere = chunk !== "zeros" && "buffer" in chunk;
    const before = isThere || chunk === "zeros" ? undefined : await this.#bytes(n, signal);
    const buffer = this.#fresh(n);
    before?.copy(buffer);
    return buffer;
  }

  #fresh(n: number): Buffer {
    const chunk = this.#chunks[n];
    const buffer = typeof chunk === "object" && "buffer" in chunk ? chunk.buffer : Buffer.alloc(chunkBytes);
    this.#chunks[n] = { buffer };
    this.#changed.delete(n);
    this.#changed.add(n);
    return buffer;
  }

  /** Returns its hash. */
  async #store(n: number, signal?: AbortSignal): Promise<string> {
    const chunk = this.#chunks[n]!;
    const length = this.#lengthOf(n);
    if (typeof chunk === "object" && "hash" in chunk && chunk.bytes === length && chunk.valid === length) return chunk.hash;
    const whole = await this.#bytes(n, signal);
    // A small file is not to hold on to a whole chunk of memory.
    const bytes = length > chunkBytes / 2 ? whole.subarray(0, length) : Buffer.from(whole.subarray(0, length));
    const address = addressOf(bytes);
    const hash = address.slice(0, 64);
    // The buffer goes along: what is written here next is in another.
    this.#chunks[n] = { hash, bytes: length, valid: length };
    this.#changed.delete(n);
    await this.#parts.store(address, bytes, signal);
    return hash;
  }
}
