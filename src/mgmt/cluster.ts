import { WorldError } from "../world/index.ts";
import type { MgmtWorld } from "./api.ts";
import { allMembers } from "./changes.ts";
import { MemberChangePollingInterval } from "./constants.ts";
import { changesOf, notExist, watching } from "./facade.ts";
import type { Facade } from "./facade.ts";

type Cluster = Pick<MgmtWorld, "watchMembers" | "idealClusterSizeGet" | "idealClusterSizeSet" | "idealClusterSizeWatch">;

export function clusterOf(facade: Facade): Cluster {
  const { world, use } = facade;
  return {
    watchMembers: (options = {}) => {
      const { everyMs = MemberChangePollingInterval } = options;
      return use.told((beneath) => beneath.members.watch({ ...watching(options), everyMs }), allMembers);
    },
    idealClusterSizeGet: async (options = {}) => {
      const { value, refused } = await world().idealClusterSize.get(options);
      const what = "read the ideal cluster size";
      if (refused !== undefined) throw new WorldError("INVALID_VALUE", `Cannot ${what}: ${refused}`);
      if (value === undefined) throw notExist(what, "nobody has said what it is");
      return value;
    },
    idealClusterSizeSet: async (size, options = {}) => (await world().idealClusterSize.set(size, options)).changed,
    idealClusterSizeWatch: (options = {}) => changesOf(facade, (beneath) => beneath.idealClusterSize.watch(watching(options))),
  };
}
