import type { Read, ReadOptions, ValueEvent, Watch, WatchOptions } from "./common.ts";

export interface PartOptions {
  /** Milliseconds for which it has to be converged, without a break, before it counts. Default: the agent's in `agent.world`, else 0. */
  readonly timeoutMs?: number;
  /** Whether it is from the start. Default false. */
  readonly converged?: boolean;
}

/** Something of this program that is converged or not: a resource, a job, a queue. It counts until it is unregistered. */
export interface ConvergerPart extends Disposable {
  readonly name: string;
  /** As it has said last. */
  readonly converged: boolean;
  /** What it said already changes nothing. `set(false)` and then `set(true)` begins its timeout anew: something has happened. */
  readonly set: (converged: boolean) => void;
  /** It counts no more. Idempotent. */
  readonly unregister: () => void;
}

/** The parts of this program (in `agent.world`: and its agent's), and what they come to. */
export interface ConvergedHere {
  /** All of them are, each for its timeout. Undefined where there are none: then this program says nothing. */
  readonly converged: boolean | undefined;
  /** By name. `counts`: it has been converged for its timeout. */
  readonly parts: readonly { readonly name: string; readonly converged: boolean; readonly counts: boolean }[];
}

/** What all hosts say. */
export interface Convergence {
  /** Every host that says something is converged, and there is one. A host that has died says nothing more once its session is over. */
  readonly converged: boolean;
  /** By name. One that says something that cannot be read is `malformed`, and not converged. */
  readonly hosts: readonly { readonly host: string; readonly converged: boolean; readonly malformed: boolean }[];
}

/** Whether everything on all hosts has come to rest. Every agent takes part; a program does from its first part on. */
export interface Converger {
  /**
   * ```ts
   * const part = world.converger.register("packages", { timeoutMs: 5_000 });
   * part.set(true);
   * ```
   *
   * @throws WorldError INVALID_NAME, also where a part of that name is registered; INVALID_OPTION; CLOSED
   */
  register(name: string, options?: PartOptions): ConvergerPart;
  readonly here: ConvergedHere;
  get(options?: ReadOptions): Promise<Read & Convergence>;
  /** An event only where the word of a host has changed. */
  watch(options?: WatchOptions<Convergence>): Watch<ValueEvent<Convergence>>;
  /**
   * Calls the hook with what is so at first, and again each time `converged` has changed: one call at a time, the next one with what is so
   * then. What it throws is logged. While the cluster is out of reach it is not called. Ends with the World, and by the returned function.
   *
   * ```ts
   * const stop = world.converger.onChange(({ converged }) => console.log(converged ? "at rest" : "working"));
   * ```
   */
  onChange(hook: (now: Convergence) => void | Promise<void>): () => void;
}
