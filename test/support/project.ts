import { spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a script of the project came to. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A small project with our scripts, our packages and sources of its own: for tests of the scripts themselves. */
export interface Project extends Disposable {
  readonly folder: string;
  write(files: Readonly<Record<string, string>>): void;
  /** Runs one of its files with node. `onOutput` gets the pid, and what stdout said so far; `onError` what stderr said. */
  run(
    args: readonly string[],
    onOutput?: (pid: number, stdout: string) => void,
    onError?: (stderr: string) => void,
  ): Promise<Ran>;
}

/** `more` is added to the environment of what it runs. Its own folder for temporary files is `tmp` in its folder, its store of etcds `cache`. */
export function project(files: Readonly<Record<string, string>>, more: Readonly<Record<string, string>> = {}): Project {
  const folder = mkdtempSync(join(tmpdir(), "quorate-project-"));
  for (const name of [
    "scripts",
    "bin",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "tsconfig.build.json",
    "vitest.config.ts",
  ]) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  for (const name of readdirSync(join(root, "src/embed")).filter((file) => /^store.*\.mjs$/.test(file))) {
    cpSync(join(root, "src/embed", name), join(folder, "src/embed", name));
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const write = (more: Readonly<Record<string, string>>): void => {
    for (const [file, text] of Object.entries(more)) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), text);
    }
  };
  write({ ...files, etcd: '#!/bin/sh\necho "etcd Version: 3.5.99"\n' });
  chmodSync(join(folder, "etcd"), 0o755);
  mkdirSync(join(folder, "tmp"));
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    QUORATE_ETCD_BIN: join(folder, "etcd"),
    QUORATE_TEST_SSHD: "none",
    QUORATE_TEST_DNSMASQ: "none",
    TMPDIR: join(folder, "tmp"),
    XDG_CACHE_HOME: join(folder, "cache"),
    NO_COLOR: "1",
    CI: "1",
    ...more,
  };
  delete env["FORCE_COLOR"];
  return {
    folder,
    write,
    run: (args, onOutput, onError) =>
      new Promise((resolve, reject) => {
        const child = spawn(process.execPath, [...args], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
        let stdout = "";
        let stderr = "";
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          stdout += text;
          onOutput?.(Number(child.pid), stdout);
        });
        child.stderr.setEncoding("utf8").on("data", (text: string) => {
          stderr += text;
          onError?.(stderr);
        });
        child.once("error", reject);
        child.once("close", (code) => resolve({ code, stdout, stderr }));
      }),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
