import { randomBytes } from "node:crypto";
import type { CallOptions } from "../api/common.ts";
import type { Fs } from "../api/fs.ts";
import type { Context } from "../context.ts";
import { asWorldError, WorldError } from "../error.ts";
import { etcdStore, memoryStore, openEngine } from "./engine/index.ts";
import type { Store } from "./engine/index.ts";
import type { Engine, Repository } from "./engine/types.ts";
import { step } from "./error.ts";
import { localFs } from "./local-fs.ts";
import { treeFs } from "./tree-fs.ts";
import type { TreeFsParts } from "./tree-fs.ts";
import { placeOf } from "./uri.ts";

export interface Trees {
  /** @throws WorldError INVALID_OPTION */
  readonly fs: (uri: string) => Fs;
  /** A tree of the cluster by its URI. @throws WorldError INVALID_OPTION */
  readonly repository: (uri: string) => Repository;
}

/** The trees of one World, which end with it. */
export function treesOf(context: Context): Trees {
  let cluster: Engine | undefined;
  let memory: Engine | undefined;
  const { clock, log, keys, hostname } = context;
  const opened = (store: Store): Engine => {
    const engine = openEngine({ store, by: hostname, randomBytes });
    context.hold(() => engine.close());
    return engine;
  };
  const clusterEngine = (): Engine =>
    (cluster ??= opened(etcdStore({ client: () => context.client(), keys, clock, log, ttlMs: context.sessionTtlMs })));
  const memoryEngine = (): Engine => (memory ??= opened(memoryStore(clock)));
  return {
    repository: (uri) => {
      const place = placeOf(uri);
      if (place.kind === "etcd") return clusterEngine().repository(place.name);
      throw new WorldError("INVALID_OPTION", `Cannot use ${uri}: only a tree of the cluster is there for all hosts`, {
        hint: "like etcdfs:///fs/site",
        data: { option: "uri" },
      });
    },
    fs: (uri) => {
      const place = placeOf(uri);
      if (place.kind === "local") return localFs({ uri, folder: place.folder, context, ...overMemory(context, uri) });
      const engine = place.kind === "etcd" ? clusterEngine() : memoryEngine();
      const calls = place.kind === "etcd" ? overCluster(context, uri) : overMemory(context, uri);
      return treeFs({ uri, repository: engine.repository(place.name), engine, clock: context.clock, ...calls });
    },
  };
}

type Calls = Pick<TreeFsParts, "run" | "call" | "failure">;

function overCluster(context: Context, uri: string): Calls {
  return {
    run: ({ place, signal }, act) =>
      context.run({ what: `${place.syscall} ${place.path ?? ""} in ${uri}` }, signal === undefined ? {} : { signal }, () =>
        step(place, act),
      ),
    call: (what, options, act) => context.run({ what }, options, () => limited(context, what, options, act)),
    failure: (error, what) => context.failure(error, { what }, {}),
  };
}

/** Without a connection. */
function overMemory(context: Pick<Context, "throwIfClosed" | "limit">, uri: string): Calls {
  const ended = (error: unknown, what: string, signal: AbortSignal | undefined): unknown =>
    signal?.aborted === true && error === signal.reason ? asWorldError(error, { what }, signal) : error;
  return {
    run: async ({ place, signal }, act) => {
      try {
        context.throwIfClosed();
        signal?.throwIfAborted();
        return await step(place, act);
      } catch (error) {
        throw ended(error, `${place.syscall} ${place.path ?? ""} in ${uri}`, signal);
      }
    },
    call: async (what, options, act) => {
      try {
        context.throwIfClosed();
        options.signal?.throwIfAborted();
        return await limited(context, what, options, act);
      } catch (error) {
        throw ended(error, what, options.signal);
      }
    },
    failure: (error) => error,
  };
}

async function limited<T>(
  context: Pick<Context, "limit">,
  what: string,
  options: CallOptions,
  act: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  const limit = context.limit(options, { what });
  try {
    return await act(limit.signal);
  } finally {
    limit.end();
  }
}
