export { openEngine } from "./engine.ts";
export type { EngineParts } from "./engine.ts";
export { addressOf, emptyFolder as emptyRoot } from "./node.ts";
export { etcdStore } from "./store-etcd.ts";
export { memoryStore } from "./store-memory.ts";
export type { Store } from "./store.ts";
export { chunkBytes, emptyContent } from "./types.ts";
export type * from "./types.ts";
export { versionOf } from "./version.ts";
