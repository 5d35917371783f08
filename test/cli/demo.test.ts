import { describe, expect, test } from "vitest";
import { keyOf, nextToStart, victimOf } from "../../src/cli/demo/choices.ts";
import type { DemoAgent } from "../../src/cli/demo/fleet.ts";
import { frame, type Scene } from "../../src/cli/demo/frame.ts";
import { logLine } from "../../src/cli/demo/log-lines.ts";
import { playStory, summary, type Stage } from "../../src/cli/demo/story.ts";
import { painter } from "../../src/cli/output.ts";
import { systemClock } from "../../src/clock.ts";
import type { ClusterView } from "../../src/cli/cluster.ts";
import { host, view } from "../support/cluster-view.ts";

const noPaint = painter(false);
const agents = (...down: string[]): DemoAgent[] =>
  ["h1", "h2", "h3", "h4", "h5"].map((name) => ({
    host: name,
    clientUrl: `http://127.0.0.1:${name.slice(1)}0001`,
    serverUrl: `http://127.0.0.1:${name.slice(1)}0002`,
    process: down.includes(name) ? "killed" : "running",
  }));
const voters = (...names: string[]): ReturnType<typeof host>[] => names.map((name) => host(name, { seat: "voter" }));
const spares = (...names: string[]): ReturnType<typeof host>[] => names.map((name) => host(name));

describe("keys", () => {
  test("plus and minus stay between one and all agents", () => {
    expect(keyOf("+", 3, 5)).toEqual({ kind: "size", size: 4 });
    expect(keyOf("=", 5, 5)).toEqual({ kind: "size", size: 5 });
    expect(keyOf("-", 1, 5)).toEqual({ kind: "size", size: 1 });
  });

  test("q and ^C end, which a terminal in raw mode sends as a character", () => {
    expect(keyOf("q", 3, 5)).toEqual({ kind: "end" });
    expect(keyOf("\u0003", 3, 5)).toEqual({ kind: "end" });
    expect(keyOf("x", 3, 5)).toBeUndefined();
  });
});

describe("the agent to kill", () => {
  test("is a voter, but neither the first agent nor the raft leader", () => {
    const seen = view([...voters("h1", "h2", "h3"), ...spares("h4", "h5")]);
    expect(victimOf(seen, agents())).toEqual({ host: "h3", what: "a voter" });
  });

  test("is a spare where no voter can be lost, and nobody where there is no spare either", () => {
    expect(victimOf(view([...voters("h1"), ...spares("h2", "h3")]), agents())).toEqual({ host: "h3", what: "a spare" });
    const two = view([...voters("h1", "h2"), host("h3", { seat: "voter", silent: true })]);
    expect(victimOf(two, agents("h3", "h4", "h5"))).toEqual({
      refused: "the cluster can lose no more voters; s starts an agent again",
    });
    expect(victimOf(undefined, agents())).toEqual({ refused: "the cluster has not formed yet" });
  });

  test("is not a second voter of three, also when the last look is from before the first kill", () => {
    const seen = view([...voters("h1", "h2", "h3"), ...spares("h4")]);
    expect(victimOf(seen, agents("h3", "h5"))).toEqual({ host: "h4", what: "a spare" });
  });

  test("starts again in the order of the kills", () => {
    expect(nextToStart(agents("h3", "h5"), ["h5", "h3"])).toBe("h5");
    expect(nextToStart(agents("h3"), [])).toBe("h3");
    expect(nextToStart(agents(), ["h3"])).toBeUndefined();
  });
});

describe("the live table", () => {
  const scene = (change: Partial<Scene> = {}): Scene => ({
    agents: agents("h5"),
    view: view([...voters("h1", "h2"), host("h3", { seat: "learner" }), ...spares("h4")], { ideal: 3 }),
    problem: undefined,
    size: 3,
    victim: "h2",
    next: "h5",
    keys: true,
    ...change,
  });

  test("has a line for every agent and one for the keys", () => {
    expect(frame(scene(), noPaint, 101, 20)).toEqual([
      "── quorate demo   3 of 3   settled: 2 voters and 1 learner, can lose none ───────────────────────────",
      "   HOST  AGENT    SEAT                        STATE    CLIENT URL              SERVER URL",
      " ● h1    running  voter, raft leader, leader  healthy  http://127.0.0.1:10001  http://127.0.0.1:10002",
      " ● h2    running  voter                       healthy  http://127.0.0.1:20001  http://127.0.0.1:20002",
      " ◐ h3    running  learner (standby)           healthy  http://127.0.0.1:30001  http://127.0.0.1:30002",
      " ○ h4    running  spare                                http://127.0.0.1:40001  http://127.0.0.1:40002",
      " ✗ h5    killed                                        http://127.0.0.1:50001  http://127.0.0.1:50002",
      " 3 members of 3",
      " + - size   k kill h2   s start h5   q quit",
    ]);
  });

  test("is never larger than the terminal", () => {
    for (const [width, height] of [
      [20, 3],
      [40, 6],
      [72, 24],
      [200, 1],
    ] as const) {
      const lines = frame(scene(), noPaint, width, height);
      expect(lines.length).toBeLessThanOrEqual(height);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
    }
  });

  test("says that nothing serves yet, and that quorum is lost", () => {
    expect(frame(scene({ view: undefined, problem: "the first server starts" }), noPaint, 60, 20)[0]).toContain(
      "the first server starts",
    );
    expect(frame(scene({ problem: "no quorum" }), noPaint, 60, 20)[0]).toContain("no quorum");
  });
});

describe("a log line of an agent", () => {
  test("reads as a sentence with its reason and short fields", () => {
    const line = JSON.stringify({
      level: 30,
      time: "t",
      host: "h1",
      part: "leader",
      step: { kind: "nominate", agent: "h5", standby: false },
      because: "1 seat of 3",
      done: true,
      msg: "step carried out",
    });
    expect(logLine("h1", line, undefined, noPaint, 100)).toBe("h1 │ step carried out: 1 seat of 3 step=nominate agent=h5");
  });

  test("of etcd is shown from errors on", () => {
    const line = (level: number): string => JSON.stringify({ level, part: "server", etcd: { caller: "x" }, msg: "disk is slow" });
    expect(logLine("h1", line(40), undefined, noPaint, 100)).toBeUndefined();
    expect(logLine("h1", line(50), undefined, noPaint, 100)).toBe("h1 │ etcd: disk is slow");
  });

  test("that is no JSON is shown as it is, fit for a terminal and its width", () => {
    expect(logLine("h1", "error: \u001b[31mno", undefined, noPaint, 100)).toBe("h1 │ error: ·[31mno");
    expect(logLine("h1", "a long line of text", undefined, noPaint, 16)).toBe("h1 │ a long lin…");
    expect(logLine("h1", "  ", undefined, noPaint, 100)).toBeUndefined();
  });
});

describe("the story", () => {
  const five = ["h1", "h2", "h3", "h4", "h5"];
  /** A cluster that does at once what it is asked to. */
  const obedient = (told: string[]): Stage => {
    let seen: ClusterView = view(voters("h1", "h2", "h3"), { ideal: 3 });
    return {
      clock: systemClock,
      setSize: (size) => {
        seen = view(voters(...five.slice(0, size)), { ideal: size });
        return Promise.resolve();
      },
      kill: () => {
        seen = view([...voters(...five.slice(0, 4)), host("h5", { seat: "voter", silent: true })], { ideal: 5 });
        return Promise.resolve("h5");
      },
      start: () => {
        seen = view(voters(...five), { ideal: 5 });
      },
      until: (shows) => (shows(seen) ? Promise.resolve(seen) : Promise.reject(new Error("it does not show that"))),
      tell: (line) => told.push(line),
      view: () => seen,
    };
  };

  test("forms 3, grows to 5, kills one, heals, shrinks to 1, and tells each with its time", async () => {
    const told: string[] = [];
    const chapters = await playStory(obedient(told), new AbortController().signal);
    expect(chapters.map((one) => `${one.name}: ${one.end}`)).toEqual([
      "form 3: settled: 3 voters, can lose 1",
      "grow to 5: settled: 5 voters, can lose 2",
      "kill one: 4 of 5 voters go on",
      "heal (h5 starts again): settled: 5 voters, can lose 2",
      "shrink to 1: settled: 1 voter, can lose none",
    ]);
    expect(told).toHaveLength(10);
    expect(summary(chapters).at(-1)).toMatch(/^ {2}in all +0\.0 s$/);
  });

  test("fails with the step that took too long, and where it stands", async () => {
    const late: Stage = {
      ...obedient([]),
      clock: { ...systemClock, sleep: () => Promise.resolve() },
      until: (_, signal) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
    };
    await expect(playStory(late, new AbortController().signal)).rejects.toMatchObject({
      code: "WAIT_TIMEOUT",
      message: "Cannot form 3 within 60 s: 3 members, settled: 3 voters, can lose 1",
    });
  });
});
