import type { CallOptions, Fence, Lease, Written } from "./common.ts";
import type { Exported, ResourceKey } from "./resources.ts";

export interface BatchDeleteOptions {
  readonly ifRevision?: number;
  readonly fence?: Fence;
}

export interface BatchWriteOptions extends BatchDeleteOptions {
  readonly lease?: Lease;
  readonly ifAbsent?: boolean;
}

/** Collects writes. Nothing happens before the function that fills it has returned. */
export interface BatchBuilder {
  readonly str: {
    set(name: string, value: string, options?: BatchWriteOptions): void;
    del(name: string, options?: BatchDeleteOptions): void;
  };
  readonly strmap: BatchBuilder["str"];
  readonly resource: {
    export(
      list: readonly Exported[],
      options?: { readonly scope?: string; readonly lease?: Lease; readonly fence?: Fence },
    ): void;
    delete(list: readonly ResourceKey[], options?: { readonly fence?: Fence }): void;
  };
}

export interface BatchOptions extends CallOptions {
  /** All or nothing, at one revision. Never split: TOO_LARGE where it is more than etcd takes. Default false. */
  readonly atomic?: boolean;
  /** For all of it. */
  readonly fence?: Fence;
}

export interface BatchResult extends Written {
  /** Of each write, in the order of the calls; a list of resources counts as one for each of them. */
  readonly results: readonly Written[];
}
