import type {
  CallOptions,
  DeleteOptions,
  ListEvent,
  Read,
  ReadOptions,
  Value,
  ValueEvent,
  Watch,
  WatchOptions,
  WriteOptions,
  Written,
} from "./common.ts";

/** One string by name, the same for all hosts. */
export interface Str {
  /**
   * ```ts
   * const { value = "none" } = await world.str.get("motd");
   * ```
   */
  get(name: string, options?: ReadOptions): Promise<Value<string>>;
  /**
   * From the replica, for hot loops: as `local` reads. Within one turn of the event loop it never changes.
   *
   * @throws WorldError STALE while there is no copy: await `world.ready()` once
   */
  getSync(name: string): Value<string>;
  /**
   * ```ts
   * const { value, modRevision } = await world.str.get("counter");
   * await world.str.set("counter", `${Number(value ?? 0) + 1}`, { ifRevision: modRevision });
   * ```
   */
  set(name: string, value: string, options?: WriteOptions): Promise<Written>;
  /** Deleting what is not there is no error, and no change. */
  del(name: string, options?: DeleteOptions): Promise<Written>;
  /**
   * ```ts
   * for await (const event of world.str.watch("motd")) {
   *   if (event.kind !== "state") console.log(event.value);
   * }
   * ```
   */
  watch(name: string, options?: WatchOptions<string>): Watch<ValueEvent<string>>;
  /** All names, sorted. */
  list(options?: ReadOptions): Promise<Read & { readonly names: readonly string[] }>;
}

/** What one host has written in a map. */
export interface HostEntry {
  readonly host: string;
  readonly value: string;
  readonly modRevision: number;
  /** It hangs on a lease. */
  readonly leased: boolean;
}

/** One string of each host, by name. Every host writes its own. */
export interface StrMap {
  /** Of all hosts that have one. `modRevision` is that of the own host's entry, 0 where it has none. */
  get(name: string, options?: ReadOptions): Promise<Read & StrMapValue>;
  /** Under the own hostname. */
  set(name: string, value: string, options?: WriteOptions): Promise<Written>;
  /** The own host's. */
  del(name: string, options?: DeleteOptions): Promise<Written>;
  /**
   * ```ts
   * await world.strmap.set("address", "192.0.2.7", { lease: "session" });
   * for await (const event of world.strmap.watch("address", { settle: { minMs: 100 } })) {
   *   if (event.kind === "state") continue;
   *   const { value } = await world.strmap.get("address");
   *   console.log([...value].map(([host, address]) => `${address} ${host}`).join("\n"));
   * }
   * ```
   */
  watch(name: string, options?: WatchOptions<HostEntry>): Watch<ListEvent<HostEntry>>;
  /** All names, sorted. */
  list(options?: ReadOptions): Promise<Read & { readonly names: readonly string[] }>;
}

export interface StrMapValue {
  /** By host, sorted by it. */
  readonly value: ReadonlyMap<string, string>;
  /** The same with what else is known, sorted by host. */
  readonly entries: readonly HostEntry[];
  readonly modRevision: number;
}

/** What a cluster's size key says. */
export interface SizeValue extends Value<number> {
  /** What is written there, where it is not a size: what was good last stays in force then. */
  readonly refused?: string;
}

/** How many members the cluster is to have. Read and written at the cluster itself: the replica does not hold it. */
export interface IdealClusterSize {
  get(options?: CallOptions): Promise<SizeValue>;
  /**
   * 1 to 1,000. 0 shuts the whole cluster down, and has to be meant.
   *
   * @throws WorldError INVALID_VALUE, and as every write
   */
  set(size: number, options?: DeleteOptions & { readonly shutdown?: true }): Promise<Written>;
  watch(options?: WatchOptions<number>): Watch<ValueEvent<number>>;
}
