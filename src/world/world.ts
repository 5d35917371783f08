import { Observable } from "rxjs";
import type { World, WorldStatus } from "./api/world.ts";
import { Context } from "./context.ts";
import type { ContextParts } from "./context.ts";
import type { PartsHere } from "./converged/here.ts";
import { treesOf } from "./fs/index.ts";
import { defaultUri } from "./fs/uri.ts";
import { batch } from "./parts/batch.ts";
import { convergerOf } from "./parts/converger.ts";
import { deploysOf } from "./parts/deploys.ts";
import { elect, leaderOnly, lock } from "./parts/lock.ts";
import { membersOf } from "./parts/members.ts";
import { resourcesOf } from "./parts/resources.ts";
import { Sessions, session } from "./parts/session.ts";
import { idealClusterSizeOf } from "./parts/size.ts";
import { strMapOf, strOf } from "./parts/strings.ts";
import { schedulerOf } from "./scheduler/index.ts";

export interface WorldParts extends ContextParts {
  /** Of the agent that this World is of: what is converged or not. */
  readonly agents?: PartsHere;
  /** Of the World whose connections it is on: it ends with that one. */
  readonly within?: Context;
}

const contexts = new WeakMap<object, Context>();

/** What a World of ours stands on; undefined for anything else. */
export function contextOf(world: object): Context | undefined {
  return contexts.get(world);
}

/** A World over a connection that is made with the first use. */
export function worldOver(parts: WorldParts): World {
  const context = new Context(parts);
  const sessions = new Sessions(context);
  const scheduler = schedulerOf(context);
  const trees = treesOf(context);
  const uriNow = parts.uri ?? (() => defaultUri);
  const close = (): Promise<void> => context.close();
  const world: World = {
    hostname: parts.hostname,
    namespace: parts.keys.namespace,
    str: strOf(context, sessions),
    strmap: strMapOf(context, sessions),
    resource: resourcesOf(context, sessions),
    deploy: deploysOf(context, ({ uri, root }, signal) => trees.repository(uri).proof(root, signal)),
    idealClusterSize: idealClusterSizeOf(context, sessions),
    members: membersOf(context),
    converger: convergerOf(context, sessions, parts.agents),
    get uri() {
      return uriNow();
    },
    fs: (uri = uriNow()) => trees.fs(uri),
    session: (options = {}) => session(context, sessions, options),
    lock: (name, options = {}) => lock(context, name, options),
    elect: (name, options = {}) => elect(context, sessions, name, options),
    leaderOnly: (name, job, options = {}) => leaderOnly(context, sessions, name, job, options),
    scheduler: (namespace, options = {}) => scheduler.takePart(namespace, options),
    scheduled: (namespace) => scheduler.look(namespace),
    schedules: (options = {}) => scheduler.list(options),
    batch: (fill, options = {}) => batch(context, sessions, fill, options),
    get status() {
      return statusOf(context);
    },
    status$: statusesOf(context),
    ready: async (options = {}) => {
      const doing = { what: "get the World ready" };
      await context.run(doing, options, async () => {
        await (await context.open()).replica.ready(options);
      });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
  contexts.set(world, context);
  if (parts.within !== undefined) endWithin(parts.within, context);
  return world;
}

function endWithin(outer: Context, context: Context): void {
  const release = outer.hold(() => context.close());
  context.over.addEventListener("abort", release, { once: true });
  if (outer.over.aborted) void context.close();
}

function statusOf({ opened, over, malformed }: Context): WorldStatus {
  const replica = opened?.replica.status;
  return {
    state: over.aborted ? "closed" : (replica?.state ?? "starting"),
    because: replica?.because ?? [],
    folder: replica?.folder,
    clusterId: replica?.clusterId,
    endpoints: replica?.endpoints ?? [],
    revision: replica?.revision ?? 0,
    ageMs: replica?.ageMs ?? 0,
    lost: replica?.lost,
    foreign: replica?.foreign,
    malformed: malformed.status,
  };
}

/** Revisions come and go without being told. */
function statusesOf(context: Context): Observable<WorldStatus> {
  return new Observable((subscriber) => {
    let last = "";
    const tell = (): void => {
      const status = statusOf(context);
      const { revision, ageMs, ...rest } = status;
      const text = JSON.stringify(rest);
      if (text === last) return;
      last = text;
      subscriber.next(status);
    };
    tell();
    let stopReplica = (): void => undefined;
    const stopWaiting = context.onOpened(() => {
      stopReplica = context.opened!.replica.onStatus(tell);
      tell();
    });
    const stopMalformed = context.malformed.onNews(tell);
    const onClosed = (): void => {
      tell();
      subscriber.complete();
    };
    if (context.over.aborted) subscriber.complete();
    else context.over.addEventListener("abort", onClosed, { once: true });
    return () => {
      context.over.removeEventListener("abort", onClosed);
      stopWaiting();
      stopReplica();
      stopMalformed();
    };
  });
}
