import { createHash } from "node:crypto";
import type { ISnapshotResponse } from "etcd3";
import { QuorateError } from "../errors.ts";
import type { EtcdClient } from "./client.ts";
import { openStream, type EndpointStream } from "./streams.ts";

/** A server that sends nothing for so long sends nothing any more. */
const silentMs = 10_000;
const dialMs = 2_000;
/** etcd ends a snapshot with the SHA-256 sum of all that came before. */
const sumBytes = 32;

/**
 * Receives etcd's maintenance snapshot from one listed endpoint, as `etcdctl snapshot save` writes it: the database, and its sum in
 * the last 32 bytes. `take` gets every piece in order and must not keep it. Settles when all of it has come and the sum is right.
 *
 * @throws QuorateError UNREACHABLE (the stream broke off, or the sum is wrong), DEADLINE (nothing came for 10 s); what `take` throws
 */
export async function receiveSnapshot(
  client: EtcdClient,
  endpoint: string,
  take: (piece: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  const { caller, clock } = client;
  const sum = createHash("sha256");
  const what = `receive a snapshot of ${endpoint}`;
  const broken = (why: string): QuorateError =>
    new QuorateError("UNREACHABLE", `Cannot ${what}: ${why}`, { retryable: true, data: { endpoint, outcome: "none" } });
  const over = new AbortController();
  const own = AbortSignal.any([signal, over.signal]);
  let pieces = 0;
  let complete = false;
  let stream: EndpointStream<never> | undefined;
  const received = new Promise<void>((resolve, reject) => {
    const onData = ({ blob, remaining_bytes: remaining }: Pick<ISnapshotResponse, "blob" | "remaining_bytes">): void => {
      pieces += 1;
      try {
        if (!complete) {
          sum.update(blob);
          complete = remaining === "0";
          take(blob);
          return;
        }
        if (blob.length !== sumBytes || !sum.digest().equals(blob)) throw broken("it is not what the server sent");
        take(blob);
        resolve();
      } catch (error) {
        reject(error);
      }
    };
    const opened = openStream<never, ISnapshotResponse>(
      caller,
      endpoint,
      { service: "Maintenance", method: "snapshot", what },
      { onData, onEnd: reject },
      { signal: own, timeoutMs: dialMs },
    );
    opened.then((open) => {
      stream = open;
    }, reject);
    const watchSilence = async (): Promise<void> => {
      for (let seen = -1; seen !== pieces;) {
        seen = pieces;
        await clock.sleep(silentMs, own);
      }
      reject(stream?.stalled() ?? broken("it does not begin"));
    };
    watchSilence().catch(() => {
      // Settled before; or the caller gave up.
      if (signal.aborted) reject(signal.reason as Error);
    });
  });
  try {
    await received;
  } finally {
    over.abort(new DOMException("The snapshot is over", "AbortError"));
    stream?.close();
  }
}
