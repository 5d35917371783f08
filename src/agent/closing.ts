import type { Logger } from "pino";
import { within, type Clock } from "../clock.ts";
import { listOf } from "../chooser/words.ts";
import { QuorateError, isRetryable, messageOf } from "../errors.ts";
import type { EtcdClient } from "../etcd/index.ts";
import { parseSize } from "../keys.ts";
import type { Prefix } from "./begin/state.ts";
import type { ControlView } from "./control/control-view.ts";
import { isRefused, readRecord, type ClosedRecord } from "./control/records.ts";
import type { Machine } from "./machine.ts";
import type { ResolvedOptions } from "./resolve.ts";
import type { AgentExit } from "./status.ts";

/** The end of an agent whose cluster is closed by size 0. */

interface ClosingDeps {
  readonly client: EtcdClient;
  readonly options: ResolvedOptions;
  readonly view: ControlView;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Before it is asked again whether the cluster is closed, as the leader wrote. */
const againMs = 1_000;
/** How long the agents wait for each other's ends. A killed one is missed after its session. */
const patienceMs = 15_000;
/** An agent that has lost its session for a moment has a new one by then, and is told. */
const lingerMs = 2_000;
/** Who hears nothing for so long, of a cluster that was about to be closed, takes it as closed. */
const silenceMs = 15_000;
const snapshotsKept = 3;

/**
 * Settles when the cluster is closed: it was written after revision `since`, at which this agent connected (who starts after it means
 * to wake the cluster up), and a linearizable look says that the size is 0 and one member is left.
 */
export async function untilClosed(deps: ClosingDeps, since: number, signal: AbortSignal): Promise<ClosedRecord> {
  const { options, view, clock, log } = deps;
  const key = options.keys.closed;
  for (;;) {
    await view.until(() => (view.get(key)?.modRevision ?? 0) > since, signal);
    try {
      const closed = await readClosed(deps, signal);
      if (closed) return closed;
    } catch (error) {
      signal.throwIfAborted();
      if (!isRetryable(error)) throw error;
      log.debug({ reason: messageOf(error) }, "not known whether the cluster is closed");
    }
    await clock.sleep(againMs, signal);
  }
}

/**
 * Settles when an agent without a seat can reach nobody for a while, after it was told that the cluster is being shut down: that was
 * carried out without it. Gives the hosts that had seats last.
 */
export async function untilForsaken(
  { view, clock }: Pick<ClosingDeps, "view" | "clock">,
  isCutOff: () => boolean,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const isClosing = (): boolean => view.plan()?.closing === true;
  for (;;) {
    await view.until(isClosing, signal);
    for (let silentMs = 0; isClosing(); silentMs = isCutOff() ? silentMs + againMs : 0) {
      if (silentMs >= silenceMs) return [...view.seats()].filter(([, seat]) => seat.member !== undefined).map(([host]) => host);
      await clock.sleep(againMs, signal);
    }
  }
}

/** The end of such an agent. */
export async function endForsaken(
  { prefix, log }: Pick<EndDeps, "prefix" | "log">,
  hosts: readonly string[],
): Promise<AgentExit> {
  log.info({ startFirst: hosts }, "the cluster was being shut down and does not answer any more; ending");
  await prefix.save({ startFirst: [...hosts] });
  const first =
    hosts.length === 0 ? "" : `; start ${listOf(hosts)} first: ${hosts.length === 1 ? "it has" : "they have"} the data`;
  return { exitCode: 0, error: undefined, how: "left", notice: `the cluster is shut down${first}` };
}

async function readClosed({ client, options: { keys } }: ClosingDeps, signal: AbortSignal): Promise<ClosedRecord | undefined> {
  const look = [{ range: keys.closed }, { range: keys.idealClusterSize }];
  const { ranges, members } = await client.readMembership({ signal, look });
  const [entry, sizeEntry] = ranges.map((range) => range[0]);
  const closed = entry && readRecord("closed", entry.value);
  const size = sizeEntry && parseSize(sizeEntry.value);
  const asked = size !== undefined && "size" in size && size.size === 0;
  return closed && !isRefused(closed) && asked && members.length === 1 ? closed : undefined;
}

interface EndDeps extends ClosingDeps {
  readonly machine: Machine;
  readonly prefix: Prefix;
  /** No server runs, and none is being started. */
  readonly serverless: () => boolean;
}

/** Ends in good order: who has no seat ends at once, and the last one when the others have, with a snapshot beside its data. */
export async function endClosed(deps: EndDeps, { host, formerSize }: ClosedRecord, signal: AbortSignal): Promise<AgentExit> {
  const { options, prefix, view, log } = deps;
  const last = host === options.hostname;
  log.info({ startFirst: host, formerSize }, "the cluster is closed; ending");
  await prefix.save({ startFirst: [host] });
  const over = { exitCode: 0, error: undefined };
  if (!last) {
    // Its server was let go a moment ago: what is left of it is put aside first.
    await patiently(deps, () => deps.serverless() && prefix.state.seat === undefined, signal);
    return { ...over, how: "left", notice: `the cluster is shut down; start ${host} first: it has the data` };
  }
  await patiently(deps, () => [...view.agents().keys()].every((name) => name === host), signal);
  await deps.clock.sleep(lingerMs, signal);
  if (options.prefix === undefined) {
    return { ...over, how: "stopped", notice: "the cluster is shut down, and its data was in a temporary prefix: it is gone" };
  }
  const snapshot = await keepSnapshot(deps, signal);
  const where = snapshot === undefined ? "" : `, with a snapshot in ${snapshot}`;
  const notice = `the cluster is shut down, and this host keeps its data${where}; start ${host} first: it goes on at size ${formerSize}`;
  return { ...over, how: "stopped", notice };
}

async function patiently({ view, clock, log }: EndDeps, condition: () => boolean, signal: AbortSignal): Promise<void> {
  const late = (): Error => new QuorateError("WAIT_TIMEOUT", "Cannot wait any longer for the others to end");
  try {
    await within(patienceMs, clock, signal, (own) => view.until(condition, own), late);
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ reason: messageOf(error) }, "ending without the others");
  }
}

/** The data folder stays as well: a snapshot that cannot be had is no reason to go on. */
async function keepSnapshot(deps: EndDeps, signal: AbortSignal): Promise<string | undefined> {
  const { client, machine, options, prefix, clock, log } = deps;
  const [endpoint] = options.advertiseClientUrls;
  if (endpoint === undefined) return undefined;
  try {
    const how = { folder: `${prefix.folder}/snapshots`, keep: snapshotsKept, clock };
    return await machine.keepSnapshot(client, endpoint, how, signal);
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ err: error }, "no snapshot was kept; the data folder stays");
    return undefined;
  }
}
