/** What the World's own API is worth, for bench/world.ts: through the public World only, as a program opens it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Etcd3 } from "etcd3";
import type { Observable } from "rxjs";
import { systemClock as clock } from "../../src/clock.ts";
import type * as Worlds from "../../src/world/index.ts";
import type { Exported, World } from "../../src/world/index.ts";

const built = new URL("../../dist/world/index.js", import.meta.url).href;
const { openWorld } = (await import(built)) as typeof Worlds;

export interface Bench {
  readonly url: string;
  readonly theirs: Etcd3;
  /** Of a replica; removed at the end. */
  newFolder(): Promise<string>;
  tell(what: string, text: string, good: boolean | undefined, limit: string): void;
}

const long = { timeoutMs: 120_000 };
const ms = (n: number): string => `${n < 10 ? n.toFixed(1) : Math.round(n)} ms`;

async function timed(task: () => Promise<unknown>): Promise<number> {
  const fromMs = clock.nowMs();
  await task();
  return clock.nowMs() - fromMs;
}

/** The middle one of so many. */
async function middle(count: number, task: (n: number) => Promise<number>): Promise<number> {
  const [only = 0] = await middles(count, task);
  return only;
}

/** The middle ones of several, each measured so often and in turn: so all have the same share of the machine's other work. */
async function middles(count: number, ...tasks: readonly ((n: number) => Promise<number>)[]): Promise<number[]> {
  const found = tasks.map((): number[] => []);
  for (let n = 0; n < count; n++) for (const [i, task] of tasks.entries()) found[i]!.push(await task(n));
  return found.map((all) => all.sort((a, b) => a - b)[Math.floor(count / 2)]!);
}

/** A World with its copy, for as long as the task takes. */
async function withWorld(bench: Bench, namespace: string, task: (world: World) => Promise<void>): Promise<void> {
  const world = await openWorld({ seeds: [bench.url], namespace, folder: await bench.newFolder(), hostname: "bench" });
  try {
    await world.ready(long);
    await task(world);
  } finally {
    await world.close();
  }
}

function resourcesOf(value: string, count = 10_000): Exported[] {
  return Array.from({ length: count }, (_, n) => ({
    kind: "host",
    name: `host-${n}`,
    value: `${value} ${n} ${"v".repeat(100)}`,
  }));
}

/** Ten thousand at once, beside the reference's way: a transaction for each, one after the other. */
export async function resources(bench: Bench): Promise<void> {
  const { theirs, tell } = bench;
  const sample = resourcesOf("etcd3", 1_000);
  const sampleMs = await timed(async () => {
    for (const { kind, name, value } of sample) {
      const key = `/_bench/exported/*/bench/${kind}/${name}`;
      await theirs.if(key, "Value", "==", value).else(theirs.put(key).value(value)).commit();
    }
  });
  const theirsMs = 10 * sampleMs;
  await withWorld(bench, "/_resources", async (world) => {
    const firstMs: number[] = [];
    const exportMs = await middle(3, async (n) => {
      const list = resourcesOf(`round ${n}`);
      const tookMs = await timed(() => world.resource.export(list, long));
      // As soon as it is written: the copy has it all by then, or is waited for.
      firstMs.push(await timed(() => world.resource.collect({}, long)));
      return tookMs;
    });
    const text = `${ms(exportMs)}; with etcd3 and a transaction each ${ms(theirsMs)}, as 1,000 of them took ${ms(sampleMs)}`;
    tell("export of 10,000 resources", text, exportMs < 1_000, "(under 1000 ms)");
    const ratio = theirsMs / exportMs;
    tell("the same", `${ratio.toFixed(1)}x one transaction each`, ratio >= 10, "(at least 10x)");
    const list = resourcesOf("round 2");
    const sameMs = await timed(() => world.resource.export(list, long));
    const replaceMs = await timed(() => world.resource.export(list.slice(1), { ...long, mode: "replace" }));
    tell("the same again, nothing is written", `${ms(sameMs)}; replacing all but one ${ms(replaceMs)}`, undefined, "");

    await world.resource.export(list, long);
    const collectMs = await middle(3, () =>
      timed(async () => {
        const { items } = await world.resource.collect({}, { ...long, read: "linearizable" });
        if (items.length !== list.length) throw new Error(`${items.length} resources were collected`);
      }),
    );
    const directMs = await middle(3, () => timed(() => world.resource.collect({}, { ...long, read: "direct" })));
    const late = firstMs.sort((a, b) => a - b)[1]!;
    const collected = `${ms(collectMs)} linearizable, ${ms(directMs)} direct, ${ms(late)} right behind an export`;
    tell("collect of 10,000 resources", collected, Math.max(collectMs, directMs, late) < 1_000, "(under 1000 ms)");
  });
}

/** Whether the payloads of deploys cost the one who asks for the newest anything. etcd reads values also where only keys are asked for. */
export async function deploys(bench: Bench): Promise<void> {
  const count = 1_000;
  const modes = ["session", "linearizable", "direct"] as const;
  await withWorld(bench, "/_deploys-small", async (small) => {
    await withWorld(bench, "/_deploys-large", async (large) => {
      const sizes = [
        { world: small, payload: "p".repeat(100) },
        { world: large, payload: "p".repeat(100_000) },
      ];
      for (const { world, payload } of sizes) {
        for (let n = 1; n <= count; n++) await world.deploy.add({ hash: `${n}`, payload }, long);
      }
      const maxId =
        (world: World, read: (typeof modes)[number]): (() => Promise<number>) =>
        () =>
          timed(async () => {
            const { id } = await world.deploy.maxId({ read });
            if (id !== count) throw new Error(`The newest deploy is ${id}`);
          });
      for (const read of modes) {
        const keys = bench.theirs.getAll().prefix("/_deploys-large/deploy/");
        const bareKeys = (): Promise<number> => timed(() => keys.keys());
        const [smallMs = 0, largeMs = 0, bareMs = 0] = await middles(
          101,
          maxId(small, read),
          maxId(large, read),
          ...(read === "direct" ? [bareKeys] : []),
        );
        const text = `${largeMs.toFixed(2)} ms with 1,000 deploys of 100 kB, ${smallMs.toFixed(2)} ms with as many of 100 B`;
        if (read === "direct") {
          const beside = `${text}; etcd3's keys() ${bareMs.toFixed(2)} ms`;
          bench.tell("deploy.maxId, direct", beside, largeMs <= 1.5 * bareMs, "(at most 1.5x etcd3)");
        } else {
          const good = largeMs <= 1.5 * smallMs || largeMs - smallMs < 0.5;
          bench.tell(`deploy.maxId, ${read}`, text, good, "(at most 1.5x, or 0.5 ms more)");
        }
      }
    });
  });
}

const watchers = 1_000;

/** From the call that changes one string until the last of a thousand watchers of it has been told. */
export async function fanOut(bench: Bench): Promise<void> {
  await withWorld(bench, "/_fan-out", async (world) => {
    const waiting = new Set<(value: string | undefined) => void>();
    /** All have been told of that value. */
    const told = (wanted: string): Promise<void> =>
      new Promise((resolve) => {
        let left = watchers;
        const count = (value: string | undefined): void => {
          if (value !== wanted || --left > 0) return;
          waiting.delete(count);
          resolve();
        };
        waiting.add(count);
      });
    const take = (value: string | undefined): void => {
      for (const count of waiting) count(value);
    };
    const changeMs = async (n: number): Promise<number> => {
      const all = told(`${n}`);
      return await timed(() => Promise.all([world.str.set("one", `${n}`, long), all]));
    };
    const setMs = await middle(9, (n) => timed(() => world.str.set("other", `${n}`, long)));

    const begun = told("begin");
    await world.str.set("one", "begin", long);
    const subscriptions = Array.from({ length: watchers }, () =>
      (world.str.watch("one") as Observable<Worlds.ValueEvent<string>>).subscribe((event) => {
        if (event.kind !== "state") take(event.value);
      }),
    );
    await begun;
    const subscribedMs = await middle(9, changeMs);
    for (const subscription of subscriptions) subscription.unsubscribe();

    const over = new AbortController();
    const again = told("again");
    await world.str.set("one", "again", long);
    const iterations = Array.from({ length: watchers }, async () => {
      for await (const event of world.str.watch("one", { signal: over.signal })) if (event.kind !== "state") take(event.value);
    });
    await again;
    const iteratedMs = await middle(9, changeMs);
    over.abort();
    await Promise.all(iterations);
    const text = `${ms(subscribedMs)} subscribed, ${ms(iteratedMs)} iterated, of which the write takes ${ms(setMs)}`;
    bench.tell("one change to 1,000 watchers", text, Math.max(subscribedMs, iteratedMs) < 50, "(under 50 ms)");
  });
  const program = fileURLToPath(new URL("../programs/world-watchers.mjs", import.meta.url));
  const args = ["--expose-gc", program, bench.url, await bench.newFolder()];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  await once(child, "close");
  const { subscribed, iterated } = JSON.parse(said) as { readonly subscribed: number; readonly iterated: number };
  const text = `${(subscribed / 1_000).toFixed(1)} kB subscribed, ${(iterated / 1_000).toFixed(1)} kB iterated, of 5,000 of different strings`;
  bench.tell("memory of a watcher", text, Math.max(subscribed, iterated) < 10_000, "(under 10 kB)");
}
