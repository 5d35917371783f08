// Uses everything a World has, closes it, and has to end by itself. Says when it has closed it.
import { openWorld } from "../../../src/world/index.ts";
import type { Watch, World } from "../../../src/world/index.ts";

interface Options {
  readonly seeds: readonly string[];
  readonly folder?: string;
  readonly namespace: string;
  readonly replica: boolean;
  readonly how: "close" | "using";
}

const { how, ...options } = JSON.parse(process.argv[2]!) as Options;

async function useAll(world: World): Promise<void> {
  await world.ready();
  await world.str.set("a", "1", { lease: "session" });
  await world.strmap.set("m", "1", { lease: { ttl: 60 } });
  await world.resource.export([{ kind: "k", name: "n", value: "v" }], { mode: "replace" });
  await world.resource.collect();
  await world.deploy.add({ payload: "p" });
  await world.idealClusterSize.set(3);
  await world.members.get();
  await world.batch((b) => b.str.set("b", "2"), { atomic: true });
  const seen: unknown[] = [];
  const use = <E>(watch: Watch<E>): void => {
    watch.subscribe({ error: () => undefined });
    void (async () => {
      for await (const event of watch) seen.push(event);
    })().catch(() => undefined);
  };
  use(world.str.watch("a"));
  use(world.strmap.watch("m"));
  use(world.resource.watch());
  use(world.deploy.watch());
  world.members.watch().subscribe({ error: () => undefined });
  world.idealClusterSize.watch({ settle: { minMs: 60_000 } }).subscribe({ error: () => undefined });
  world.status$.subscribe();
  await world.session({ ttl: 60 });
  await world.lock("l", { ttl: 60 });
  await world.elect("e", { ttl: 60 });
  const scheduling = await world.scheduler("s", { strategy: "all" });
  await scheduling.whenScheduled();
  use(scheduling.watch());
  scheduling.next().catch(() => undefined);
  await world.scheduler("t");
  // These wait, and are never served.
  world.lock("l").catch(() => undefined);
  world.elect("e").catch(() => undefined);
  world.leaderOnly("e", async () => undefined).catch(() => undefined);
  world.str.get("a", { read: "linearizable", timeoutMs: 60_000 }).catch(() => undefined);
}

if (how === "close") {
  const world = await openWorld(options);
  await useAll(world);
  await world.close();
} else {
  await using world = await openWorld(options);
  await useAll(world);
}
process.stdout.write("closed\n");
