import { resolve } from "node:path";
import type { Config } from "./config.ts";
import type { FieldPath, FieldSpec, TLSSide } from "./table.ts";
import type { TLSInfo } from "./tls-info.ts";

export type Value = string | number | boolean | readonly string[] | undefined;

function split(path: FieldPath): { readonly side: TLSSide; readonly name: keyof TLSInfo } | undefined {
  const [side, name] = path.split(".");
  return name === undefined ? undefined : { side: side as TLSSide, name: name as keyof TLSInfo };
}

export function valueOf(config: Config, path: FieldPath): Value {
  const inTLS = split(path);
  return inTLS === undefined ? config[path as Exclude<FieldPath, `${TLSSide}.${string}`>] : config[inTLS.side][inTLS.name];
}

/** The value has the kind of the field. */
export function setValue(config: Config, path: FieldPath, value: Value): void {
  const inTLS = split(path);
  Object.assign(inTLS === undefined ? config : config[inTLS.side], { [inTLS?.name ?? path]: value });
}

export function isEqualValue(a: Value, b: Value): boolean {
  return typeof a === "object" && typeof b === "object" ? a.length === b.length && a.every((one, i) => one === b[i]) : a === b;
}

/** What is wrong with a value of that kind; undefined: nothing. */
export function whyNot(kind: FieldSpec["kind"], value: Value, isDuration: (text: string) => boolean): string | undefined {
  if (value === undefined) return undefined;
  if (kind === "boolean") return typeof value === "boolean" ? undefined : "it must be true or false";
  if (kind === "number") return Number.isInteger(value) && Number(value) >= 0 ? undefined : "it must be a whole number from 0";
  if (kind === "list" || kind === "urls")
    return Array.isArray(value) && value.every((one) => typeof one === "string") ? undefined : "it must be a list of texts";
  if (typeof value !== "string") return "it must be a text";
  return kind === "string" || isDuration(value) ? undefined : `it must be a duration, as "5m" or "1h30m"`;
}

/** Absolute. */
export function dataDirOf({ dir, name }: Pick<Config, "dir" | "name">): string {
  return resolve(dir === "" ? `${name}.etcd` : dir);
}
