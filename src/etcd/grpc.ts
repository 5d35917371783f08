import { createRequire } from "node:module";
import type * as Grpc from "@grpc/grpc-js";
import type * as Rpc from "etcd3/lib/rpc.js";

// etcd3 as a whole also loads its Watcher, Lease, Lock and builders, which are never used here, and reads its .proto files with a
// library that takes longer to load than all else. What it is made of comes from its own folder, so that there is one copy of each.
const fromEtcd3 = createRequire(createRequire(import.meta.url).resolve("etcd3"));

export const grpc = fromEtcd3("@grpc/grpc-js") as typeof Grpc;
/** etcd3's generated classes. */
export const rpc = fromEtcd3("./rpc.js") as typeof Rpc;
