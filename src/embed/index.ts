/**
 * `quorate/embed`: one etcd server as a child process of this one, and what is worth knowing before it starts. It decides
 * nothing: not whether to run, not with whom, not what to do when it ends.
 *
 * @module
 */
export * from "./config/index.ts";
export { startEtcd } from "./etcd.ts";
export type { Etcd, StartEtcdOptions } from "./etcd.ts";
export { EtcdServer } from "./server.ts";
export type { Boot, EtcdServerOptions, InitialMember, ServerTls } from "./options.ts";
export { serverDefaults } from "./options.ts";
export type { ServerExit } from "./process.ts";
export type { EtcdLogLine, LogLevel } from "./log.ts";
export { assertPortsFree, portHolder } from "./ports.ts";
export type { PortHolder } from "./ports.ts";
export { inspectDataDir } from "./data-dir.ts";
export type { DataDirState } from "./data-dir.ts";
export { archiveDataDir } from "./archive.ts";
export type { ArchiveOptions } from "./archive.ts";
export { etcdVersion } from "./version.ts";
export type { BinaryVersion } from "./version.ts";
