import type {
  CallOptions,
  DeleteOptions,
  Fence,
  Lease,
  ListEvent,
  Read,
  ReadOptions,
  Watch,
  WatchOptions,
  Written,
} from "./common.ts";

/** What a host exports. */
export interface Exported {
  readonly kind: string;
  readonly name: string;
  readonly value: string;
  /** The one host that is to collect it. Default: everyone. */
  readonly to?: string;
}

/** What a host has exported, as it is collected. */
export interface Resource extends Exported {
  /** That exported it. */
  readonly host: string;
  readonly modRevision: number;
  /** It hangs on a lease. */
  readonly leased: boolean;
}

/** Of everything that is given, all has to fit. */
export interface ResourceFilter {
  readonly kind?: string;
  readonly name?: string;
  /** That exported it. */
  readonly host?: string;
}

/** One filter, or several of which one has to fit; of an empty list none does. Default: everything. */
export type ResourceFilters = ResourceFilter | readonly ResourceFilter[];

export interface ExportOptions extends CallOptions {
  /** What belongs together: `replace` leaves other scopes of this host alone. Default `default`. */
  readonly scope?: string;
  /**
   * `add`, the default: what was exported before stays. `replace`: what this host has exported in this scope, also in an earlier life of the
   * program, and is not in the list, is deleted.
   */
  readonly mode?: "add" | "replace";
  readonly lease?: Lease;
  readonly fence?: Fence;
}

export type ResourceKey = Pick<Exported, "kind" | "name" | "to">;

/** In the order of the list. Each says whether it changed. */
export interface ExportResult extends Written {
  readonly items: readonly (ResourceKey & { readonly changed: boolean })[];
  /** By `replace`. */
  readonly deleted: readonly ResourceKey[];
}

/** The same kind and name, exported by several hosts. */
export interface ResourceConflict {
  readonly kind: string;
  readonly name: string;
  /** Two at least, sorted by host. */
  readonly items: readonly Resource[];
}

/** Resources that hosts export to one another. */
export interface Resources {
  /**
   * Each resource is written by itself, many at a time; what is unchanged is not written. 10,000 in one call are fine. `to`, kind and name
   * together name a resource of this host: none may be in the list twice.
   *
   * ```ts
   * await world.resource.export([{ kind: "host", name: "web1", value: "192.0.2.7" }], { mode: "replace" });
   * ```
   *
   * @throws WorldError as every write; where some were written and some not its outcome is `unknown`. Exporting again completes it.
   */
  export(list: readonly Exported[], options?: ExportOptions): Promise<ExportResult>;
  /** Of one revision: what was exported to this host or to everyone, sorted by kind, name, host, and what is for everyone first. */
  collect(filters?: ResourceFilters, options?: ReadOptions): Promise<Read & { readonly items: readonly Resource[] }>;
  /** What this host has exported. What is not there is no error, and no change. */
  delete(list: readonly ResourceKey[], options?: DeleteOptions): Promise<Written & Pick<ExportResult, "items">>;
  /** What {@link collect} with the same filters would give, and every change of that. */
  watch(filters?: ResourceFilters, options?: WatchOptions<Resource>): Watch<ListEvent<Resource>>;
  /** Among what {@link collect} gives: sorted by kind and name. */
  conflicts(
    filters?: ResourceFilters,
    options?: ReadOptions,
  ): Promise<Read & { readonly conflicts: readonly ResourceConflict[] }>;
}
