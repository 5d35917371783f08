import { WorldError } from "../world/index.ts";
import type { ListEvent, ReadMode, ReadOptions, ValueEvent, Watch, WatchOptions, World } from "../world/index.ts";
import type { Changed, Changes } from "./api.ts";
import { changed } from "./changes.ts";
import type { Use } from "./changes.ts";

/** What all parts of one façade stand on. */
export interface Facade {
  /** @throws WorldError CLOSED after its end */
  readonly world: () => World;
  readonly use: Use;
  /** Where a call says nothing else. */
  readonly read: ReadMode;
}

export function reading({ read }: Facade, options: ReadOptions): ReadOptions & { readonly read: ReadMode } {
  return { ...options, read: options.read ?? read };
}

/** What is told is that something changed: of several changes that wait there is one. */
export function watching<T extends Pick<WatchOptions<never>, "signal" | "settle">>(options: T): T & { readonly coalesce: true } {
  return { ...options, coalesce: true };
}

type AnyEvent = ValueEvent<unknown> | ListEvent<unknown>;

export function changesOf({ use }: Facade, watch: (world: World) => Watch<AnyEvent>): Changes {
  return use.told<AnyEvent, Changed>(watch, () => changed);
}

export function notExist(what: string, state: string): WorldError {
  return new WorldError("NOT_EXIST", `Cannot ${what}: ${state}`, { hint: "strIsNotExist(error) tells this from a failure" });
}
