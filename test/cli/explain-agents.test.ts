import { expect, test } from "vitest";
import { Fleet } from "../support/agents.ts";
import { eventually } from "../support/eventually.ts";

interface Told {
  readonly step: string;
  readonly agent?: string;
  readonly what: string;
  readonly because: string;
  readonly leader: string;
  readonly revision: number;
  readonly facts?: { readonly toleranceBefore: number; readonly toleranceAfter: number; readonly members: readonly object[] };
}

test("a plan for another size is what then happens, and the events tell it in order with the facts each step rests on", async () => {
  await using fleet = await Fleet.open();
  await fleet.form(["h1", "h2", "h3", "h4", "h5"], 3);
  const { clientUrl } = await fleet.place("h1");
  const endpoints = `--endpoints=${clientUrl}`;
  const ask = async <T>(...argv: string[]): Promise<T> => {
    const { code, stdout, stderr } = await fleet.quorate(...argv, endpoints, "-o", "json");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return JSON.parse(stdout) as T;
  };
  // Agents that start together are in no order: any of them may lead, and on a busy machine another one may come to lead meanwhile.
  const events = async (): Promise<Told[]> => (await ask<Told[]>("events")).filter(({ step }) => step !== "lead");

  const [first] = await ask<Told[]>("events");
  expect(first?.what).toBe(`${first?.leader} leads now`);
  const before = await events();
  expect(before[0]?.what).toBe("the size is 3");
  expect(before.filter(({ step }) => step === "promote")).toHaveLength(2);

  const planned = await ask<{ steps: { step: { kind: string; agent?: string }; because: string }[]; ends: { lines: string[] } }>(
    "plan",
    "--size",
    "5",
  );
  expect(planned.ends.lines).toEqual(["settled: 5 voters, can lose 2"]);
  expect((await fleet.quorate("size", "5", "--wait", endpoints)).code).toBe(0);
  const grown = (await events()).slice(before.length);
  expect(grown[0]).toMatchObject({ step: "size", what: "the size is 5 now, it was 3" });
  expect(grown.slice(1).map(({ step, agent, because }) => ({ step, agent, because }))).toEqual(
    planned.steps.map(({ step, because }) => ({ step: step.kind, agent: step.agent, because })),
  );
  for (const { facts, leader } of grown) {
    expect(leader).toMatch(/^h[1-5]$/);
    expect(facts?.members.length).toBeGreaterThanOrEqual(3);
  }
  const last = grown.at(-1)?.facts;
  expect([last?.toleranceBefore, last?.toleranceAfter]).toEqual([1, 2]);

  // A leave and a policy are told in the order in which they were seen, and a shrink with its reason.
  expect((await fleet.quorate("policy", "set", "--standbys=1", endpoints)).code).toBe(0);
  await eventually("the policy is told", async () => (await events()).some(({ step }) => step === "policy"));
  expect((await fleet.quorate("size", "3", "--wait", endpoints)).code).toBe(0);
  const all = await events();
  const told = all.slice(before.length + grown.length).map(({ what }) => what);
  expect(told[0]).toBe("the policy changed: standbys 0 -> 1");
  expect(told).toContain("the size is 3 now, it was 5");
  expect(told.filter((what) => what.startsWith("removed h"))).toHaveLength(2);
  expect(all.map(({ revision }) => revision)).toEqual(all.map(({ revision }) => revision).toSorted((a, b) => a - b));
});

test("an agent that leaves is told of, before what follows from it", async () => {
  await using fleet = await Fleet.open();
  const [, , third] = await fleet.form(["h1", "h2", "h3"], 3);
  const fourth = await fleet.start("h4", { seeds: ["h1"] });
  await fourth.ready();
  await third?.interrupt();
  await fleet.settled(3, ["h1"]);
  const { clientUrl } = await fleet.place("h1");
  const { stdout } = await fleet.quorate("events", `--endpoints=${clientUrl}`);
  const places = ["h3 asked to leave", "nominated h4", "promoted h4 to voter", "removed h3"].map((what) => stdout.indexOf(what));
  expect(places.every((place) => place > 0)).toBe(true);
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(stdout).toContain("h3 leaves");
});
