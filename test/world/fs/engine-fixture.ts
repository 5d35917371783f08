import { createCipheriv, createHash, randomBytes } from "node:crypto";
import { onTestFinished } from "vitest";
import { systemClock as clock } from "../../../src/clock.ts";
import { EtcdClient } from "../../../src/etcd/index.ts";
import type { RecordOp, RecordTxn } from "../../../src/etcd/index.ts";
import { keysUnder } from "../../../src/keys.ts";
import { etcdStore, memoryStore, openEngine } from "../../../src/world/fs/engine/index.ts";
import type { Draft, Engine, Reading, Repository, Store } from "../../../src/world/fs/engine/index.ts";
import { never } from "../../support/etcd-server.ts";
import type { TestCluster } from "../../support/etcd-process.ts";
import { freshNamespace } from "../fixture.ts";

/** A store that several engines share, as several hosts do. */
export interface Stores {
  /** As one host sees it; closed when the test is over. */
  store(): Store;
  /** An engine over a store of its own. */
  engine(by?: string): Engine;
}

/** In one etcd, in a namespace of its own. */
export function storesIn(
  etcd: TestCluster,
  ttlMs = 10_000,
): Stores & { readonly namespace: string; readonly client: EtcdClient } {
  const namespace = freshNamespace();
  const client = EtcdClient.create({ endpoints: etcd.urls, clock });
  const stores: Store[] = [];
  onTestFinished(async () => {
    await Promise.all(stores.map((store) => store.close()));
    await client.close();
  });
  const store = (): Store => {
    const one = etcdStore({ client: () => Promise.resolve(client), keys: keysUnder(namespace), clock, ttlMs });
    stores.push(one);
    return one;
  };
  return { namespace, client, store, engine: (by) => engineOver(store(), by) };
}

/** In memory. */
export function storesInMemory(): Stores {
  const store = memoryStore(clock);
  onTestFinished(() => store.close());
  return { store: () => store, engine: (by) => engineOver(store, by) };
}

export function engineOver(store: Store, by = "h1"): Engine {
  return openEngine({ store, by, randomBytes });
}

/** The same store, where `before` has its say before each call that waits for it. */
export function tapped(
  store: Store,
  before: (call: "scan" | "moment" | "txn" | "lease" | "lock", txn?: RecordTxn) => void | Promise<void>,
): Store {
  return {
    keys: store.keys,
    clock: store.clock,
    scan: async (range, options) => {
      await before("scan");
      return await store.scan(range, options);
    },
    moment: async (call) => {
      await before("moment");
      const moment = await store.moment(call);
      return {
        revision: moment.revision,
        scan: async (range, options) => {
          await before("scan");
          return await moment.scan(range, options);
        },
      };
    },
    txn: async (txn, options) => {
      await before("txn", txn);
      return await store.txn(txn, options);
    },
    lease: async (signal) => {
      await before("lease");
      return await store.lease(signal);
    },
    lock: async (key, signal) => {
      await before("lock");
      return await store.lock(key, signal);
    },
    watch: (key) => store.watch(key),
    close: () => store.close(),
    [Symbol.asyncDispose]: () => store.close(),
  };
}

/** Bytes of all values in a transaction. */
export function bytesIn({ then, otherwise = [] }: RecordTxn): number {
  const of = (op: RecordOp): number => ("when" in op ? bytesIn(op) : "put" in op ? op.value.length : 0);
  return [...then, ...otherwise].reduce((sum, op) => sum + of(op), 0);
}

/** Bytes that no other call has, and the same for the same seed. */
export function bytesFrom(seed: string, size: number): Buffer {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

export type Files = Readonly<Record<string, string | Buffer>>;

/** Writes files into a draft, with the folders that they need. */
export async function write(draft: Draft, files: Files): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const names = path.split("/");
    for (let i = 1; i < names.length; i++) {
      const folder = names.slice(0, i).join("/");
      if ((await draft.entry(folder)) === undefined) await draft.put(folder, { kind: "folder", mode: 0o755, mtimeMs: 1 });
    }
    const stored = await draft.write(Buffer.from(content));
    await draft.put(path, { kind: "file", mode: 0o644, mtimeMs: 1, ...stored });
  }
}

/** One commit that writes files, and removes some. */
export async function commit(repository: Repository, files: Files, removed: readonly string[] = []): Promise<string> {
  await using draft = await repository.draft();
  await write(draft, files);
  for (const path of removed) await draft.remove(path);
  return (await draft.commit()).root;
}

/** All files below a path, by path. */
export async function filesIn(tree: Reading, path = ""): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [name, entry] of (await tree.list(path)) ?? []) {
    const at = path === "" ? name : `${path}/${name}`;
    if (entry.kind === "folder") Object.assign(found, await filesIn(tree, at));
    else if (entry.kind === "file") found[at] = (await tree.read(entry, 0, entry.size)).toString("utf8");
    else found[at] = `-> ${entry.target}`;
  }
  return found;
}

/** What the head of a tree has. */
export async function headFiles(repository: Repository): Promise<Record<string, string>> {
  const head = await repository.head();
  return head === undefined ? {} : await filesIn(repository.tree(head.root));
}

/** Addresses of every object there is. */
export async function objectsIn(store: Store): Promise<string[]> {
  const { objects } = store.keys.fs;
  const { records } = await store.scan(objects, { keysOnly: true, signal: never });
  return records.map(({ key }) => objects.nameIn(key)!);
}

/** Addresses of every object that a tree needs. */
export async function neededBy(repository: Repository, root: string): Promise<Set<string>> {
  const found = new Set<string>();
  const tree = repository.tree(root);
  const add = async (path: string, node: string): Promise<void> => {
    found.add(node);
    for (const [name, entry] of (await tree.list(path))!) {
      if (entry.kind === "folder") await add(path === "" ? name : `${path}/${name}`, entry.node!);
      if (entry.kind === "file")
        entry.chunks.forEach((chunk, n) => found.add(`${chunk}-${Math.min(262_144, entry.size - n * 262_144)}`));
    }
  };
  await add("", root);
  return found;
}
