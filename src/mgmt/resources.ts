import type { ResourceFilter, ResourceKey } from "../world/index.ts";
import type { MgmtWorld, ResDelete, ResFilter } from "./api.ts";
import { changesOf, reading, watching } from "./facade.ts";
import type { Facade } from "./facade.ts";

type Resources = Pick<MgmtWorld, "resCollect" | "resExport" | "resDelete" | "resWatch">;

export function resourcesOf(facade: Facade): Resources {
  const { world } = facade;
  return {
    resCollect: async (filters, options = {}) => {
      const { items } = await world().resource.collect(filters.map(filterOf), reading(facade, options));
      return items.map(({ kind, name, host, value }) => ({ kind, name, host, data: value }));
    },
    resExport: async (list, options = {}) => {
      const exported = list.map((item) => ({ ...keyOf(item), value: item.data }));
      return !(await world().resource.export(exported, options)).changed;
    },
    resDelete: async (list, options = {}) => !(await world().resource.delete(list.map(keyOf), options)).changed,
    resWatch: (kind = "", options = {}) =>
      changesOf(facade, (beneath) => beneath.resource.watch(filterOf({ kind }), watching(options))),
  };
}

function filterOf({ kind = "", name = "", host = "" }: ResFilter): ResourceFilter {
  return { ...(kind === "" ? {} : { kind }), ...(name === "" ? {} : { name }), ...(host === "" ? {} : { host }) };
}

function keyOf({ kind, name, host = "" }: ResDelete): ResourceKey {
  return host === "" || host === "*" ? { kind, name } : { kind, name, to: host };
}
