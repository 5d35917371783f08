import type { ListEvent, Member, ValueEvent, Watch, World } from "../world/index.ts";
import { WorldError } from "../world/index.ts";
import type { Changed, MembersResult } from "./api.ts";

/** What a watch tells, by the façade's names. */
export interface Told<T> extends AsyncIterable<T> {
  [Symbol.asyncIterator](): AsyncIterator<T, undefined>;
}

/** A World until the façade over it is cleaned up, and the watches that complete then. */
export class Use {
  readonly #world: World;
  readonly #ends = new Set<() => void>();
  readonly #held = new Set<() => Promise<void>>();
  #isOver = false;

  constructor(world: World) {
    this.#world = world;
  }

  /** @throws WorldError CLOSED */
  world(): World {
    if (this.#isOver) throw new WorldError("CLOSED", "Cannot use mgmt's World: it was cleaned up");
    return this.#world;
  }

  /** Watches complete, and what is held ends. */
  async end(): Promise<void> {
    this.#isOver = true;
    for (const end of this.#ends) end();
    await Promise.allSettled([...this.#held].map((close) => close()));
  }

  /** What has to end with the façade. The returned function ends it before that. */
  hold(close: () => Promise<void>): () => Promise<void> {
    this.#held.add(close);
    return async () => {
      this.#held.delete(close);
      await close();
    };
  }

  /** Each iteration is one of the watch, with a `tell` of its own, which gives undefined for what is not told. */
  told<E, T>(watch: (world: World) => Watch<E>, teller: () => (event: E) => T | undefined): Told<T> {
    return {
      [Symbol.asyncIterator]: () => {
        try {
          return this.#iteration(watch(this.world())[Symbol.asyncIterator](), teller());
        } catch (error) {
          return { next: () => Promise.reject(error) };
        }
      },
    };
  }

  #iteration<E, T>(inner: AsyncIterator<E, undefined>, tell: (event: E) => T | undefined): AsyncIterator<T, undefined> {
    const end = (): void => {
      this.#ends.delete(end);
      void inner.return?.();
    };
    this.#ends.add(end);
    const next = async (): Promise<IteratorResult<T, undefined>> => {
      for (;;) {
        const result = await inner.next();
        if (result.done === true) return result;
        const value = tell(result.value);
        if (value !== undefined) return { done: false, value };
      }
    };
    return {
      next: async () => {
        let result: IteratorResult<T, undefined> | undefined;
        try {
          return (result = await next());
        } finally {
          if (result?.done !== false) end();
        }
      },
      return: async () => {
        end();
        return { done: true, value: undefined };
      },
    };
  }
}

/** Of any watch: that something has changed. */
export function changed(event: ValueEvent<unknown> | ListEvent<unknown>): Changed | undefined {
  return event.kind === "state" ? undefined : { revision: event.revision };
}

/** Of a watch of the members: all that there are. */
export function allMembers(): (event: ListEvent<Member>) => MembersResult | undefined {
  const now = new Map<string, Member>();
  return (event) => {
    if (event.kind === "state") return undefined;
    if (event.kind === "snapshot") for (const member of event.items) now.set(member.id, member);
    else {
      for (const change of event.changes) {
        if (change.type === "deleted") now.delete(change.previous.id);
        else now.set(change.item.id, change.item);
      }
    }
    return { members: [...now.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)) };
  };
}
