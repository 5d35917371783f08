import type { BinaryVersion } from "../version.ts";
import { Config } from "./config.ts";
import { ConfigError } from "./error.ts";
import { fields, gates, minors, type FieldPath, type Minor } from "./table.ts";
import { isEqualValue, valueOf, type Value } from "./values.ts";

const oldestMinor = 4;

/**
 * Which flags an etcd of that version takes.
 *
 * @throws ConfigError UnsupportedByEtcd for an etcd before 3.4
 */
export function minorOf({ major, minor, text }: Pick<BinaryVersion, "major" | "minor" | "text">): Minor {
  if (major < 3 || (major === 3 && minor < oldestMinor))
    throw new ConfigError("UnsupportedByEtcd", `Cannot use etcd ${text}: it is older than 3.${oldestMinor}`);
  return (major > 3 ? undefined : minors[minor - oldestMinor]) ?? minors[minors.length - 1]!;
}

/**
 * The command line of a configuration. A field that is left at its default is no flag, so that etcd's own default holds.
 *
 * @throws ConfigError UnsupportedByEtcd for a field that is set and that this etcd does not have
 */
export function flagsOf(config: Config, version: Pick<BinaryVersion, "major" | "minor" | "text">): string[] {
  const minor = minorOf(version);
  const defaults = new Config();
  const flags: string[] = [];
  const open: string[] = [];
  for (const [path, spec] of Object.entries(fields) as [FieldPath, (typeof fields)[FieldPath]][]) {
    const value = valueOf(config, path);
    if (value === undefined || (isEqualValue(value, valueOf(defaults, path)) && !isNeeded(path, config, defaults))) continue;
    const flag = spec.flags[minor];
    if (flag === undefined) throw unsupported(path, version.text);
    if (flag === gates) open.push(`${spec.gate ?? path}=${textOf(value)}`);
    else if (!flag.includes("=")) flags.push(`--${flag}=${textOf(value)}`);
    else if (value === true) flags.push(`--${flag}`);
  }
  if (open.length > 0) flags.push(`--${gates}=${open.join(",")}`);
  return flags;
}

/** Where clients are listened for elsewhere, etcd's program wants to be told what is advertised, even what it would be by default. */
function isNeeded(path: FieldPath, config: Config, defaults: Config): boolean {
  return path === "acUrls" && !isEqualValue(config.lcUrls, defaults.lcUrls);
}

function textOf(value: Exclude<Value, undefined>): string {
  return typeof value === "object" ? value.join(",") : String(value);
}

function unsupported(path: FieldPath, version: string): ConfigError {
  const has = minors.filter((minor) => fields[path].flags[minor] !== undefined);
  const where =
    has.length === 0
      ? "no etcd has it"
      : has[has.length - 1] === "3.7"
        ? `etcd ${has[0]} and later have it`
        : `etcd ${has.join(" and ")} have it`;
  return new ConfigError("UnsupportedByEtcd", `Cannot set ${path} with etcd ${version}: ${where}`, {
    field: path,
    hint: "leave the field at its default, or run another etcd",
  });
}
