import { QuorateError } from "../../errors.ts";
import { FsError, WorldError } from "../../world/index.ts";
import type { Fs, FsReader, FsSnapshot } from "../../world/index.ts";
import type { Io } from "../io.ts";
import { withWorld } from "../world/with-world.ts";
import type { FsSettings } from "./settings.ts";

export interface OpenedTree {
  readonly fs: Fs;
  /** Fires with `^C`. */
  readonly signal: AbortSignal;
}

/** A tree for the length of one command. @throws QuorateError also where the tree, or the local folder, refuses something */
export async function withTree<T>(settings: FsSettings, io: Io, use: (opened: OpenedTree) => Promise<T>): Promise<T> {
  try {
    return await withWorld(settings, io, ({ world, signal }) => use({ fs: world.fs(settings.uri), signal }));
  } catch (error) {
    throw asRefusal(error, settings.uri);
  }
}

/** The same of what is there, or was there at the root that was asked for. */
export async function withReader<T>(
  settings: FsSettings,
  io: Io,
  use: (reader: FsReader & Pick<FsSnapshot, "download">, root: string) => Promise<T>,
): Promise<T> {
  return await withTree(settings, io, async ({ fs, signal }) => {
    await using snapshot = await (settings.at === undefined ? fs.snapshot({ signal }) : fs.at(settings.at, { signal }));
    return await use(snapshot, snapshot.root);
  });
}

function asRefusal(error: unknown, uri: string): unknown {
  if (error instanceof WorldError) return error;
  const isOfNode = error instanceof Error && "syscall" in error && "code" in error;
  if (!isOfNode) return error;
  const { code, path } = error as NodeJS.ErrnoException;
  const where = error instanceof FsError ? ` in ${uri}` : "";
  const words = error.message.replace(/^[A-Z_]+: /, "").replace(/, \S+( '.*)?$/s, "");
  return new QuorateError("FAILED", `Cannot use ${path === undefined ? "it" : path}${where}: ${words}`, {
    cause: error,
    data: { code, path },
  });
}
