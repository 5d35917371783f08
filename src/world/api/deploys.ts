import type { CallOptions, Fence, ListEvent, Read, ReadOptions, Watch, WatchOptions, Written } from "./common.ts";

/** A tree of files as it was at one root: `world.fs(uri).at(root)` reads it. */
export interface DeployTree {
  /** `etcdfs:///fs/NAME` */
  readonly uri: string;
  readonly root: string;
}

/** A deploy without its payload. */
export interface Deploy {
  /** From 1, without gaps. */
  readonly id: number;
  /** Undefined where it was added without. */
  readonly hash: string | undefined;
  /** The files that belong to it, which are kept as long as the deploy is. Undefined where it was added without. */
  readonly tree: DeployTree | undefined;
}

export interface NewDeploy {
  /** Default: the one behind the newest. */
  readonly id?: number;
  readonly hash?: string;
  /** The hash of the deploy before it, which is checked. Default: not checked. The first deploy has none. */
  readonly parent?: string;
  /** Has to be kept: by the history of that tree, or by another deploy. */
  readonly tree?: DeployTree;
  readonly payload: string;
}

export interface AddDeployOptions extends CallOptions {
  readonly fence?: Fence;
}

/** The history of what is deployed. */
export interface Deploys {
  /**
   * Adds it behind the newest, atomically.
   *
   * @throws WorldError CONFLICT with `data.reason`: `exists` (that id is taken), `gap` (the one before is not there), `parent` (the one
   *   before has another hash: `data.hash`) or `tree` (nothing keeps that root); and as every write
   */
  add(deploy: NewDeploy, options?: AddDeployOptions): Promise<Written & { readonly id: number }>;
  /** `deploy` is undefined where there is none of that id. */
  get(
    id: number,
    options?: ReadOptions,
  ): Promise<Read & { readonly deploy: (Deploy & { readonly payload: string }) | undefined }>;
  /** By id. No payload is read. */
  list(options?: ReadOptions): Promise<Read & { readonly deploys: readonly Deploy[] }>;
  /** 0 where there is none. No payload is read. */
  maxId(options?: ReadOptions): Promise<Read & { readonly id: number }>;
  /** Without payloads. */
  watch(options?: WatchOptions<Deploy>): Watch<ListEvent<Deploy>>;
  /** Deletes all but the newest `keep`, the oldest first. The newest always stays. */
  prune(
    options: CallOptions & { readonly keep: number; readonly fence?: Fence },
  ): Promise<Written & { readonly deleted: readonly number[] }>;
}
