import type { Readable, Writable } from "node:stream";

/**
 * Files and folders as `node:fs/promises` has them. A path is taken from the root of the tree, with a slash in front or without; `..` does
 * not lead out of it, nor does a link. What fails for a reason that file systems have rejects with {@link FsError}, which has the codes of
 * Node; what fails because the cluster is out of reach, or was asked wrongly, with WorldError.
 */

/** Where a call ends early. */
export interface FsCallOptions {
  readonly signal?: AbortSignal;
}

export type FsEncoding = "utf8" | "utf-8" | "hex" | "base64" | "base64url" | "latin1" | "ascii" | "utf16le";

export type FsFlags =
  | "r"
  | "rs"
  | "r+"
  | "rs+"
  | "w"
  | "wx"
  | "xw"
  | "w+"
  | "wx+"
  | "xw+"
  | "a"
  | "as"
  | "sa"
  | "ax"
  | "xa"
  | "a+"
  | "as+"
  | "sa+"
  | "ax+"
  | "xa+";

export interface FsReadFileOptions extends FsCallOptions {
  /** With it the file comes as text. */
  readonly encoding?: FsEncoding | null;
  readonly flag?: FsFlags;
}

export interface FsWriteFileOptions extends FsCallOptions {
  /** Of text. Default: UTF-8. */
  readonly encoding?: FsEncoding | null;
  /** Default 0o666. What a tree keeps is that without 0o022; a local folder goes by the process's umask. */
  readonly mode?: number;
  /** Default: `w`, of `appendFile` `a`. */
  readonly flag?: FsFlags;
}

export interface FsMkdirOptions extends FsCallOptions {
  /** Also those above it; no error where it is there. Default false. */
  readonly recursive?: boolean;
  /** Default 0o777, as with files. */
  readonly mode?: number;
}

export interface FsRmOptions extends FsCallOptions {
  /** Folders, with all that is in them. Default false: a folder is refused. */
  readonly recursive?: boolean;
  /** No error where there is none. Default false. */
  readonly force?: boolean;
}

export interface FsCpOptions extends FsCallOptions {
  /** Folders, with all that is in them. Default false: a folder is refused. */
  readonly recursive?: boolean;
  /** What is there is replaced. Default true. */
  readonly force?: boolean;
  /** With `force: false`: what is there is an error, and not left as it is. Default false. */
  readonly errorOnExist?: boolean;
}

export interface FsReadStreamOptions extends FsCallOptions {
  readonly encoding?: FsEncoding;
  /** First byte. Default 0. */
  readonly start?: number;
  /** Last byte, which is read too. Default: the file's. */
  readonly end?: number;
  /** Bytes that are read at once. Default 64 KiB. */
  readonly highWaterMark?: number;
}

export interface FsWriteStreamOptions extends FsCallOptions {
  /** Default `w`. */
  readonly flags?: FsFlags;
  readonly mode?: number;
  /** Where the first byte goes; needs `r+` to keep what is around it. */
  readonly start?: number;
  readonly highWaterMark?: number;
}

/** What is known of a file without reading it. */
export interface FsStats {
  /** Bytes; of a link those of its target's name, of a folder nothing that means anything. */
  readonly size: number;
  /** Kind and permissions, as Node has them: `mode & 0o777` are the permissions. */
  readonly mode: number;
  readonly mtimeMs: number;
  readonly mtime: Date;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** An entry of a folder. */
export interface FsDirent {
  readonly name: string;
  /** Path of the folder that it is in. */
  readonly parentPath: string;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** Bytes of a buffer: from `offset`, `length` of them. */
export interface FsSlice {
  /** Default 0. */
  readonly offset?: number | undefined;
  /** Default: all behind `offset`. */
  readonly length?: number | undefined;
  /** Place in the file. Default, and null: where the last one has ended; then the handle goes on from there. */
  readonly position?: number | null | undefined;
}

/**
 * An open file. Of a tree: what it writes is seen by others, all of it at once, when it is synced or closed; until then the handle alone sees
 * it. What others wrote meanwhile to the same file fails that with FsConflict, unless both have appended. Of a local folder: at once.
 */
export interface FsHandle extends AsyncDisposable {
  /** Reads as much as there is, `length` at most; 0 bytes at the end. */
  read<B extends NodeJS.ArrayBufferView>(
    buffer: B,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<{ readonly bytesRead: number; readonly buffer: B }>;
  read<B extends NodeJS.ArrayBufferView>(buffer: B, slice: FsSlice): Promise<{ readonly bytesRead: number; readonly buffer: B }>;
  /** Behind the end of the file: what is between becomes zeros. Where the file is open for appending, always at its end. */
  write<B extends NodeJS.ArrayBufferView>(
    buffer: B,
    offset?: number | null,
    length?: number | null,
    position?: number | null,
  ): Promise<{ readonly bytesWritten: number; readonly buffer: B }>;
  write<B extends NodeJS.ArrayBufferView>(
    buffer: B,
    slice: FsSlice,
  ): Promise<{ readonly bytesWritten: number; readonly buffer: B }>;
  write(
    text: string,
    position?: number | null,
    encoding?: FsEncoding | null,
  ): Promise<{ readonly bytesWritten: number; readonly buffer: string }>;
  /** From where it is to the end. */
  readFile(): Promise<Buffer>;
  readFile(options: FsEncoding | (FsReadFileOptions & { readonly encoding: FsEncoding })): Promise<string>;
  /** From where it is; nothing is cut off behind it. */
  writeFile(data: string | Uint8Array, options?: FsEncoding | FsWriteFileOptions): Promise<void>;
  appendFile(data: string | Uint8Array, options?: FsEncoding | FsWriteFileOptions): Promise<void>;
  /** Cuts it off there, or fills it up with zeros. Default 0. */
  truncate(length?: number): Promise<void>;
  stat(): Promise<FsStats>;
  chmod(mode: number): Promise<void>;
  /** What was written is stored, and seen by others. */
  sync(): Promise<void>;
  datasync(): Promise<void>;
  /** As `sync`; the handle is closed also where that fails. Once it is closed, it closes again without an error. */
  close(): Promise<void>;
}

/** What can be read, of a tree or of a snapshot of one. */
export interface FsReader {
  readFile(path: string, options?: (FsReadFileOptions & { readonly encoding?: null }) | null): Promise<Buffer>;
  readFile(path: string, options: FsEncoding | (FsReadFileOptions & { readonly encoding: FsEncoding })): Promise<string>;
  /** Names in order. */
  readdir(
    path: string,
    options?: FsCallOptions & { readonly recursive?: boolean; readonly withFileTypes?: false },
  ): Promise<string[]>;
  readdir(
    path: string,
    options: FsCallOptions & { readonly recursive?: boolean; readonly withFileTypes: true },
  ): Promise<FsDirent[]>;
  stat(path: string, options?: FsCallOptions): Promise<FsStats>;
  /** Of a link, of the link itself. */
  lstat(path: string, options?: FsCallOptions): Promise<FsStats>;
  readlink(path: string, options?: FsCallOptions): Promise<string>;
  /** Without links in it. */
  realpath(path: string, options?: FsCallOptions): Promise<string>;
  /** Rejects where there is none. */
  access(path: string, options?: FsCallOptions): Promise<void>;
  createReadStream(path: string, options?: FsReadStreamOptions): Readable;
}

/** What can be changed as well. */
export interface FsFiles extends FsReader {
  writeFile(path: string, data: string | Uint8Array, options?: FsEncoding | FsWriteFileOptions): Promise<void>;
  appendFile(path: string, data: string | Uint8Array, options?: FsEncoding | FsWriteFileOptions): Promise<void>;
  /** @returns with `recursive`, the path of the first folder that was made, if one was */
  mkdir(path: string, options?: number | FsMkdirOptions): Promise<string | undefined>;
  rename(from: string, to: string, options?: FsCallOptions): Promise<void>;
  rm(path: string, options?: FsRmOptions): Promise<void>;
  rmdir(path: string, options?: FsCallOptions): Promise<void>;
  unlink(path: string, options?: FsCallOptions): Promise<void>;
  cp(from: string, to: string, options?: FsCpOptions): Promise<void>;
  /** What `target` says is kept as it is; one that begins with a slash is looked for from the root of the tree. */
  symlink(target: string, path: string, options?: FsCallOptions): Promise<void>;
  chmod(path: string, mode: number, options?: FsCallOptions): Promise<void>;
  truncate(path: string, length?: number, options?: FsCallOptions): Promise<void>;
  open(path: string, flags?: FsFlags | number, mode?: number): Promise<FsHandle>;
  /** What is written is seen by others, all at once, when the stream has finished. */
  createWriteStream(path: string, options?: FsWriteStreamOptions): Writable;
}
