import { WorldError } from "../../error.ts";
import { folderOf } from "./merge.ts";
import type { Entries, StoredEntry, StoredFolder } from "./node.ts";
import type { Address, Attributes, Entry, FileEntry, LinkEntry } from "./types.ts";

type Read = (node: Address) => Promise<Entries>;
type Child = FileEntry | LinkEntry | DraftFolder;

/** A folder that may be changed. What is in it is read when it is needed. */
export class DraftFolder {
  mode: number;
  mtimeMs: number;
  readonly #read: Read;
  /** As it is stored; undefined once anything in it has changed. */
  #stored: StoredFolder | undefined;
  #children: Map<string, Child> | undefined;
  #reading: Promise<Map<string, Child>> | undefined;

  constructor(stored: StoredFolder, read: Read) {
    this.mode = stored.mode;
    this.mtimeMs = stored.mtimeMs;
    this.#stored = stored;
    this.#read = read;
  }

  async children(): Promise<ReadonlyMap<string, Child>> {
    return this.#children ?? (await this.#load());
  }

  #load(): Promise<Map<string, Child>> {
    // Whoever asks meanwhile is to have the same one: it may be changed.
    this.#reading ??= this.#read(this.#stored!.node).then(
      (entries) => {
        const children = [...entries].map(([name, entry]) => [name, this.#childOf(entry)] as const);
        return (this.#children = new Map(children));
      },
      (error: unknown) => {
        this.#reading = undefined;
        throw error;
      },
    );
    return this.#reading;
  }

  #childOf(entry: StoredEntry): Child {
    return entry.kind === "folder" ? new DraftFolder(entry, this.#read) : entry;
  }

  /** Undefined removes it. The folder, and those above it, have to be told by {@link changed}. */
  async set(name: string, child: Child | undefined): Promise<void> {
    const children = this.#children ?? (await this.#load());
    if (child === undefined) children.delete(name);
    else children.set(name, child);
  }

  /** It is not as it is stored any more. Its children are known. */
  changed(): void {
    this.#stored = undefined;
  }

  /** One of its own, that changes by itself. */
  copy(): DraftFolder {
    const { mode, mtimeMs } = this;
    const stored = this.#stored;
    if (stored !== undefined) return new DraftFolder({ ...stored, mode, mtimeMs }, this.#read);
    const copy = new DraftFolder(unstored(this), this.#read);
    copy.#stored = undefined;
    const children = [...this.#children!].map(
      ([name, child]) => [name, child instanceof DraftFolder ? child.copy() : child] as const,
    );
    copy.#children = new Map(children);
    return copy;
  }

  entry(): Entry {
    const { mode, mtimeMs } = this;
    if (this.#stored !== undefined) return { ...this.#stored, mode, mtimeMs };
    let [entries, bytes] = [0, 0];
    for (const child of this.#children!.values()) {
      const entry = entryOf(child);
      entries += 1 + (entry.kind === "folder" ? entry.entries : 0);
      bytes += entry.kind === "folder" ? entry.bytes : entry.kind === "file" ? entry.size : 0;
    }
    return { kind: "folder", mode, mtimeMs, node: undefined, entries, bytes };
  }

  /** As it will be stored. @param made is called with each folder's object. @throws WorldError TOO_LARGE */
  store(made: (node: Address, bytes: Buffer) => void): StoredFolder {
    const { mode, mtimeMs } = this;
    if (this.#stored === undefined) {
      const entries = [...this.#children!].map(
        ([name, child]) => [name, child instanceof DraftFolder ? child.store(made) : child] as const,
      );
      this.#stored = folderOf(new Map(entries), this, { made });
    }
    return { ...this.#stored, mode, mtimeMs };
  }
}

/** What stands for a folder that is not stored, until its children are there. */
function unstored({ mode, mtimeMs }: Attributes): StoredFolder {
  return { kind: "folder", mode, mtimeMs, node: "", entries: 0, bytes: 0 };
}

export function entryOf(child: Child): Entry {
  return child instanceof DraftFolder ? child.entry() : child;
}

export function namesIn(path: string): string[] {
  return path === "" ? [] : path.split("/");
}

/** What is at a path, and the folders that lead there, the uppermost first. */
interface Found {
  readonly above: readonly DraftFolder[];
  readonly child: Child | undefined;
}

/** The folders of a draft, by path. */
export class DraftTree {
  readonly #root: DraftFolder;

  constructor(root: StoredFolder, read: Read) {
    this.#root = new DraftFolder(root, read);
  }

  async find(path: string): Promise<Child | undefined> {
    return (await this.#find(path)).child;
  }

  async #find(path: string): Promise<Found> {
    const above: DraftFolder[] = [];
    let child: Child | undefined = this.#root;
    for (const name of namesIn(path)) {
      if (!(child instanceof DraftFolder)) return { above, child: undefined };
      above.push(child);
      child = (await child.children()).get(name);
    }
    return { above, child };
  }

  /** @param child undefined removes what is there */
  async put(path: string, child: Child | undefined): Promise<void> {
    const names = namesIn(path);
    const { above } = await this.#find(path);
    const parent = above.at(-1);
    if (parent === undefined || above.length < names.length) {
      if (child === undefined && names.length > 0) return;
      throw new WorldError("INVALID_NAME", `Cannot change ${JSON.stringify(path)}: there is no folder that it could be in`);
    }
    await parent.set(names.at(-1)!, child);
    for (const folder of above) folder.changed();
  }

  async setAttributes(path: string, attributes: Partial<Attributes>): Promise<void> {
    const { above, child } = await this.#find(path);
    // The root has none of its own.
    if (child === undefined || above.length === 0) return;
    if (child instanceof DraftFolder) {
      child.mode = attributes.mode ?? child.mode;
      child.mtimeMs = attributes.mtimeMs ?? child.mtimeMs;
    } else await above.at(-1)!.set(namesIn(path).at(-1)!, { ...child, ...attributes });
    for (const folder of above) folder.changed();
  }

  store(made: (node: Address, bytes: Buffer) => void): StoredFolder {
    return this.#root.store(made);
  }
}
