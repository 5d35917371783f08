import { namesIn } from "./folders.ts";
import type { StoredEntry } from "./node.ts";
import type { Objects } from "./objects.ts";
import type { HeldPin } from "./pins.ts";
import { rootFolder } from "./records.ts";
import type { Address, Content, PinnedTree, Tree } from "./types.ts";

/** See {@link Tree}. */
export class StoredTree implements Tree {
  readonly root: Address;
  readonly #objects: Objects;

  constructor(objects: Objects, root: Address) {
    this.#objects = objects;
    this.root = root;
  }

  async entry(path: string, signal?: AbortSignal): Promise<StoredEntry | undefined> {
    let entry: StoredEntry | undefined = rootFolder({ root: this.root, entries: 0, bytes: 0 });
    for (const name of namesIn(path)) {
      if (entry?.kind !== "folder") return undefined;
      entry = (await this.#objects.folder(entry.node, signal)).get(name);
    }
    return entry;
  }

  async list(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, StoredEntry> | undefined> {
    const entry = await this.entry(path, signal);
    return entry?.kind === "folder" ? await this.#objects.folder(entry.node, signal) : undefined;
  }

  async read(content: Content, from: number, to: number, signal?: AbortSignal): Promise<Buffer> {
    return await this.#objects.read(content, from, to, signal);
  }
}

/** See {@link PinnedTree}. */
export class KeptTree extends StoredTree implements PinnedTree {
  readonly signal: AbortSignal;
  readonly #pin: HeldPin | undefined;

  /** @param pin undefined of a tree that needs none */
  constructor(objects: Objects, root: Address, pin: HeldPin | undefined) {
    super(objects, root);
    this.#pin = pin;
    this.signal = pin?.signal ?? new AbortController().signal;
  }

  async close(): Promise<void> {
    await this.#pin?.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
