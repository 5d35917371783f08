import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

// "Size 0 (`quorate size 0` asks, ... and names the host to start first)", at a real terminal.

const quorate = fileURLToPath(new URL("../../bin/quorate.js", import.meta.url));

test.skipIf(!existsSync("/usr/bin/script"))(
  "quorate size 0 asks at a terminal and names the host to start first; whoever says no has changed nothing",
  { timeout: 60_000 },
  async () => {
    const fleet = await Fleet.open();
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    await fleet.form(["h1"]);
    const { clientUrl } = await fleet.place("h1");
    const [command, ...args] = fleet.network.inside([
      "script",
      "-qefc",
      `"${process.execPath}" "${quorate}" size 0 --endpoints=${clientUrl} ${fleet.login.join(" ")}`,
      "/dev/null",
    ]);
    const child = spawn(command, args, { env: fleet.env });
    let raw = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (raw += text));
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    onTestFinished(async () => {
      child.kill("SIGTERM");
      await ended;
    });
    const said = (): string => stripVTControlCharacters(raw);
    await eventually("the question", () => said().includes("Shut it down? Type yes: "), 20_000);
    expect(said()).toContain("Size 0 shuts the whole cluster down: h1 and every other agent will stop.");
    expect(said()).toContain("As things are, h1 keeps the data: start it first afterwards");
    child.stdin.write("no\n");
    expect(await ended).toBe(6);
    expect(said()).toContain("error: Cannot set the size to 0: the answer was not yes");
    expect(await fleet.get("h1", "/_mgmt/chooser/dynamicsize/idealclustersize")).toBe("1");
  },
);
