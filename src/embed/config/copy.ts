import { resolve } from "node:path";
import { Config } from "./config.ts";
import { fields, type FieldPath } from "./table.ts";
import { setValue, valueOf } from "./values.ts";

/** One that can be changed without the other. */
export function copyOf(config: Config): Config {
  const { clientTLSInfo, peerTLSInfo } = config;
  const copy = Object.assign(new Config(), config, { clientTLSInfo: { ...clientTLSInfo }, peerTLSInfo: { ...peerTLSInfo } });
  for (const path of Object.keys(fields) as FieldPath[]) {
    const value = valueOf(config, path);
    if (typeof value === "object") setValue(copy, path, [...value]);
  }
  return copy;
}

const files: readonly FieldPath[] = [
  "walDir",
  ...(["clientTLSInfo", "peerTLSInfo"] as const).flatMap((side) =>
    (["certFile", "keyFile", "clientCertFile", "clientKeyFile", "trustedCAFile", "crlFile"] as const).map(
      (file) => `${side}.${file}` as const,
    ),
  ),
];

/** Makes every path in it absolute. */
export function resolveFiles(config: Config): void {
  for (const path of files) {
    const file = valueOf(config, path);
    if (typeof file === "string" && file !== "") setValue(config, path, resolve(file));
  }
  const isName = (output: string): boolean => ["default", "stdout", "stderr", "systemd/journal"].includes(output);
  config.logOutputs = config.logOutputs?.map((output) => (isName(output) ? output : resolve(output)));
  config.authToken = config.authToken.replace(
    /\b(pub-key|priv-key)=([^,]+)/g,
    (_, key: string, file: string) => `${key}=${resolve(file)}`,
  );
}
