import { WorldError } from "../world/index.ts";
import type { MgmtWorld } from "./api.ts";
import { changesOf, notExist, reading, watching } from "./facade.ts";
import type { Facade } from "./facade.ts";

type Deploys = Pick<MgmtWorld, "addDeploy" | "getDeploy" | "getDeploys" | "getMaxDeployId" | "watchDeploy">;

/** Deploys whose data is read at a time. */
const readAtOnce = 64;

export function deploysOf(facade: Facade): Deploys {
  const { world } = facade;
  return {
    addDeploy: async (id, hash, pHash, data, options = {}) => {
      const parent = hash !== "" && pHash !== "" && id > 1 ? { parent: pHash } : {};
      await world().deploy.add({ id, ...(hash === "" ? {} : { hash }), ...parent, payload: data }, options);
    },
    getDeploy: async (id, options = {}) => {
      const { deploy: deploys } = world();
      if (id === 0) {
        await deploys.maxId(reading(facade, options));
        return "";
      }
      const { deploy } = await deploys.get(id, reading(facade, options));
      if (deploy === undefined) throw notExist(`read deploy ${id}`, "there is none of that id");
      return deploy.payload;
    },
    getDeploys: async (options = {}) => {
      const { deploy: deploys } = world();
      const { deploys: all, revision } = await deploys.list(reading(facade, options));
      const found = new Map<number, string>();
      for (let i = 0; i < all.length; i += readAtOnce) {
        const some = all.slice(i, i + readAtOnce);
        // What was added is never changed, so that these are of one revision, without those that were pruned since.
        const read = some.map(({ id }) => deploys.get(id, { ...options, read: { atLeast: revision } }).catch(unlessUnreadable));
        for (const one of await Promise.all(read)) if (one?.deploy !== undefined) found.set(one.deploy.id, one.deploy.payload);
      }
      return found;
    },
    getMaxDeployId: async (options = {}) => (await world().deploy.maxId(reading(facade, options))).id,
    watchDeploy: (options = {}) => changesOf(facade, (beneath) => beneath.deploy.watch(watching(options))),
  };
}

/** Data that is not UTF-8 harms no other deploy: it is passed over, and counted in the status of the World. */
function unlessUnreadable(error: unknown): undefined {
  if (error instanceof WorldError && error.code === "INVALID_VALUE") return undefined;
  throw error;
}
