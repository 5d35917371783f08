import { WorldError } from "../../error.ts";
import { commit } from "./commit.ts";
import { ChunkEditing } from "./editing.ts";
import { DraftFolder, DraftTree, entryOf } from "./folders.ts";
import { addressOf, emptyFolder } from "./node.ts";
import type { Entries, StoredEntry } from "./node.ts";
import type { Objects } from "./objects.ts";
import type { HeldPin } from "./pins.ts";
import { rootFolder } from "./records.ts";
import type { Store } from "./store.ts";
import { chunkBytes, emptyContent } from "./types.ts";
import type {
  Address,
  Attributes,
  Commit,
  CommitOptions,
  Committed,
  Content,
  Draft,
  Editing,
  Entry,
  FileEntry,
  Limits,
  LinkEntry,
  Tree,
} from "./types.ts";
import { Upload } from "./upload.ts";

export interface DraftParts {
  readonly name: string;
  readonly by: string;
  readonly limits: Limits;
  readonly store: Store;
  readonly objects: Objects;
  readonly pin: HeldPin;
  readonly base: Commit | undefined;
  readonly id: string;
  /** Called once, when it is over. */
  readonly onOver: (draft: Draft) => void;
}

/** See {@link Draft}. */
export class PinnedDraft implements Draft {
  readonly base: Commit | undefined;
  readonly #parts: DraftParts;
  readonly #upload: Upload;
  readonly #tree: DraftTree;
  /** Objects of folders that are not stored yet. */
  readonly #made = new Map<Address, Buffer>();
  #known: Promise<ReadonlySet<Address>> | undefined;
  #over = false;
  #closed: Promise<void> | undefined;

  constructor(parts: DraftParts) {
    const { store, pin, base } = parts;
    this.#parts = parts;
    this.base = base;
    this.#upload = new Upload(
      store,
      () => {
        pin.check();
      },
      () => this.#objectsOfBase(),
    );
    this.#tree = new DraftTree(rootFolder(base), (node) => this.#folder(node));
  }

  async entry(path: string, signal?: AbortSignal): Promise<Entry | undefined> {
    this.#admit(signal);
    const found = await this.#tree.find(path);
    return found && entryOf(found);
  }

  async list(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, Entry> | undefined> {
    this.#admit(signal);
    const found = await this.#tree.find(path);
    if (!(found instanceof DraftFolder)) return undefined;
    const children = [...(await found.children())].sort(([a], [b]) => (a < b ? -1 : 1));
    return new Map(children.map(([name, child]) => [name, entryOf(child)]));
  }

  async read(content: Content, from: number, to: number, signal?: AbortSignal): Promise<Buffer> {
    this.#admit(signal);
    return await this.#parts.objects.read(content, from, to, signal, (address) => this.#upload.find(address));
  }

  edit(from: Content = emptyContent): Editing {
    this.#admit();
    return new ChunkEditing(
      {
        mostBytes: this.#parts.limits.fileBytes,
        read: (content, start, end, signal) => this.read(content, start, end, signal),
        store: (address, bytes, signal) => this.#store(address, bytes, signal),
      },
      from,
    );
  }

  async write(bytes: Uint8Array | AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Content> {
    this.#admit(signal);
    const chunks: string[] = [];
    let [size, parts, length] = [0, [] as Buffer[], 0];
    const store = async (): Promise<void> => {
      const chunk = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
      [parts, length] = [[], 0];
      const address = addressOf(chunk);
      chunks.push(address.slice(0, 64));
      await this.#store(address, chunk, signal);
    };
    for await (const some of bytes instanceof Uint8Array ? [bytes] : bytes) {
      this.#checkSize((size += some.byteLength));
      for (let at = 0; at < some.byteLength;) {
        // The caller may write into theirs again.
        const part = Buffer.from(some.subarray(at, at + chunkBytes - length));
        at += part.length;
        length += part.length;
        parts.push(part);
        if (length === chunkBytes) await store();
      }
    }
    if (length > 0) await store();
    return { size, chunks };
  }

  async has(chunk: Address, signal?: AbortSignal): Promise<boolean> {
    this.#admit(signal);
    return (await this.#objectsOfBase()).has(chunk);
  }

  async put(
    path: string,
    entry: FileEntry | LinkEntry | ({ readonly kind: "folder" } & Attributes),
    signal?: AbortSignal,
  ): Promise<void> {
    this.#admit(signal);
    const { mode, mtimeMs } = entry;
    if (entry.kind === "folder") {
      await this.#tree.put(path, this.#folderOf({ kind: "folder", mode, mtimeMs, node: emptyFolder, entries: 0, bytes: 0 }));
    } else if (entry.kind === "link") {
      await this.#tree.put(path, { kind: "link", mode, mtimeMs, target: entry.target });
    } else {
      this.#checkSize(entry.size);
      await this.#tree.put(path, { kind: "file", mode, mtimeMs, size: entry.size, chunks: entry.chunks });
    }
  }

  async set(path: string, attributes: Partial<Attributes>, signal?: AbortSignal): Promise<void> {
    this.#admit(signal);
    await this.#tree.setAttributes(path, attributes);
  }

  async remove(path: string, signal?: AbortSignal): Promise<void> {
    this.#admit(signal);
    await this.#tree.put(path, undefined);
  }

  async copy(from: string, to: string, of?: Tree, signal?: AbortSignal): Promise<void> {
    this.#admit(signal);
    if (of !== undefined) {
      const entry = await of.entry(from, signal);
      if (entry !== undefined) await this.#tree.put(to, entry.kind === "folder" ? this.#folderOf(entry as StoredEntry) : entry);
      return;
    }
    const found = await this.#tree.find(from);
    if (found !== undefined) await this.#tree.put(to, found instanceof DraftFolder ? found.copy() : found);
  }

  async commit(options: CommitOptions = {}): Promise<Committed> {
    this.#admit(options.signal);
    this.#over = true;
    try {
      const ours = this.#tree.store((node, bytes) => this.#made.set(node, bytes));
      return await commit({ ...this.#parts, upload: this.#upload, ours, made: this.#made }, options);
    } finally {
      await this.close();
    }
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#over = true;
    this.#parts.onOver(this);
    await this.#upload.close();
    await this.#parts.pin.release();
  }

  #folder(node: Address): Promise<Entries> {
    return this.#parts.objects.folder(node, undefined, (address) => this.#made.get(address));
  }

  #folderOf(stored: StoredEntry): DraftFolder {
    if (stored.kind !== "folder") throw new TypeError("This is no folder");
    return new DraftFolder(stored, (node) => this.#folder(node));
  }

  async #store(address: Address, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    this.#admit(signal);
    await this.#upload.add(address, bytes, signal);
  }

  #objectsOfBase(): Promise<ReadonlySet<Address>> {
    const { objects } = this.#parts;
    const find = async (): Promise<ReadonlySet<Address>> => {
      const found = new Set<Address>();
      if (this.base !== undefined) await objects.walk([this.base.root], new Set(), (address) => found.add(address));
      return found;
    };
    return (this.#known ??= find());
  }

  #checkSize(size: number): void {
    const most = this.#parts.limits.fileBytes;
    if (size <= most) return;
    throw new WorldError("TOO_LARGE", `Cannot write a file of ${size} bytes: at most ${most} are allowed`, {
      data: { limit: "file", bytes: size, most },
    });
  }

  #admit(signal?: AbortSignal): void {
    signal?.throwIfAborted();
    if (this.#over) throw new WorldError("CLOSED", "Cannot change the files: these changes were committed or given up");
    this.#parts.pin.check();
  }
}
