import { WorldError } from "../world/index.ts";
import type { ConnectOptions, MgmtWorld } from "./api.ts";
import { MetadataPrefix, StoragePrefix } from "./constants.ts";
import type { Facade } from "./facade.ts";

type FileSystems = Pick<MgmtWorld, "fs" | "uri">;

export type FsOptions = {
  readonly [Option in "metadataPrefix" | "storagePrefix" | "standaloneFs" | "getUri"]: ConnectOptions[Option] | undefined;
};

/** What `memmapfs:///` is where nobody says. */
const standaloneUri = "memory://standalone";

export function fileSystemsOf(
  { world }: Facade,
  { metadataPrefix = MetadataPrefix, standaloneFs, getUri }: FsOptions,
): FileSystems {
  const uriNow = (): string => (getUri === undefined ? world().uri : getUri());
  return {
    uri: () => {
      world();
      return uriNow();
    },
    fs: (uri = uriNow()) => {
      const beneath = world();
      if (/^memmapfs:\/\/\/?$/.test(uri)) return standaloneFs ?? beneath.fs(standaloneUri);
      const path = /^etcdfs:\/\/(.*)$/s.exec(uri)?.[1];
      if (path !== undefined && !isBelow(path, metadataPrefix)) {
        const message = `Cannot use ${JSON.stringify(uri)} as the URI of a file system: its path is not below ${metadataPrefix}`;
        throw new WorldError("INVALID_OPTION", message, { data: { option: "uri" } });
      }
      return beneath.fs(uri);
    },
  };
}

/** Before anything is opened. @throws WorldError INVALID_OPTION */
export function checkPrefixes({ metadataPrefix = MetadataPrefix, storagePrefix = StoragePrefix }: FsOptions): void {
  const isPath = (text: string): boolean => /^(\/[^/]+)+$/.test(text);
  if (!isPath(metadataPrefix) || !(metadataPrefix === MetadataPrefix || isBelow(metadataPrefix, MetadataPrefix)))
    throw refused("metadataPrefix", metadataPrefix, `it is neither ${MetadataPrefix} nor below it, where file systems are named`);
  if (!isPath(storagePrefix) || storagePrefix === MetadataPrefix || isBelow(storagePrefix, MetadataPrefix))
    throw refused("storagePrefix", storagePrefix, `it is no path beside ${MetadataPrefix}, like ${StoragePrefix}`);
}

function isBelow(path: string, prefix: string): boolean {
  return path.startsWith(`${prefix}/`);
}

function refused(option: string, value: string, why: string): WorldError {
  return new WorldError("INVALID_OPTION", `Cannot connect with the ${option} ${JSON.stringify(value)}: ${why}`, {
    data: { option },
  });
}
