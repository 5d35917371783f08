// The processes that scripts/mutants.mjs has its tests played in: one for each processor, and what each has seen fail.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

/** @import { ChildProcess } from "node:child_process" */
/** @import { Mutant } from "./list.mjs" */
/** @import { Played } from "./player.mjs" */

const root = fileURLToPath(new URL("../..", import.meta.url));
const program = fileURLToPath(new URL("player.mjs", import.meta.url));

/** One player. It is started when it is first asked, and again after it had to be ended. One question at a time. */
export class Player {
  /** Files in which a test failed with a mutant: what to play again without one in the end. @type {Set<string>} */
  sawFail = new Set();
  /** @type {Promise<ChildProcess> | undefined} */
  #child;
  /** @type {ChildProcess | undefined} */
  #started;

  /**
   * @param {string} path a file of tests
   * @param {Mutant} [mutant] the tree as it is without one
   * @param {number} [withinMs] ended then, with all that it started
   * @returns {Promise<Played | "late">}
   */
  async play(path, mutant, withinMs = 600_000) {
    const child = await (this.#child ??= this.#start());
    const answered = answerOf(child);
    child.send({ path, mutant });
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    /** @type {Promise<"late">} */
    const late = new Promise((resolve) => (timer = setTimeout(() => resolve("late"), withinMs)));
    const played = await Promise.race([answered, late]);
    clearTimeout(timer);
    if (played === "late") {
      answered.catch(() => undefined);
      this.kill();
      return "late";
    }
    if (mutant !== undefined && /** @type {Played} */ (played).failed !== undefined) this.sawFail.add(path);
    return /** @type {Played} */ (played);
  }

  /** Ends it at once, with all that it started. */
  kill() {
    const pid = this.#started?.pid;
    if (pid !== undefined && this.#started?.exitCode === null && this.#started.signalCode === null) process.kill(-pid, "SIGKILL");
    this.#started = undefined;
    this.#child = undefined;
  }

  /** Settles when it is gone. */
  async end() {
    const child = await this.#child;
    if (child === undefined) return;
    const closed = new Promise((resolve) => child.once("close", resolve));
    child.send("end");
    await closed;
    this.#started = undefined;
    this.#child = undefined;
  }

  async #start() {
    // In a group of its own: all that its tests start ends with it. What they print is of no interest.
    const env = { ...process.env, QUORATE_TEST_FULL: "" };
    const child = fork(program, { cwd: root, env, detached: true, stdio: ["ignore", "ignore", "inherit", "ipc"] });
    this.#started = child;
    await answerOf(child);
    return child;
  }
}

/**
 * @param {ChildProcess} child
 * @returns {Promise<unknown>}
 */
function answerOf(child) {
  return new Promise((resolve, reject) => {
    const ended = (/** @type {number | null} */ code) =>
      reject(new Error(`Cannot go on with the mutants: a player ended with ${code}`));
    child.once("close", ended);
    child.once("error", reject);
    child.once("message", (answer) => {
      child.off("close", ended);
      child.off("error", reject);
      resolve(answer);
    });
  });
}
