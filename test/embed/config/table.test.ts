import { execFile } from "node:child_process";
import { describe, expect, test } from "vitest";
import { fields, type FieldPath, type FieldSpec } from "../../../src/embed/config/index.ts";
import { minorOf } from "../../../src/embed/config/flags.ts";
import { gates, minors } from "../../../src/embed/config/table.ts";
import { etcdVersions } from "../../support/etcd.ts";

const specs = Object.entries(fields) as [FieldPath, FieldSpec][];

/** A value that a flag of that kind takes. */
const values: Readonly<Record<FieldSpec["kind"], string>> = {
  string: "x",
  boolean: "true",
  number: "7",
  duration: "5s",
  list: "a,b",
  urls: "http://127.0.0.1:1",
};

/** What some flags take alone. */
const own: Partial<Readonly<Record<FieldPath, string>>> = {
  corsInfo: "http://a.example:80,http://b.example:80",
  clusterState: "existing",
  discoveryFallback: "exit",
  v2Deprecation: "not-yet",
};

const flagOf = (flag: string, path: FieldPath, { kind }: FieldSpec): string =>
  flag.includes("=") ? `--${flag}` : `--${flag}=${own[path] ?? values[kind]}`;

/** What etcd says to flags: it reads them all before it tells its version. */
function said(binary: string, flags: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(binary, ["--version", ...flags], { env: {} }, (_error, stdout, stderr) => {
      resolve(stdout + stderr);
    });
  });
}

describe.each(etcdVersions().map(({ binary, version }) => ({ binary, version, text: version.text })))(
  "the flags of etcd $text",
  ({ binary, version }) => {
    const minor = minorOf(version);

    test("it takes every flag that the table gives it", async () => {
      const flags = specs.flatMap(([path, spec]) => {
        const flag = spec.flags[minor];
        return flag === undefined || flag === gates ? [] : [flagOf(flag, path, spec)];
      });
      expect(flags.length).toBeGreaterThan(70);
      expect(await said(binary, flags)).toMatch(/^etcd Version: /);
    });

    test("it knows no other flag that the table has for a later or an earlier one", async () => {
      const known = new Set(specs.map(([, { flags }]) => flags[minor]));
      const others = specs.flatMap(([path, spec]) =>
        spec.flags[minor] === undefined
          ? minors.flatMap((other) => {
              const flag = spec.flags[other];
              return flag === undefined || known.has(flag) ? [] : [{ path, flag: flagOf(flag, path, spec) }];
            })
          : [],
      );
      for (const { path, flag } of others) expect(await said(binary, [flag]), path).toContain("flag provided but not defined");
    });
  },
);

test("every field has a flag of some etcd, but for what the client's side of TLS does not have; no key of files is two fields'", () => {
  const without = specs.flatMap(([path, { flags }]) => (minors.some((minor) => flags[minor] !== undefined) ? [] : [path]));
  expect(without).toEqual(["clientTLSInfo.allowedCNs", "clientTLSInfo.skipClientSANVerify"]);
  const keys = specs.flatMap(([, { file }]) => (file === undefined ? [] : [file]));
  expect(new Set(keys).size).toBe(keys.length);
});
