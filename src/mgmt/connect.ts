import { WorldError, openWorld } from "../world/index.ts";
import type { ReadMode, World } from "../world/index.ts";
import type { ConnectOptions, MgmtWorld } from "./api.ts";
import { Use } from "./changes.ts";
import { clusterOf } from "./cluster.ts";
import { deploysOf } from "./deploys.ts";
import { checkPrefixes, fileSystemsOf } from "./fs.ts";
import type { FsOptions } from "./fs.ts";
import { resourcesOf } from "./resources.ts";
import { schedulerOf } from "./scheduler.ts";
import { mapsOf, stringsOf } from "./strings.ts";

/**
 * Opens mgmt's World. There is none that is half made: what mgmt sets in its struct before `Connect` is given here.
 *
 * ```ts
 * import { connect } from "quorate/mgmt";
 *
 * const mgmt = await connect({ seeds: ["http://127.0.0.1:2379"], hostname: "h1" });
 * await mgmt.strSet("motd", "hello");
 * console.log(await mgmt.strGet("motd"));
 * await mgmt.cleanup();
 * ```
 *
 * Better than mgmt's: with the `prefix` of an agent on this host it needs no address, and it opens while the cluster is away where there is a
 * copy of it.
 *
 * @throws WorldError INVALID_OPTION; and as {@link openWorld}
 */
export async function connect(options: ConnectOptions): Promise<MgmtWorld> {
  const { world, read = "linearizable", metadataPrefix, storagePrefix, standaloneFs, getUri, ...rest } = options;
  const fs = { metadataPrefix, storagePrefix, standaloneFs, getUri };
  checkPrefixes(fs);
  if (world === undefined) {
    const opened = await openWorld(rest);
    return mgmtWorldOver(opened, { read, fs, close: () => opened.close() });
  }
  checkAlone(rest);
  return mgmtWorldOver(world, { read, fs, close: async () => undefined });
}

/** Nobody would heed what is said of a World that is open already. */
function checkAlone(rest: object): void {
  const option = Object.entries(rest).find(([, value]) => value !== undefined)?.[0];
  if (option === undefined) return;
  const state = `${option} is for a World that is to be opened, and world is one that is open`;
  throw new WorldError("INVALID_OPTION", `Cannot connect: ${state}`, { data: { option } });
}

interface Parts {
  readonly read: ReadMode;
  readonly fs: FsOptions;
  readonly close: () => Promise<void>;
}

function mgmtWorldOver(world: World, { read, fs, close }: Parts): MgmtWorld {
  const use = new Use(world);
  const facade = { world: () => use.world(), use, read };
  let cleaned: Promise<void> | undefined;
  const cleanup = async (): Promise<void> => {
    cleaned ??= use.end().then(close);
    await cleaned;
  };
  return {
    hostname: world.hostname,
    namespace: world.namespace,
    world,
    cleanup,
    [Symbol.asyncDispose]: cleanup,
    ...stringsOf(facade),
    ...mapsOf(facade),
    ...resourcesOf(facade),
    ...deploysOf(facade),
    ...clusterOf(facade),
    ...fileSystemsOf(facade, fs),
    ...schedulerOf(facade),
  };
}
