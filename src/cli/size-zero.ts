import { hostname } from "node:os";
import { rehearse } from "../chooser/index.ts";
import { onlook } from "../agent/lead/onlooker.ts";
import { writeRecord } from "../agent/control/records.ts";
import { listOf } from "../chooser/words.ts";
import { systemClock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { Cluster } from "./client.ts";
import { lookAtCluster, type ClusterView } from "./cluster.ts";
import type { Io } from "./io.ts";
import type { Format } from "./options.ts";
import { encode, plain } from "./output.ts";

interface ShutDownSettings {
  readonly output: Format;
  readonly yes: boolean;
  readonly wait: boolean;
  readonly timeoutMs: number;
}

const pollMs = 250;
/** As if it had stood for long. */
const longMs = 3_600_000;

/**
 * `quorate size 0`: asks, then writes the size and the yes to it in one txn. What follows is the leader's, and can be taken back for 10 s.
 *
 * @throws QuorateError REFUSED where nobody says yes, or the cluster has voters that Quorate did not add.
 */
export async function shutDown(settings: ShutDownSettings, view: ClusterView, cluster: Cluster, io: Io): Promise<void> {
  const { client, keys, signal } = cluster;
  const last = await whoEndsLast(cluster);
  const former = view.plan?.ideal ?? view.ideal;
  const seats = view.hosts.flatMap((host) => (host.member ? [host.name] : []));
  if (!settings.yes) await confirm(seats, last, io, signal);
  await client.txn(
    {
      then: [
        { put: keys.idealClusterSize, value: "0" },
        { put: keys.closing, value: writeRecord("closing", { schema: 1, by: hostname().slice(0, 253) }) },
      ],
    },
    { signal, repeatable: true },
  );
  const back = former === undefined || former === 0 ? "another size" : `\`quorate size ${former}\``;
  io.err(`note: all agents stop in good order once that has stood for 10 s; ${back} takes it back\n`);
  if (last !== undefined)
    io.err(
      `note: ${plain(last)} will have the data, as things are: start it first; each agent names the host again when it ends\n`,
    );
  const closed = settings.wait ? await untilClosed(cluster, settings.timeoutMs) : undefined;
  const startFirst = closed ?? last ?? null;
  if (settings.output !== "table")
    io.out(encode({ idealClusterSize: 0, startFirst, closed: closed !== undefined }, settings.output));
  else io.out(closed === undefined ? "0 (shutting down)\n" : `0 (shut down; start ${plain(closed)} first)\n`);
}

/** The agent that keeps the data if nothing changes; undefined where the chooser would wait for something first. */
async function whoEndsLast({ client, keys, signal }: Cluster): Promise<string | undefined> {
  const { snapshot, policy } = await onlook({ client, keys, clock: systemClock }, signal);
  const { steps, ends } = rehearse({ ...snapshot, closing: { askedForMs: longMs, closed: undefined } }, policy);
  if (ends && "waiting" in ends && ends.waiting.on === "strangers") {
    throw new QuorateError(
      "REFUSED",
      `Cannot shut the cluster down: ${listOf(ends.waiting.members)} ${ends.waiting.members.length === 1 ? "is a member" : "are members"} that Quorate did not add and never stops`,
      { hint: "stop the agents with ^C, and what is not Quorate's where it was started" },
    );
  }
  return steps.flatMap(({ step }) => (step.kind === "close" ? [step.agent] : []))[0];
}

/** @throws QuorateError REFUSED */
async function confirm(seats: readonly string[], last: string | undefined, io: Io, signal: AbortSignal): Promise<void> {
  if (!io.ask) {
    throw new QuorateError(
      "REFUSED",
      "Cannot set the size to 0 without being asked: that shuts the whole cluster down, and there is no terminal to ask at",
      { hint: "add --yes if that is meant; `quorate plan --size 0` shows what would be done" },
    );
  }
  const lines = [
    `Size 0 shuts the whole cluster down: ${plain(listOf(seats))} and every other agent will stop.`,
    last === undefined
      ? "One of them keeps the data and is to be started first: each agent names it when it ends."
      : `As things are, ${plain(last)} keeps the data: start it first afterwards, and the cluster goes on at its present size.`,
    "Shut it down? Type yes: ",
  ];
  const answer = (await io.ask(lines.join("\n"), signal)).trim().toLowerCase();
  if (answer === "yes" || answer === "y") return;
  throw new QuorateError("REFUSED", "Cannot set the size to 0: the answer was not yes", { hint: "nothing was changed" });
}

/** The host to start first, once that is written; the cluster ends soon after. @throws QuorateError WAIT_TIMEOUT */
async function untilClosed({ client, keys, signal }: Cluster, timeoutMs: number): Promise<string> {
  const endMs = systemClock.nowMs() + timeoutMs;
  let last: ClusterView | undefined;
  let unanswered = 0;
  for (;;) {
    try {
      last = await lookAtCluster(client, keys, signal);
      unanswered = 0;
      if (last.closed !== undefined) return last.closed;
      if (last.ideal !== 0) {
        throw new QuorateError(
          "FAILED",
          `Cannot see the end: the shutdown was taken back, the size is ${last.ideal ?? "another one"}`,
        );
      }
    } catch (error) {
      if (!(error instanceof QuorateError) || !error.retryable) throw error;
      unanswered += 1;
    }
    const only = last?.hosts.filter((host) => host.member) ?? [];
    // The one member that was left is gone between two looks.
    if (unanswered >= 3 && only.length === 1 && only[0]) return only[0].name;
    if (systemClock.nowMs() >= endMs) break;
    await systemClock.sleep(pollMs, signal);
  }
  throw new QuorateError(
    "WAIT_TIMEOUT",
    `Cannot see the cluster shut down after ${Math.round(timeoutMs / 1_000)} s: ${last?.plan?.because ?? "it did not answer"}`,
    {
      hint: "`quorate status` tells what it waits for; the size stays 0",
    },
  );
}
