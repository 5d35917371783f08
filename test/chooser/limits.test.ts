import { describe, expect, test } from "vitest";
import { defaultPolicy, plan, type ClusterSnapshot, type MemberSeen } from "../../src/chooser/index.ts";
import { brief, cluster } from "../support/cluster.ts";

/** What is planned where the last member is as told. */
function planned(line: string, more: Partial<MemberSeen>, change: Partial<ClusterSnapshot> = {}, policy = {}): string {
  const seen = cluster(line);
  const last = seen.members.at(-1);
  const members = seen.members.map((m) => (m === last ? { ...m, ...more } : m));
  return brief(plan({ ...seen, members, ...change }, { ...defaultPolicy, ...policy }));
}

const away = { answers: false, heard: false } as const;
const unstarted = { ...away, started: false, unansweredForMs: 1_000, lag: undefined } as const;

describe("a limit holds to the last entry and the last millisecond", () => {
  test("lag limit: a learner is promoted with 1,000 entries to go, and not with one more", () => {
    const at = (lag: number): string => planned("ideal 3 | voters h1 h2 | learners h3", { lag });
    expect([at(1_000), at(1_001)]).toEqual(["promote h3", "wait learner h3"]);
  });

  test("stabilization: a learner is promoted once it has been healthy for so long", () => {
    const after = (healthyForMs: number): string =>
      planned("ideal 3 | voters h1 h2 | learners h3", { healthyForMs }, {}, { stabilizationMs: 2_000 });
    expect([after(1_999), after(2_000)]).toEqual(["wait learner h3", "promote h3"]);
  });

  test("nominee timeout: 60 s to start, where tolerance is left", () => {
    const after = (knownForMs: number): string =>
      planned("ideal 4 | voters h1 h2 h3 | learners h4", { ...unstarted, knownForMs });
    expect([after(59_999), after(60_000)]).toEqual(["wait learner h4", "remove h4 failed-learner pass-over"]);
  });

  test("nominee timeout at tolerance 0: 5 s to start, with another spare, or with two voters", () => {
    const after = (line: string, knownForMs: number): string => planned(line, { ...unstarted, knownForMs });
    for (const line of [
      "ideal 3 | voters h1 h2 | learners h3 | spares h4",
      "ideal 3 | voters h1 h2 | learners h3",
      "ideal 5 | voters h1 h2 h4? | learners h3 | spares h5",
    ]) {
      expect([line, after(line, 4_999), after(line, 5_000)]).toEqual([
        line,
        "wait learner h3",
        "remove h3 failed-learner pass-over",
      ]);
    }
  });

  test("sync timeout: a learner that the raft leader hears has 10 min", () => {
    const after = (ms: number): string =>
      planned("ideal 3 | voters h1 h2 | learners h3 | spares h4", { ...unstarted, heard: true, knownForMs: ms });
    expect([after(599_999), after(600_000)]).toEqual(["wait learner h3", "remove h3 failed-learner pass-over"]);
  });

  test("stall timeout: a learner that lags and stands still has 60 s; one within the lag limit has all the time", () => {
    const after = (lag: number, stalledForMs: number): string =>
      planned("ideal 3 | voters h1 h2 | learners h3 | spares h4", { lag, stalledForMs });
    expect([after(1_001, 59_999), after(1_001, 60_000)]).toEqual(["wait learner h3", "remove h3 failed-learner pass-over"]);
    expect(after(1_000, 3_600_000)).toBe("promote h3");
  });

  test("unanswered timeout: a voter whose agent lives is dead after 60 s of silence", () => {
    const after = (unansweredForMs: number): string =>
      planned("ideal 3 | voters h1 h2 h3 | spares h4", { ...away, unansweredForMs });
    expect([after(59_999), after(60_000)]).toEqual(["wait return h3", "nominate h4"]);
  });

  test("silence before removal: a surplus voter that fell silent goes after 6 s, when etcd has given up writing to it", () => {
    const after = (more: Partial<MemberSeen>): string => planned("ideal 1 | voters h1 h2 h3", more);
    expect(after({ ...away, unansweredForMs: 5_999 })).toBe("wait health");
    expect(after({ ...away, unansweredForMs: 6_000 })).toBe("remove h3 surplus");
    expect(after({ heard: false })).toBe("remove h3 surplus");
  });

  test("an open removal that must not be sent again is held for 120 s", () => {
    const open = (openForMs: number): string =>
      planned("ideal 1 | voters h1 h2 h3!", {}, { openStep: { op: "remove", agent: "h2", member: "id-h2", openForMs } });
    expect([open(119_999), open(120_000)]).toEqual(["wait open-step remove h2", "close remove h2"]);
  });

  test("size 0 is carried out once it has stood for 10 s", () => {
    const after = (askedForMs: number): string =>
      planned("ideal 3 | voters h1 h2 h3", {}, { closing: { askedForMs, closed: undefined } });
    expect([after(9_999), after(10_000)]).toEqual([expect.stringContaining("take-back"), "remove h3 surplus"]);
  });

  test("max seats: the ideal size is filled up to it, the standby included, and what is beyond it is let go", () => {
    const grown = (line: string, maxSeats: number): string => planned(line, {}, {}, { maxSeats, standbys: 1 });
    expect(grown("ideal 9 | voters h1 h2 h3 | spares h4 h5", 5)).toBe("nominate h4");
    expect(grown("ideal 9 | voters h1 h2 h3 | spares h4 h5", 4)).toBe("nominate h4 standby");
    expect(grown("ideal 9 | voters h1 h2 h3 | spares h4 h5", 3)).toMatch(/^settled 3\+0, .*at most 3 seats are filled/);
    expect(grown("ideal 9 | voters h1 h2 h3 h4 h5", 3)).toBe("remove h5 surplus");
  });
});

describe("what stops a nomination, whatever else is wanted", () => {
  test.each([
    ["it was passed over", "passed-over h4"],
    ["it leaves", "leaving h4"],
  ])("%s", (_, part) => {
    expect(brief(plan(cluster(`ideal 5 | voters h1 h2 h3 | spares h4 | ${part}`), defaultPolicy))).toMatch(/^settled 3\+0/);
    expect(brief(plan(cluster(`ideal 3 | voters h1 h2 h3! | spares h4 | ${part}`), defaultPolicy))).toBe("wait return h3");
  });

  test("the chooser is paused, also while a voter is dead, an agent leaves, or a step is open", () => {
    for (const part of ["voters h1 h2 h3! | spares h4", "voters h1 h2 h3 | leaving h3", "voters h1 h2 h3 | open remove h9"]) {
      expect(brief(plan(cluster(`ideal 3 | ${part} | paused by hand`), defaultPolicy))).toMatch(/^wait resume, then /);
    }
  });
});
