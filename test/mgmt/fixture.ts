import { onTestFinished } from "vitest";
import { connect } from "../../src/mgmt/index.ts";
import type { ConnectOptions, MgmtWorld } from "../../src/mgmt/index.ts";
import { eventually, freshNamespace } from "../world/fixture.ts";
import type { WorldEtcd } from "../world/fixture.ts";

/** mgmt's World of a host h1, without a replica, in a namespace of its own, that is cleaned up when the test is over. */
export async function mgmtOf(etcd: Pick<WorldEtcd, "proxy">, options: ConnectOptions = {}): Promise<MgmtWorld> {
  const seeds = [etcd.proxy.url];
  const mgmt = await connect({ seeds, hostname: "h1", namespace: freshNamespace(), replica: false, ...options });
  onTestFinished(async () => {
    etcd.proxy.heal();
    await mgmt.cleanup();
  });
  return mgmt;
}

/** What one loop over a watch has taken, until the test is over. */
export interface Taken<T> {
  readonly all: readonly T[];
  readonly isOver: boolean;
  readonly failure: unknown;
  /** Waits until so many were taken. */
  count(n: number): Promise<void>;
}

export function taken<T>(watch: AsyncIterable<T>): Taken<T> {
  const all: T[] = [];
  let isOver = false;
  let failure: unknown;
  const iterator = watch[Symbol.asyncIterator]();
  const loop = async (): Promise<void> => {
    for (;;) {
      const next = await iterator.next();
      if (next.done === true) return;
      all.push(next.value);
    }
  };
  const over = loop()
    .catch((error: unknown) => {
      failure = error;
    })
    .finally(() => {
      isOver = true;
    });
  onTestFinished(async () => {
    await iterator.return?.();
    await over;
  });
  return {
    all,
    get isOver() {
      return isOver;
    },
    get failure() {
      return failure;
    },
    count: async (n) => {
      await eventually(`${n} events`, () => all.length >= n, 30_000);
    },
  };
}
