import { spawn } from "node:child_process";
import { constants } from "node:os";
import { findEtcd } from "../embed/store.mjs";
import { QuorateError } from "../errors.ts";
import type { Io } from "./io.ts";
import { clientFlags, defaultEndpoints, valueOf, type Env } from "./options.ts";
import { sshGiven } from "./options-ssh.ts";
import { tlsFlags } from "./options-tls.ts";

/**
 * `quorate etcdctl ARGS`: the etcdctl beside the etcd that an agent would run, API 3, with Quorate's endpoints, which are those behind
 * QUORATE_SSH_URL where that is set. Every argument is passed on as it is, and so is the exit code.
 */
export async function etcdctl(args: readonly string[], io: Io): Promise<number> {
  const etcd = await findEtcd({ env: { ...io.env }, allowDownload: false });
  if (etcd.etcdctl === undefined) {
    throw new QuorateError("NO_ETCD", `Cannot run etcdctl: there is none beside ${etcd.binary}`, {
      hint: "quorate etcd install",
    });
  }
  const environment = etcdctlEnvironment(args, io.env);
  const ssh = sshGiven({}, io.env);
  if (ssh !== undefined && environment["ETCDCTL_ENDPOINTS"] === undefined) {
    throw new QuorateError("INVALID_OPTION", "Cannot run etcdctl: its own --endpoints would go past QUORATE_SSH_URL", {
      hint: "name them in QUORATE_ENDPOINTS, or unset QUORATE_SSH_URL",
    });
  }
  const far = (environment["ETCDCTL_ENDPOINTS"] ?? "").split(",").map((url) => (url.includes("://") ? url : `http://${url}`));
  const forwards = ssh && (await (await import("./etcdctl-ssh.ts")).forwardsTo(far, ssh));
  const child = spawn(etcd.etcdctl, args, {
    stdio: "inherit",
    env: { ...environment, ...(forwards === undefined ? {} : { ETCDCTL_ENDPOINTS: forwards.endpoints.join(",") }) },
  });
  // The terminal sends ^C to both; what ends is decided by etcdctl.
  const ignore = (): void => undefined;
  process.on("SIGINT", ignore);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once("error", (cause) => {
        reject(new QuorateError("NO_ETCD", `Cannot run ${etcd.etcdctl ?? "etcdctl"}`, { cause }));
      });
      child.once("close", (code, signal) => {
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  } finally {
    process.off("SIGINT", ignore);
    await forwards?.close();
  }
}

/**
 * etcdctl refuses a variable beside its flag, so the endpoints are left out where the arguments name some. The user's own
 * ETCDCTL_ENDPOINTS stands unless QUORATE_ENDPOINTS is set.
 */
export function etcdctlEnvironment(args: readonly string[], env: Env): Record<string, string | undefined> {
  const named = args.some(
    (arg) =>
      arg === "--endpoints" || arg.startsWith("--endpoints=") || arg === "--discovery-srv" || arg.startsWith("--discovery-srv="),
  );
  const own = valueOf(clientFlags.endpoints, {}, env)?.join(",");
  const endpoints = named ? undefined : (own ?? env["ETCDCTL_ENDPOINTS"] ?? defaultEndpoints.join(","));
  const rest = Object.fromEntries(Object.entries(env).filter(([name]) => name !== "ETCDCTL_ENDPOINTS"));
  return {
    ...rest,
    ...filesFor(args, env),
    ETCDCTL_API: "3",
    ...(endpoints === undefined ? {} : { ETCDCTL_ENDPOINTS: endpoints }),
  };
}

/** The files for TLS that are set for Quorate, where the arguments name none. */
function filesFor(args: readonly string[], env: Env): Record<string, string> {
  return Object.fromEntries(
    Object.values(tlsFlags).flatMap((flag) => {
      const isNamed = args.some((arg) => arg === `--${flag.name}` || arg.startsWith(`--${flag.name}=`));
      const path = isNamed ? undefined : valueOf(flag, {}, env);
      return path === undefined ? [] : [[`ETCDCTL_${flag.name.toUpperCase()}`, path]];
    }),
  );
}
