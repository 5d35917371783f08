import { aborted, firstOf, systemClock } from "../../clock.ts";
import { findEtcd } from "../../embed/store.mjs";
import { setprivWithDeathSignal } from "../../embed/tools.ts";
import { messageOf, QuorateError } from "../../errors.ts";
import { EtcdClient } from "../../etcd/index.ts";
import { keysUnder } from "../../keys.ts";
import type { Io } from "../io.ts";
import { painter } from "../output.ts";
import { isBelowNpm } from "../options.ts";
import { parentGone, parentsNow, type Parents } from "../process-tree.ts";
import { chooserLine } from "../roles.ts";
import { keyOf, nextToStart, victimOf } from "./choices.ts";
import { Ended, endOnSignals, type Endings } from "./endings.ts";
import { Fleet, launcher } from "./fleet.ts";
import { frame, headline, hues, type Scene } from "./frame.ts";
import { logLine } from "./log-lines.ts";
import { Lookout } from "./lookout.ts";
import { liveScreen, plainScreen } from "./screen.ts";
import { playStory, seconds, serves, summary, type Stage } from "./story.ts";

const agentsInDemo = 5;
const firstSize = 3;
const lookEveryMs = 300;

export interface DemoSettings {
  readonly once: boolean;
  readonly etcdBin: string | undefined;
}

/** `quorate demo`: five agents in one terminal. Whatever ends it leaves no process and no file behind. */
export async function demo(settings: DemoSettings, io: Io): Promise<number> {
  const parents = parentsNow(isBelowNpm(io.env));
  const endings = endOnSignals(systemClock);
  try {
    return await play(settings, io, parents, endings);
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    return error.exitCode;
  } finally {
    endings.release();
  }
}

async function play(settings: DemoSettings, io: Io, parents: Parents, endings: Endings): Promise<number> {
  const clock = systemClock;
  const startMs = clock.nowMs();
  const paint = painter(io.color);
  const etcd = await findEtcd({
    etcdBin: settings.etcdBin,
    env: { ...io.env },
    signal: endings.signal,
    log: (line) => {
      io.err(`${line}\n`);
    },
  });
  const screen = io.tty
    ? liveScreen(process.stdout)
    : plainScreen((text) => {
        io.out(text);
      });
  const say = (...lines: readonly string[]): void => {
    screen.print(lines);
  };

  let asked: number | undefined;
  let saidHead = "";
  let saidReady = false;
  const killed: string[] = [];
  const readsKeys = io.tty && process.stdin.isTTY && !settings.once;
  const keys = keysUnder("/_mgmt");

  const fleet = await Fleet.create({
    count: agentsInDemo,
    idealClusterSize: firstSize,
    etcdBin: etcd.binary,
    setpriv: await setprivWithDeathSignal(),
    env: io.env,
    clock,
    onLine: (host, line) => {
      const shown = logLine(
        host,
        line,
        hues[fleet.agents.findIndex((agent) => agent.host === host) % hues.length],
        paint,
        screen.width(),
      );
      if (shown !== undefined) say(shown);
    },
    onChange: () => {
      redraw();
    },
  });
  const client = EtcdClient.create({ endpoints: fleet.clientUrls, clock });
  const lookout = new Lookout(client, keys, clock, () => {
    redraw();
  });

  const scene = (): Scene => {
    const victim = victimOf(lookout.view, fleet.agents);
    return {
      agents: fleet.agents,
      view: lookout.view,
      problem: lookout.problem,
      size: size(),
      victim: "host" in victim ? victim.host : undefined,
      next: nextToStart(fleet.agents, killed),
      keys: readsKeys,
    };
  };
  function redraw(): void {
    const now = scene();
    const head = headline(now);
    if (!io.tty && head !== saidHead) say(head);
    saidHead = head;
    if (!saidReady && lookout.view && serves(lookout.view, firstSize)) {
      saidReady = true;
      say(
        "",
        `${paint("green", chooserLine(lookout.view))}   after ${seconds(clock.nowMs() - startMs)}`,
        ...nextCommands(fleet),
        "",
      );
    }
    if (io.tty) screen.draw(frame(now, paint, screen.width(), screen.height()));
  }

  /** What was asked for here until the cluster knows it, then what the cluster knows: others may set it too. */
  const size = (): number => asked ?? lookout.view?.ideal ?? firstSize;
  const setSize = async (wanted: number): Promise<void> => {
    asked = wanted;
    redraw();
    try {
      await client.put(keys.idealClusterSize, String(wanted), { signal: endings.signal, timeoutMs: 10_000 });
      await lookout.until((view) => view.ideal !== undefined, endings.signal);
    } finally {
      if (asked === wanted) asked = undefined;
    }
  };
  const kill = async (): Promise<string> => {
    const victim = victimOf(lookout.view, fleet.agents);
    if ("refused" in victim) throw new QuorateError("REFUSED", `Cannot kill an agent: ${victim.refused}`);
    say(paint("red", `killing ${victim.host}, ${victim.what}, with SIGKILL; its server dies with it`));
    killed.push(victim.host);
    await fleet.kill(victim.host);
    return victim.host;
  };
  const start = (host: string): void => {
    say(paint("green", `starting ${host} again`));
    killed.splice(0, killed.length, ...killed.filter((one) => one !== host));
    fleet.start(host);
  };

  const onKey = async (text: string): Promise<void> => {
    const key = keyOf(text, size(), agentsInDemo);
    switch (key?.kind) {
      case undefined:
        return;
      case "end":
        endings.end(new Ended("asked to", 0));
        return;
      case "size":
        if (key.size === size()) say(key.size === 1 ? "one member is the least" : `there are only ${agentsInDemo} agents`);
        else await setSize(key.size);
        return;
      case "kill":
        await kill();
        return;
      case "start": {
        const host = nextToStart(fleet.agents, killed);
        if (host === undefined) say("every agent is running; k kills one");
        else start(host);
        return;
      }
    }
  };
  const onInput = (data: Buffer): void => {
    for (const text of data.toString("utf8")) {
      onKey(text).catch((error: unknown) => {
        if (!endings.signal.aborted) say(paint("yellow", messageOf(error)));
      });
    }
  };
  const stage: Stage = {
    clock,
    setSize,
    kill,
    start,
    until: (shows, signal) => lookout.until(shows, signal),
    tell: (line) => {
      say(paint("bold", line));
    },
    view: () => lookout.view,
  };

  const onResize = (): void => {
    redraw();
  };
  if (readsKeys) process.stdin.setRawMode(true).resume().on("data", onInput);
  if (io.tty) process.stdout.on("resize", onResize);
  try {
    say(...opening(fleet, etcd.version.text));
    for (const agent of fleet.agents) fleet.start(agent.host);
    const chapters = await firstOf(
      endings.signal,
      (own) => lookout.run(lookEveryMs, own),
      async (own) => {
        await parentGone(parents, clock, own);
        throw new Ended("whoever started this demo is gone", 1);
      },
      (own) => (settings.once ? playStory(stage, own) : aborted(own)),
    );
    screen.draw([]);
    say("", ...summary(chapters));
    return 0;
  } finally {
    if (readsKeys) process.stdin.off("data", onInput).setRawMode(false).pause();
    process.stdout.off("resize", onResize);
    screen.close();
    await fleet.close();
    await client.close();
    say(`ended: no process and no file is left`);
  }
}

function opening(fleet: Fleet, version: string): string[] {
  const lines = fleet.agents.map((agent) => `  ${agent.host}  clients ${agent.clientUrl}  servers ${agent.serverUrl}`);
  return [`${agentsInDemo} agents with etcd ${version}, ideal size ${firstSize}, in ${fleet.folder}`, ...lines, ""];
}

/** To be pasted into another terminal as they are. */
function nextCommands(fleet: Fleet): string[] {
  const endpoints = `--endpoints=${fleet.clientUrls.map((url) => url.replace("http://", "")).join(",")}`;
  const words = ["status", "members", "size 5 --wait"].map((command) => `  ${launcher} ${command} ${endpoints}`);
  return ["In another terminal:", ...words, `  ${launcher} etcdctl ${endpoints} put hello world`];
}
