import { collect } from "./collect.ts";
import { Objects } from "./objects.ts";
import { Pins } from "./pins.ts";
import { repositoryOf } from "./repository.ts";
import type { Store } from "./store.ts";
import type { Draft, Engine, Limits } from "./types.ts";

const defaults: Limits = { fileBytes: 64 * 1024 * 1024, treeBytes: 256 * 1024 * 1024 };

export interface EngineParts {
  /** Ends with the engine. */
  readonly store: Store;
  /** The host that commits are by. */
  readonly by: string;
  readonly randomBytes: (size: number) => Buffer;
}

export function openEngine({ store, by, randomBytes }: EngineParts): Engine {
  const objects = new Objects(store);
  const pins = new Pins(store);
  const drafts = new Set<Draft>();
  const close = async (): Promise<void> => {
    await Promise.all([...drafts].map((draft) => draft.close()));
    await pins.close();
    await store.close();
  };
  return {
    repository: (name, limits = {}) =>
      repositoryOf(
        {
          store,
          objects,
          pins,
          by,
          newId: () => randomBytes(12).toString("hex"),
          onDraft: (draft) => drafts.add(draft),
          onDraftOver: (draft) => drafts.delete(draft),
        },
        name,
        { ...defaults, ...limits },
      ),
    names: async (signal) => {
      const { heads } = store.keys.fs;
      const { records } = await store.scan(heads, { keysOnly: true, signal });
      return records.flatMap(({ key }) => heads.nameIn(key) ?? []);
    },
    collect: (options = {}) => collect(store, objects, options),
    close,
    [Symbol.asyncDispose]: close,
  };
}
