import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify, stripVTControlCharacters } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { Demo, quorate, repository } from "../support/demo.ts";
import { eventually } from "../support/eventually.ts";
import { full } from "../support/full.ts";
import { childrenOf } from "../support/process.ts";

const ready = "settled: 3 voters, can lose 1   after";
const nothing = { processes: [], files: [] };

function demo(): Demo {
  const one = new Demo();
  onTestFinished(() => one[Symbol.asyncDispose]());
  return one;
}

describe("quorate demo", { timeout: 120_000 }, () => {
  test("prints every URL, forms three voters, and prints commands that can be pasted", async () => {
    const one = demo().start();
    const shown = await one.shows(ready);
    const urls = shown.match(/http:\/\/127\.0\.0\.1:[0-9]+/g) ?? [];
    expect(new Set(urls.slice(0, 10)).size).toBe(10);
    const lines = (await one.shows("put hello world")).split("\n").filter((line) => line.startsWith(`  ${quorate} `));
    expect(lines.map((line) => line.split(" ")[3])).toEqual(["status", "members", "size", "etcdctl"]);
    const answers: string[] = [];
    for (const line of lines) answers.push((await promisify(execFile)("sh", ["-c", line], { env: one.env })).stdout);
    expect(answers[0]).toContain("chooser    settled: 3 voters, can lose 1");
    expect(answers[1]!.trim().split("\n")).toHaveLength(4);
    expect(answers[2]).toMatch(/^5 \(5 members now after [0-9.]+ s; settled: 5 voters, can lose 2\)\n$/);
    expect(answers[3]).toBe("OK\n");
  });

  test("--once plays the whole story, exits 0, and leaves nothing behind", async () => {
    const one = demo().start([process.execPath, quorate, "demo", "--once"]);
    const { code, stdout } = await one.running.end(115_000);
    expect({ code, tail: code === 0 ? "" : one.running.tail(60) }).toEqual({ code: 0, tail: "" });
    for (const chapter of ["form 3", "grow to 5", "kill one", "heal", "shrink to 1", "in all"]) {
      expect(stdout).toMatch(new RegExp(`^ {2}${chapter}.* [0-9.]+ s`, "m"));
    }
    expect(one.leftovers()).toEqual(nothing);
  });

  const signals = [
    ["SIGTERM", 143],
    ["SIGINT", 0],
    ["SIGHUP", 129],
  ] as const;
  test.each(full ? signals : signals.slice(0, 1))("%s leaves nothing running and no files", async (signal, exitCode) => {
    const one = demo().start();
    await one.shows(ready);
    expect(one.leftovers().processes.length).toBeGreaterThanOrEqual(8);
    one.running.signal(signal);
    const { code } = await one.running.end(10_000);
    expect(code).toBe(exitCode);
    expect(one.leftovers()).toEqual(nothing);
  });

  test("a signal before anything has formed leaves nothing either", async () => {
    const one = demo().start();
    await one.shows("starting");
    one.running.signal("SIGTERM");
    await one.running.end(10_000);
    expect(one.leftovers()).toEqual(nothing);
  });

  test("the death of its parent ends it", async () => {
    const one = demo().start(["sh", "-c", `"${process.execPath}" "${quorate}" demo & wait`]);
    await one.shows("starting");
    const [child] = childrenOf(one.running.pid);
    expect(child).toBeDefined();
    process.kill(one.running.pid, "SIGKILL");
    await eventually("the end of the demo", () => !existsSync(`/proc/${child}`), 10_000);
    expect(one.leftovers()).toEqual(nothing);
  });

  test("`timeout -s TERM 10 npm start` leaves nothing behind", async () => {
    // Whoever runs this test without `npm test` has it built first, which is not what is timed here.
    await promisify(execFile)("npm", ["--prefix", repository, "start", "--", "--version"]);
    const one = demo().start(["timeout", "-s", "TERM", "10", "npm", "--prefix", repository, "start"]);
    await one.shows("5 agents with etcd");
    const { code } = await one.running.end(20_000);
    expect(code).toBe(124);
    await eventually("nothing left", () => one.leftovers().files.length === 0 && one.leftovers().processes.length === 0, 5_000);
  });

  test("a reader that goes away ends it", async () => {
    const one = demo().start(["sh", "-c", `"${process.execPath}" "${quorate}" demo | head -3`]);
    await one.running.end(20_000);
    await eventually("nothing left", () => one.leftovers().files.length === 0 && one.leftovers().processes.length === 0, 10_000);
  });

  if (full)
    test("two of them do not disturb each other", async () => {
      const [one, two] = [demo().start(), demo().start()];
      await Promise.all([one.shows(ready), two.shows(ready)]);
    });
});

describe("quorate demo at a terminal", { timeout: 120_000 }, () => {
  const script = existsSync("/usr/bin/script");

  test.skipIf(!script)("draws over its table, and + k s q grow, kill, start and end", async () => {
    const one = new Demo();
    onTestFinished(() => one[Symbol.asyncDispose]());
    // `script` gives it a terminal; what is typed goes to its standard input.
    const child = spawn("script", ["-qefc", `stty cols 110 rows 40; exec "${process.execPath}" "${quorate}" demo`, "/dev/null"], {
      env: one.env,
    });
    let raw = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (raw += text));
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    onTestFinished(async () => {
      child.kill("SIGTERM");
      await ended;
    });
    const since = async (from: number, text: string | RegExp, withinMs = 30_000): Promise<void> => {
      const shown = (): boolean => {
        const since = stripVTControlCharacters(raw.slice(from));
        return typeof text === "string" ? since.includes(text) : text.test(since);
      };
      await eventually(String(text), shown, withinMs).catch((error: unknown) => {
        throw new Error(stripVTControlCharacters(raw).slice(-3_000), { cause: error });
      });
    };
    const type = (key: string): number => {
      child.stdin.write(key);
      return raw.length;
    };
    await since(0, ready);
    expect(raw).toMatch(/\u001b\[[0-9]+A\r\u001b\[0J/);
    await since(type("+"), "3 voters and 1 learner");
    await since(type("+"), "settled: 5 voters, can lose 2");
    const killed = type("k");
    await since(killed, "with SIGKILL");
    // The look counts four until the leader has noticed; from then on the plan says it, and a busy machine shows nothing else.
    await since(killed, /4 of 5 voters answer|(takes no part and|no spare, so it) keeps its seat/);
    await since(type("s"), "settled: 5 voters, can lose 2");
    await since(type("q"), "ended: no process and no file is left");
    expect(await ended).toBe(0);
    // The cursor is given back.
    expect(raw.lastIndexOf("\u001b[?25h")).toBeGreaterThan(raw.lastIndexOf("\u001b[?25l"));
    expect(one.leftovers()).toEqual(nothing);
  });
});
