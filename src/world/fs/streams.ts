import { Readable, Writable } from "node:stream";
import type { FsHandle, FsReadStreamOptions, FsWriteStreamOptions } from "../api/fs-files.ts";
import { checkInteger, outOfRange } from "./error.ts";
import type { Access } from "./flags.ts";
import { handleOver } from "./handle.ts";
import type { OpenFile } from "./reader.ts";

const defaultPiece = 64 * 1024;
const reading: Access = { read: true, write: false, append: false, create: false, exclusive: false, truncate: false };

type Done = (error?: Error | null) => void;

/** @throws RangeError, TypeError as Node */
export function readStream(open: () => Promise<OpenFile>, options: FsReadStreamOptions): Readable {
  const { start = 0, end = Infinity, encoding, highWaterMark = defaultPiece, signal } = options;
  checkInteger("start", start, 0);
  if (end !== Infinity) checkInteger("end", end, 0);
  if (start > end) throw outOfRange("start", `<= "end" (here: ${end})`, start);
  let handle: FsHandle | undefined;
  let at = start;
  return new Readable({
    highWaterMark,
    ...(encoding === undefined ? {} : { encoding }),
    ...(signal === undefined ? {} : { signal }),
    construct: (done) => {
      settled(async () => {
        const { raw, isFolder } = await open();
        handle = handleOver(raw, reading, isFolder);
      }, done);
    },
    read(size) {
      const wanted = Math.min(size, end - at + 1);
      if (wanted <= 0) {
        this.push(null);
        return;
      }
      const piece = Buffer.allocUnsafe(wanted);
      void handle!.read(piece, 0, wanted, at).then(
        ({ bytesRead }) => {
          at += bytesRead;
          this.push(bytesRead === 0 ? null : piece.subarray(0, bytesRead));
        },
        (error: unknown) => this.destroy(error as Error),
      );
    },
    destroy: (error, done) => {
      settled(async () => {
        await handle?.close();
        if (error !== null) throw error;
      }, done);
    },
  });
}

/** One that is destroyed before it has finished leaves a tree as it was. @throws RangeError, TypeError as Node */
export function writeStream(open: () => Promise<OpenFile>, access: Access, options: FsWriteStreamOptions): Writable {
  const { start, highWaterMark, signal } = options;
  if (start !== undefined) checkInteger("start", start, 0);
  let file: OpenFile | undefined;
  let handle: FsHandle | undefined;
  let at = start;
  return new Writable({
    decodeStrings: true,
    ...(highWaterMark === undefined ? {} : { highWaterMark }),
    ...(signal === undefined ? {} : { signal }),
    construct: (done) => {
      settled(async () => {
        file = await open();
        handle = handleOver(file.raw, access, file.isFolder);
      }, done);
    },
    write: (piece: Buffer, _encoding, done) => {
      settled(async () => {
        const { bytesWritten } = await handle!.write(piece, 0, piece.byteLength, at);
        if (at !== undefined) at += bytesWritten;
      }, done);
    },
    final: (done) => {
      settled(() => handle!.close(), done);
    },
    destroy(error, done) {
      settled(async () => {
        if (!this.writableFinished) await file?.raw.abandon();
        if (error !== null) throw error;
      }, done);
    },
  });
}

function settled(act: () => Promise<void>, done: Done): void {
  act().then(
    () => done(),
    (error: unknown) => done(error as Error),
  );
}
