import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findEtcd, installEtcd, listEtcds, storeFolder } from "../../src/embed/store.mjs";

test(
  "an etcd 3.5 is fetched from the distribution's archive, without touching the system's apt",
  { timeout: 300_000 },
  async (ctx) => {
    const root = mkdtempSync(join(tmpdir(), "quorate-network-"));
    // PATH without any etcd of this machine; all the tools apt calls are in these.
    const env = {
      ...process.env,
      PATH: "/usr/bin:/bin:/usr/sbin:/sbin",
      XDG_CACHE_HOME: join(root, "cache"),
      QUORATE_ETCD_BIN: "",
    };
    const lists = (): unknown => {
      const folder = statSync("/var/lib/apt/lists", { throwIfNoEntry: false });
      return [folder?.mtimeMs, folder && readdirSync("/var/lib/apt/lists")];
    };
    const before = lists();
    try {
      const stored = await installEtcd({ env }).catch((error: unknown) => {
        const { message } = error as Error;
        if (/cannot be reached|this is no Debian|name no mirror/.test(message)) ctx.skip(message);
        throw error;
      });
      expect(stored.version.minor).toBeGreaterThanOrEqual(5);
      expect(execFileSync(stored.binary, ["--version"], { encoding: "utf8" })).toContain(
        `etcd Version: ${stored.version.text}\n`,
      );
      expect(execFileSync(String(stored.etcdctl), ["version"], { encoding: "utf8" })).toContain(stored.version.text);
      expect(readdirSync(storeFolder(env))).toHaveLength(1);
      expect(lists()).toEqual(before);

      // The second time it is simply there.
      const logged: string[] = [];
      expect(await findEtcd({ env, log: (line) => logged.push(line) })).toMatchObject({ binary: stored.binary, from: "store" });
      expect(logged).toEqual([]);
      expect(listEtcds(env)).toEqual([stored]);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  },
);
