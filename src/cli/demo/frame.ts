import type { ClusterView } from "../cluster.ts";
import { clip, plain, table, type Paint, type Style } from "../output.ts";
import { chooserLine, isHealthy, isRaftLeader, roleOf, stateOf, strengthOf } from "../roles.ts";
import type { DemoAgent } from "./fleet.ts";

/** Everything the live table shows. */
export interface Scene {
  readonly agents: readonly DemoAgent[];
  /** The last look; undefined before the first one. */
  readonly view: ClusterView | undefined;
  /** Why there is no newer look. */
  readonly problem: string | undefined;
  /** The size last asked for. */
  readonly size: number;
  /** The agent that `k` would kill, and the one that `s` would start. */
  readonly victim: string | undefined;
  readonly next: string | undefined;
  /** Keys are read. */
  readonly keys: boolean;
}

/** One colour for each agent, in its log lines and in the table. */
export const hues: readonly Style[] = ["cyan", "magenta", "yellow", "green", "blue"];

/** `3 members of 3, settled: 3 voters, can lose 1` */
export function headline(scene: Scene): string {
  const { view } = scene;
  if (!view) return scene.problem ?? "starting";
  return `${strengthOf(view).members} of ${scene.size}   ${scene.problem ?? chooserLine(view)}`;
}

/** The lines of the live table: none longer than `width`, at most `height` of them. Pure. */
export function frame(scene: Scene, paint: Paint, width: number, height: number): string[] {
  const title = ` quorate demo   ${plain(headline(scene))} `;
  const settled = scene.problem === undefined && scene.view?.plan?.kind === "settled";
  const rule = "─".repeat(Math.max(0, width - title.length - 2));
  const head =
    paint("dim", "──".slice(0, width)) +
    paint(settled ? "green" : "yellow", clip(title, Math.max(0, width - 2))) +
    paint("dim", rule);
  const rows = table(
    [
      { title: "   HOST" },
      { title: "AGENT" },
      { title: "SEAT" },
      { title: "STATE", spare: 2 },
      { title: "CLIENT URL", spare: 1 },
      { title: "SERVER URL", spare: 3 },
    ],
    scene.agents.map((agent, i) => row(agent, scene, hues[i % hues.length])),
    paint,
    width,
  );
  const keys = scene.keys ? [paint("dim", clip(keyLine(scene), width))] : [];
  const because = becauseLine(scene);
  const notes = because === undefined ? [] : [paint("dim", clip(` ${plain(because)}`, width))];
  const lines = [head, ...rows, ...notes, ...keys];
  // A low terminal keeps the head line and the keys.
  return lines.length <= height ? lines : [head, ...rows.slice(1), ...keys].slice(0, Math.max(1, height));
}

function row(
  agent: DemoAgent,
  scene: Scene,
  hue: Style | undefined,
): ({ readonly text: string; readonly style: Style | undefined } | string)[] {
  const host = scene.view?.hosts.find((one) => one.name === agent.host);
  const healthy = host?.member !== undefined && isHealthy(host);
  const mark = agent.process !== "running" ? "✗" : host?.member ? (host.member.learner ? "◐" : "●") : "○";
  const seat =
    !scene.view || !host
      ? ""
      : [
          roleOf(host, scene.view),
          ...(isRaftLeader(host, scene.view) ? ["raft leader"] : []),
          ...(scene.view.leader === host.name ? ["leader"] : []),
        ].join(", ");
  const state = host ? stateOf(host) : agent.process === "running" ? "joining" : "";
  return [
    { text: ` ${mark} ${agent.host}`, style: hue },
    { text: agent.process, style: agent.process === "running" ? undefined : "red" },
    seat === "unknown" ? "" : seat,
    { text: state, style: healthy ? "green" : host?.member ? "red" : "dim" },
    agent.clientUrl,
    agent.serverUrl,
  ];
}

function becauseLine({ view, problem }: Scene): string | undefined {
  if (problem !== undefined || !view?.plan) return undefined;
  const { plan } = view;
  if (plan.blockedBy !== undefined) return `blocked by: ${plan.blockedBy}`;
  return plan.kind === "settled" ? plan.because : plan.held;
}

function keyLine(scene: Scene): string {
  const kill = scene.victim === undefined ? "k kill an agent" : `k kill ${scene.victim}`;
  const start = scene.next === undefined ? undefined : `s start ${scene.next}`;
  return ` ${["+ - size", kill, start, "q quit"].filter((part) => part !== undefined).join("   ")}`;
}
