/** One key as etcd's wire has it. */
export interface WireKeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly create_revision: string;
  readonly mod_revision: string;
  readonly version: string;
  readonly lease: string;
}

export interface Stored {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly lease: string;
  readonly wire: WireKeyValue;
}

export interface StoreEvent {
  readonly key: string;
  readonly type: "Put" | "Delete";
  readonly value: string;
  readonly kv: WireKeyValue;
}

export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  expiresAtMs: number;
  readonly keys: Set<string>;
}

const nothing = Buffer.alloc(0);

/** etcd's keys as they are now: one revision for each transaction that changes something. */
export class Store {
  revision = 1;
  readonly leases = new Map<string, Lease>();
  readonly #entries = new Map<string, Stored>();
  #sorted: string[] = [];

  get(key: string): Stored | undefined {
    return this.#entries.get(key);
  }

  /** In order of key; without `end` the one key. */
  range(start: string, end: string | undefined): Stored[] {
    if (end === undefined) {
      const one = this.#entries.get(start);
      return one ? [one] : [];
    }
    const found: Stored[] = [];
    for (let i = this.#place(start); i < this.#sorted.length; i++) {
      const key = this.#sorted[i]!;
      if (key >= end) break;
      found.push(this.#entries.get(key)!);
    }
    return found;
  }

  put(key: string, value: string, lease: string, revision: number, events: StoreEvent[]): void {
    const before = this.#entries.get(key);
    if (before) this.leases.get(before.lease)?.keys.delete(key);
    else this.#sorted.splice(this.#place(key), 0, key);
    this.leases.get(lease)?.keys.add(key);
    const createRevision = before?.createRevision ?? revision;
    const version = before ? Number(before.wire.version) + 1 : 1;
    const wire: WireKeyValue = {
      key: before?.wire.key ?? Buffer.from(key),
      value: Buffer.from(value),
      create_revision: String(createRevision),
      mod_revision: String(revision),
      version: String(version),
      lease,
    };
    this.#entries.set(key, { key, value, createRevision, modRevision: revision, lease, wire });
    events.push({ key, type: "Put", value, kv: wire });
  }

  delete(key: string, revision: number, events: StoreEvent[]): void {
    const before = this.#entries.get(key);
    if (!before) return;
    this.leases.get(before.lease)?.keys.delete(key);
    this.#entries.delete(key);
    this.#sorted.splice(this.#place(key), 1);
    const kv = { ...before.wire, value: nothing, create_revision: "0", mod_revision: String(revision), version: "0", lease: "0" };
    events.push({ key, type: "Delete", value: "", kv });
  }

  #place(key: string): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#sorted[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
