import type { FsEncoding, FsHandle, FsReadFileOptions, FsSlice } from "../api/fs-files.ts";
import { asFsError, badType, badValue, checkInteger, FsError, outOfRange } from "./error.ts";
import type { Access } from "./flags.ts";
import { modeOf } from "./flags.ts";
import { statsOf } from "./volume.ts";
import type { RawFile } from "./volume.ts";

/** Bytes that are read at once where nobody says how many. */
const pieceBytes = 512 * 1024;
const defaultBufferBytes = 16 * 1024;
/** No system has files beyond that. */
const largestFile = 2 ** 43;

type View = NodeJS.ArrayBufferView;

/** An open file as Node has it: with a position, and the refusals that are Node's. @param onClosed called once, whatever became of it */
export function handleOver(raw: RawFile, access: Access, isFolder: boolean, onClosed: () => void = () => undefined): FsHandle {
  let position = 0;
  let closing: Promise<void> | undefined;
  /** One after the other: what is begun first has the position first. */
  let last: Promise<unknown> = Promise.resolve();

  const inTurn = async <T>(syscall: string, act: () => Promise<T>): Promise<T> => {
    const before = last;
    const own = (async () => {
      await before.catch(() => undefined);
      try {
        return await act();
      } catch (error) {
        throw asFsError(error, { syscall });
      }
    })();
    last = own;
    return own;
  };

  const checkOpen = (syscall: string): void => {
    if (closing === undefined) return;
    throw Object.assign(new FsError("EBADF", { syscall }), { message: "file closed" });
  };

  const readInto = async (into: Uint8Array, place: number | undefined): Promise<number> => {
    if (isFolder) throw new FsError("EISDIR", { syscall: "read" });
    if (!access.read) throw new FsError("EBADF", { syscall: "read" });
    const bytesRead = await raw.read(into, place ?? position);
    if (place === undefined) position += bytesRead;
    return bytesRead;
  };

  const writeFrom = async (bytes: Uint8Array, place: number | undefined): Promise<void> => {
    if (!access.write) throw new FsError("EBADF", { syscall: "write" });
    if (bytes.byteLength === 0) return;
    const end = await raw.write(bytes, access.append ? undefined : (place ?? position));
    if (place === undefined) position = end;
  };

  const readRest = async (): Promise<Buffer> => {
    const pieces: Buffer[] = [];
    for (;;) {
      const piece = Buffer.allocUnsafe(pieceBytes);
      const bytesRead = await readInto(piece, undefined);
      if (bytesRead > 0) pieces.push(piece.subarray(0, bytesRead));
      if (bytesRead < piece.byteLength) return Buffer.concat(pieces);
    }
  };

  async function read<B extends View>(
    given?: B | (FsSlice & { readonly buffer?: B }),
    offset?: number | FsSlice | null,
    length?: number | null,
    at?: number | null,
  ): Promise<{ bytesRead: number; buffer: B }> {
    checkOpen("read");
    const one: unknown = given;
    if (one !== undefined && typeof one !== "object") throw badType("buffer", "an instance of ArrayBufferView", one);
    const slice: FsSlice = isView(given)
      ? typeof offset === "object" && offset !== null
        ? offset
        : { offset: offset ?? undefined, length: length ?? undefined, position: at }
      : (given ?? {});
    const buffer = (isView(given) ? given : (given?.buffer ?? Buffer.alloc(defaultBufferBytes))) as B;
    if (!isView(buffer)) throw badType("buffer", "an instance of Buffer, TypedArray, or DataView", buffer);
    const into = partOf(buffer, slice);
    if (into.byteLength === 0) {
      if (buffer.byteLength === 0 && slice.length !== 0) throw badValue("buffer", "is empty and cannot be written", "");
      return { bytesRead: 0, buffer };
    }
    return await inTurn("read", async () => ({ bytesRead: await readInto(into, placeOf(slice.position)), buffer }));
  }

  async function write<B extends View | string>(
    given: B,
    offset?: number | FsSlice | null,
    length?: number | FsEncoding | null,
    at?: number | null,
  ): Promise<{ bytesWritten: number; buffer: B }> {
    checkOpen("write");
    let bytes: Uint8Array;
    let place: number | undefined;
    if (typeof given === "string") {
      place = placeOf(typeof offset === "number" ? offset : undefined);
      bytes = Buffer.from(given, typeof length === "string" ? length : "utf8");
    } else {
      if (!isView(given)) throw badType("buffer", "of type string or an instance of Buffer, TypedArray, or DataView", given);
      const slice: FsSlice =
        typeof offset === "object" && offset !== null
          ? offset
          : { offset: offset ?? undefined, length: typeof length === "number" ? length : undefined, position: at };
      bytes = given.byteLength === 0 ? new Uint8Array(0) : partOf(given, slice);
      place = placeOf(slice.position);
    }
    // Whoever goes on with the buffer changes nothing of what is written.
    const own = Uint8Array.from(bytes);
    return await inTurn("write", async () => {
      await writeFrom(own, place);
      return { bytesWritten: own.byteLength, buffer: given };
    });
  }

  function readFile(): Promise<Buffer>;
  function readFile(options: FsEncoding | (FsReadFileOptions & { readonly encoding: FsEncoding })): Promise<string>;
  async function readFile(options?: FsEncoding | FsReadFileOptions): Promise<Buffer | string> {
    checkOpen("readFile");
    const bytes = await inTurn("read", readRest);
    const encoding = typeof options === "string" ? options : options?.encoding;
    return encoding === undefined || encoding === null ? bytes : bytes.toString(encoding);
  }

  const writeFile: FsHandle["writeFile"] = async (data, options) => {
    checkOpen("writeFile");
    const bytes = Uint8Array.from(bytesOf(data, typeof options === "string" ? options : options?.encoding));
    await inTurn("write", () => writeFrom(bytes, undefined));
  };

  const sync = (syscall: string) => async (): Promise<void> => {
    checkOpen(syscall);
    await inTurn(syscall, () => raw.sync());
  };

  const close = (): Promise<void> =>
    (closing ??= inTurn("close", () => raw.close()).finally(() => {
      onClosed();
    }));

  return {
    read,
    write,
    readFile,
    writeFile,
    appendFile: writeFile,
    truncate: async (length = 0) => {
      checkOpen("ftruncate");
      const size = Math.max(0, checkInteger("len", length, Number.MIN_SAFE_INTEGER));
      await inTurn("ftruncate", async () => {
        if (!access.write) throw new FsError("EINVAL", { syscall: "ftruncate" });
        if (size > largestFile) throw new FsError("EFBIG", { syscall: "ftruncate" });
        await raw.truncate(size);
      });
    },
    stat: async () => {
      checkOpen("fstat");
      return await inTurn("fstat", async () => statsOf(await raw.stat()));
    },
    chmod: async (mode) => {
      checkOpen("fchmod");
      const permissions = modeOf(mode, 0o666);
      await inTurn("fchmod", () => raw.chmod(permissions));
    },
    sync: sync("fsync"),
    datasync: sync("fdatasync"),
    // Of a handle that is closed, closing says nothing.
    close: async () => {
      if (closing === undefined) await close();
      else await closing.catch(() => undefined);
    },
    [Symbol.asyncDispose]: async () => {
      if (closing === undefined) await close();
    },
  };
}

/** @throws TypeError as Node */
export function bytesOf(data: unknown, encoding: FsEncoding | null | undefined): Uint8Array {
  if (typeof data === "string") return Buffer.from(data, encoding ?? "utf8");
  if (isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw badType("data", "of type string or an instance of Buffer, TypedArray, or DataView", data);
}

function isView(given: unknown): given is View {
  return ArrayBuffer.isView(given);
}

/** @throws RangeError, TypeError as Node */
function partOf(buffer: View, { offset, length }: FsSlice): Uint8Array {
  const from = checkInteger("offset", offset ?? 0, 0);
  const count = length ?? buffer.byteLength - from;
  if (count === 0) return new Uint8Array(0);
  if (from > buffer.byteLength) throw outOfRange("offset", `<= ${buffer.byteLength}`, from);
  if (!(count >= 0)) throw outOfRange("length", ">= 0", count);
  if (count > buffer.byteLength - from) throw outOfRange("length", `<= ${buffer.byteLength - from}`, count);
  return new Uint8Array(buffer.buffer, buffer.byteOffset + from, checkInteger("length", count, 0));
}

/** Node goes on where the handle is wherever a position is none, a negative one too. */
function placeOf(position: number | null | undefined): number | undefined {
  return typeof position === "number" && Number.isSafeInteger(position) && position >= 0 ? position : undefined;
}
