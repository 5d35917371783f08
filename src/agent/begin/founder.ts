import type { Logger } from "pino";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { firstMarker, writeFirstKeys } from "./first-keys.ts";
import type { JoinDeps, Together } from "./join.ts";
import { writeRecord } from "../control/records.ts";
import type { Machine, RunningServer } from "../machine.ts";
import type { ServerSupervisor } from "../server/supervisor.ts";
import { freshState, type Prefix } from "./state.ts";

/** A founder listens this long for others that know its address from another cluster. */
const doubtMs = 3_000;

/**
 * Founds a cluster of one, or together with others that do the same: starts the server, then writes the marker, size and policy, each where
 * it is absent, and the founder's own seat.
 */
export async function found(
  deps: JoinDeps,
  prefix: Prefix,
  supervisor: ServerSupervisor,
  together: Together | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { client, options, log } = deps;
  const { hostname, advertiseServerUrls } = options;
  if (together !== undefined)
    log.info({ members: together.members.map(({ name }) => name) }, "waiting for most of the members of the initial cluster");
  const { clusterId, memberId } = await supervisor.found(together, signal);
  await writeFirstKeys(client, options, firstMarker(clusterId, options), signal);
  await seat(deps, { hostname, instance: prefix.state.instance, member: memberId, serverUrls: advertiseServerUrls }, signal);
  if (together?.instances === undefined) return;
  // Whoever of them does not come is known by its seat, and replaced.
  const { members } = await client.readMembership({ signal, timeoutMs: 5_000 });
  for (const { name, peerUrls } of together.members) {
    const instance = together.instances.get(name);
    const member = members.find((row) => row.peerUrls.some((url) => peerUrls.includes(url)));
    if (name !== hostname && instance !== undefined && member !== undefined)
      await seat(deps, { hostname: name, instance, member: member.id, serverUrls: peerUrls }, signal);
  }
}

interface Seat {
  readonly hostname: string;
  readonly instance: string;
  readonly member: string;
  readonly serverUrls: readonly string[];
}

/** Writes the nomination and the seat of a founder, where neither is there. */
async function seat(
  { client, options: { keys } }: JoinDeps,
  { hostname, instance, member, serverUrls }: Seat,
  signal: AbortSignal,
): Promise<void> {
  const record = { schema: 1, instance, member, role: "voter", standby: false } as const;
  await client.txn(
    {
      // A request that comes late must not take back what a leader has written since.
      compare: [
        { key: keys.nominated.key(hostname), createRevision: 0 },
        { key: keys.seats.key(hostname), createRevision: 0 },
      ],
      then: [
        { put: keys.nominated.key(hostname), value: serverUrls.join(",") },
        { put: keys.seats.key(hostname), value: writeRecord("seat", record) },
      ],
    },
    { signal, repeatable: true },
  );
}

/** Members try several times a second. One connection may be anybody's who looked what is here. */
const strangersOfMember = 3;

/**
 * A cluster that knows this host's address sends it messages with another cluster id; or none, where it does not trust our
 * certificates, and then its members go on trying. In either case there is one to join, not to found.
 *
 * @throws QuorateError WRONG_CLUSTER
 */
export async function assertUnknown(server: RunningServer, clock: Clock, signal: AbortSignal): Promise<void> {
  let stop = (): void => undefined;
  let strangers = 0;
  const known = new Promise<never>((_, reject) => {
    const refuse = (whose: string): void => {
      reject(
        new QuorateError("WRONG_CLUSTER", `Cannot found a cluster: ${whose} know this host by its server URL`, {
          hint: "join that cluster with --seeds, or give this host another server URL",
        }),
      );
    };
    const subscription = server.lines$.subscribe(({ msg }) => {
      if (msg.includes("request cluster ID mismatch")) refuse("members of another cluster");
      // etcd 3.4 does not say at which URL.
      if (!/^rejected connection(?! on client)/.test(msg)) return;
      strangers += 1;
      if (strangers === strangersOfMember) refuse("servers that do not trust its certificates");
    });
    stop = () => {
      subscription.unsubscribe();
    };
  });
  try {
    await Promise.race([known, clock.sleep(doubtMs, signal)]);
  } finally {
    stop();
  }
}

/** `--new-cluster`: what the prefix held belongs to the past; data is kept aside. */
export async function startAnew(machine: Machine, prefix: Prefix, clock: Clock, log: Logger): Promise<void> {
  const archive = await machine.archiveDataDir(prefix.dataDir, { keep: 3, clock });
  if (archive !== undefined) log.warn({ archive }, "the data of the former cluster is kept aside");
  else await machine.removeDataDir(prefix.dataDir);
  const { identity, instance } = freshState(prefix.state.hostname, machine.randomUUID);
  await prefix.save({ identity, instance, clusterId: undefined, seat: undefined, endpoints: [] });
}
