import * as system from "node:fs/promises";
import { createReadStream, createWriteStream } from "node:fs";
import type { FsDirent, FsFiles, FsHandle, FsStats } from "../../../src/world/index.ts";

/** What `node:fs/promises` itself does, in one folder: the truth that ours is compared with. Its errors say paths below the folder. */
export function nodeFiles(folder: string): FsFiles {
  const real = (path: unknown): string => (typeof path === "string" && path !== "" ? `${folder}${path}` : (path as string));
  const told = (text: string): string => text.replaceAll(folder, "");
  const run = async <T>(act: () => Promise<T>): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      const of = error as NodeJS.ErrnoException & { dest?: string };
      for (const name of ["path", "dest", "message"] as const) {
        const text = of[name];
        if (typeof text === "string") Object.defineProperty(of, name, { value: told(text), enumerable: true });
      }
      throw error;
    }
  };
  const files = {
    readFile: (path: string, options?: never) => run(() => system.readFile(real(path), options)),
    readdir: (path: string, options?: never) => run(() => system.readdir(real(path), options)),
    stat: (path: string) => run(() => system.stat(real(path)) as Promise<FsStats>),
    lstat: (path: string) => run(() => system.lstat(real(path)) as Promise<FsStats>),
    readlink: (path: string) => run(() => system.readlink(real(path))),
    realpath: (path: string) => run(async () => told(await system.realpath(real(path))) || "/"),
    access: (path: string) => run(() => system.access(real(path))),
    createReadStream: (path: string, options?: never) => createReadStream(real(path), options),
    writeFile: (path: string, data: string, options?: never) => run(() => system.writeFile(real(path), data, options)),
    appendFile: (path: string, data: string, options?: never) => run(() => system.appendFile(real(path), data, options)),
    mkdir: (path: string, options?: never) =>
      run(async () => {
        const made: unknown = await system.mkdir(real(path), options);
        return typeof made === "string" ? told(made) : undefined;
      }),
    rename: (from: string, to: string) => run(() => system.rename(real(from), real(to))),
    rm: (path: string, options?: never) => run(() => system.rm(real(path), options)),
    rmdir: (path: string) => run(() => system.rmdir(real(path))),
    unlink: (path: string) => run(() => system.unlink(real(path))),
    cp: (from: string, to: string, options: object = {}) =>
      run(() => system.cp(real(from), real(to), { verbatimSymlinks: true, ...options })),
    symlink: (target: string, path: string) => run(() => system.symlink(target, real(path))),
    chmod: (path: string, mode: number) => run(() => system.chmod(real(path), mode)),
    truncate: (path: string, length?: number) => run(() => system.truncate(real(path), length)),
    open: (path: string, flags?: string, mode?: number) =>
      run(() => system.open(real(path), flags, mode) as unknown as Promise<FsHandle>),
    createWriteStream: (path: string, options?: never) => createWriteStream(real(path), options),
  };
  return files as unknown as FsFiles;
}

export type { FsDirent };
