import type { EtcdClient } from "../../etcd/index.ts";
import type { Copy } from "./copy.ts";

/** What one program has read and written, as a revision: its session reads are not older, within one history. */
export class Floor {
  readonly #client: EtcdClient;
  readonly #copy: Copy | undefined;
  #revision = 0;
  #history: string | undefined;
  /** What was seen of a successor before the copy is of it. */
  #ahead: { readonly clusterId: string; readonly revision: number } | undefined;

  constructor(client: EtcdClient, copy: Copy | undefined) {
    this.#client = client;
    this.#copy = copy;
  }

  /** A store that went back has another history: what was seen of the other one says nothing of this. */
  of(copy: Copy): number {
    if (copy.isThere && copy.history !== this.#history) {
      if (this.#history !== undefined) this.#revision = this.#ahead?.clusterId === copy.clusterId ? this.#ahead.revision : 0;
      this.#history = copy.history;
      this.#ahead = undefined;
    }
    return this.#revision;
  }

  /** The copy was read at this revision. */
  read(copy: Copy, revision: number): void {
    this.#revision = Math.max(this.of(copy), revision);
  }

  /** What is read or written by the client raises the floor; of a successor the copy is not of yet, it will. */
  raise(revision: number): void {
    const copy = this.#copy;
    if (copy !== undefined) this.of(copy);
    const { clusterId } = this.#client;
    if (copy === undefined || this.isPresent(copy) || clusterId === undefined)
      this.#revision = Math.max(this.#revision, revision);
    else if (this.#ahead?.clusterId !== clusterId || revision > this.#ahead.revision) this.#ahead = { clusterId, revision };
  }

  /** Of the cluster that the client asks and writes to; true while there is none. */
  isPresent(copy: Copy): boolean {
    const { clusterId } = this.#client;
    return clusterId === undefined || !copy.isThere || copy.clusterId === clusterId;
  }
}
