export { Config, newConfig } from "./config.ts";
export * from "./constants.ts";
export { ConfigError } from "./error.ts";
export type { ConfigErrorName } from "./error.ts";
export { configFromFile } from "./file.ts";
export { flagsOf } from "./flags.ts";
export { fields } from "./table.ts";
export type { FieldPath, FieldSpec, Minor } from "./table.ts";
export type { TLSInfo } from "./tls-info.ts";
