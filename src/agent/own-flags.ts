import type { Logger } from "pino";
import { dynamicSize } from "../chooser/index.ts";
import { aborted, type Clock } from "../clock.ts";
import { isRetryable } from "../errors.ts";
import type { EtcdClient } from "../etcd/index.ts";
import { parseSize } from "../keys.ts";
import type { ControlView } from "./control/control-view.ts";
import { policyChanges, policyFields, showPolicyValue } from "./control/policy.ts";
import type { ResolvedOptions } from "./resolve.ts";

/** What only a founder decides may have been said by others, too: it is ignored, and they are told. */

/** Warns of the founder's flags that say something else than the cluster's policy: once, and again whenever others differ. */
export async function tellIgnoredPolicy(
  { options, view, log }: { readonly options: ResolvedOptions; readonly view: ControlView; readonly log: Logger },
  signal: AbortSignal,
): Promise<never> {
  const own = options.chooser.name;
  const given = { ...options.given.policy, ...(own === dynamicSize.name ? {} : { chooser: own }) };
  if (Object.keys(given).length === 0) return aborted(signal);
  let told = "";
  const { keys } = options;
  const ofPolicy = (key: string): boolean => key === keys.policy || key === keys.lastPolicy;
  const differing = (): readonly string[] => {
    const policy = view.policy();
    return policyChanges(policy ?? options.policy, given).map(
      ({ field, from, to }) =>
        `${field === "chooser" ? "chooser " : `--${policyFields[field].flag}=`}${showPolicyValue(field, to)} (cluster: ${showPolicyValue(field, from)})`,
    );
  };
  for (;;) {
    await view.until(() => differing().join() !== told, signal, ofPolicy);
    const flags = differing();
    told = flags.join();
    if (flags.length > 0)
      log.warn({ flags, hint: "quorate policy set" }, "the cluster's policy rules, not the flags that differ");
  }
}

const patience = { callMs: 5_000, pauseMs: 1_000 };

/** Says once that a size was given to an agent that founds nothing, where the cluster's is another one. */
export async function tellIgnoredSize(
  {
    client,
    options,
    clock,
    log,
  }: { readonly client: EtcdClient; readonly options: ResolvedOptions; readonly clock: Clock; readonly log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const given = options.given.idealClusterSize;
  if (given === undefined) return;
  for (;;) {
    try {
      const { entry } = await client.get(options.keys.idealClusterSize, { signal, timeoutMs: patience.callMs });
      const size = entry === undefined ? undefined : parseSize(entry.value);
      if (size === undefined || !("size" in size) || size.size === given) return;
      const facts = { flag: `--ideal-cluster-size=${given}`, size: size.size, hint: "quorate size N" };
      log.warn(facts, "the cluster has a size already; this flag is the founder's and is ignored");
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isRetryable(error)) throw error;
      await clock.sleep(patience.pauseMs, signal);
    }
  }
}
