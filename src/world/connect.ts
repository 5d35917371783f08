import type { Opened } from "./context.ts";
import { openReplica, ReplicaWrites } from "./replica/index.ts";
import type { ReplicaOptions } from "./replica/index.ts";

/** In a file of its own, loaded when it is needed: it brings LMDB along. @throws as opening a replica */
export async function connect(options: ReplicaOptions): Promise<Opened> {
  const replica = await openReplica(options);
  return { replica, writes: new ReplicaWrites(replica, options.log === undefined ? {} : { log: options.log }), how: options };
}
