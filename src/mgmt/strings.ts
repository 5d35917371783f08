import { WorldError } from "../world/index.ts";
import type { MgmtWorld } from "./api.ts";
import { changesOf, notExist, reading, watching } from "./facade.ts";
import type { Facade } from "./facade.ts";

type Strings = Pick<MgmtWorld, "strGet" | "strSet" | "strDel" | "strWatch" | "strIsNotExist">;

export function stringsOf(facade: Facade): Strings {
  const { world } = facade;
  return {
    strGet: async (name, options = {}) => {
      const { value } = await world().str.get(name, reading(facade, options));
      if (value === undefined) throw notExist(`read the string ${JSON.stringify(name)}`, "there is none");
      return value;
    },
    strSet: async (name, value, options = {}) => {
      await world().str.set(name, value, options);
    },
    strDel: async (name, options = {}) => {
      await world().str.del(name, options);
    },
    strWatch: (name, options = {}) => changesOf(facade, (beneath) => beneath.str.watch(name, watching(options))),
    strIsNotExist: isNotExist,
  };
}

function isNotExist(error: unknown): boolean {
  const seen = new Set<unknown>();
  for (let one = error; one instanceof Error && !seen.has(one); one = one.cause) {
    if (one instanceof WorldError && one.code === "NOT_EXIST") return true;
    seen.add(one);
  }
  return false;
}

type Maps = Pick<MgmtWorld, "strMapGet" | "strMapSet" | "strMapDel" | "strMapWatch">;

export function mapsOf(facade: Facade): Maps {
  const { world } = facade;
  return {
    strMapGet: async (name, options = {}) => (await world().strmap.get(name, reading(facade, options))).value,
    strMapSet: async (name, value, options = {}) => {
      await world().strmap.set(name, value, options);
    },
    strMapDel: async (name, options = {}) => {
      await world().strmap.del(name, options);
    },
    strMapWatch: (name, options = {}) => changesOf(facade, (beneath) => beneath.strmap.watch(name, watching(options))),
  };
}
