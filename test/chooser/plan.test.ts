import { describe, expect, test } from "vitest";
import { defaultPolicy, plan } from "../../src/chooser/index.ts";
import { cluster, say } from "../support/cluster.ts";
import { play } from "../support/model.ts";

/** The story ends as told; `settled` and the steps are those of test/support/cluster.ts. */
function tells(line: string, ...story: string[]): void {
  expect(play(line)).toEqual(story);
}

describe("rule 0: paused", () => {
  test("a paused chooser changes nothing and says what it would do", () => {
    expect(say("ideal 3 | voters h1 | spares h2 h3 | paused upgrade")).toBe("wait resume, then nominate h2");
  });
  test("a paused chooser with nothing to do says so", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | paused upgrade")).toBe("wait resume, then nothing");
  });
});

describe("rule 1: quorum first", () => {
  test("one of three answers: nothing may change, whatever is asked", () => {
    expect(say("ideal 3 | voters h1 h2! h3! | spares h4 h5 | leaving h1")).toBe("wait quorum 1/3");
  });
  test("two of four answer: that is no quorum", () => {
    expect(say("ideal 5 | voters h1 h2 h3! h4! | spares h5")).toBe("wait quorum 2/4");
  });
  test("a voter that only the raft leader hears does not count for this leader", () => {
    expect(say("ideal 3 | voters h1 h2& h3! | spares h4")).toBe("wait quorum 1/3");
  });
  test("a voter that answers this leader and that the raft leader does not hear does not count either", () => {
    const seen = cluster("ideal 3 | voters h1 h2 h3! | spares h4");
    const members = seen.members.map((m) => (m.agent === "h2" ? { ...m, heard: false } : m));
    expect(plan({ ...seen, members }, defaultPolicy)).toMatchObject({ waiting: { on: "quorum" } });
  });
  test("an empty member list is no quorum", () => {
    expect(say("ideal 3 | spares h4")).toBe("wait quorum 0/0");
  });
});

describe("rule 2: no space", () => {
  test("without space nothing can be recorded, so nothing is begun", () => {
    expect(say("ideal 3 | voters h1 h2 h3! | spares h4 | no-space")).toBe("wait space");
  });
});

describe("rule 3: an open step", () => {
  test("a removal that an earlier leader recorded is sent again", () => {
    expect(say("ideal 3 | voters h1 h2 h3 h4 | open remove h4")).toBe("send remove h4");
  });
  test("a removal that has happened is only closed", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | open remove h4")).toBe("close remove h4");
  });
  test("a removal that would cost quorum now is not sent again", () => {
    expect(say("ideal 1 | voters h1 h2 h3! | open remove h2 100")).toBe("wait open-step remove h2");
  });
  test("a removal that can not land any more does not hold up the cluster for ever", () => {
    expect(say("ideal 1 | voters h1 h2 h3! | open remove h2 120000")).toBe("close remove h2");
  });
  test("an open removal of a learner is always completed", () => {
    expect(say("ideal 3 | voters h1 h2 h3! | learners h4 | open remove h4")).toBe("send remove h4");
  });
  test("a promotion that may still land completes with a learner in sync", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3 | open promote h3")).toBe("send promote h3");
  });
  test("a promotion that may still land must not meet a dead learner: the learner is removed", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3! | open promote h3")).toBe("remove h3 failed-learner");
    expect(say("ideal 3 | voters h1 h2 | learners h3l | open promote h3")).toBe("remove h3 failed-learner pass-over");
  });
  test("a promotion that may still land must not make a voter of one that leaves", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3 | leaving h3 | open promote h3")).toBe("remove h3 leaving");
  });
  test("a promotion that may still land must not leave two voters when the third is gone", () => {
    expect(say("ideal 3 | voters h1 | learners h2 | open promote h2")).toBe("remove h2 surplus");
  });
  test("a promotion waits for a learner that is behind", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3~ | open promote h3")).toBe("wait learner h3");
  });
  test("a promotion that has happened, or lost its learner, is only closed", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | open promote h3")).toBe("close promote h3");
    expect(say("ideal 3 | voters h1 h2 | open promote h3")).toBe("close promote h3");
  });
  test("an addition is sent again while its agent is still there and nominated", () => {
    expect(say("ideal 3 | voters h1 h2 | spares h3 | nominees h3 | open add-learner h3")).toBe("send add-learner h3");
  });
  test("an addition that happened is only closed", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3+ | open add-learner h3")).toBe("close add-learner h3");
  });
  test("an addition whose volunteer is gone is dropped: a learner that still appears is removed by its own rule", () => {
    expect(say("ideal 3 | voters h1 h2 | nominees h3 | open add-learner h3")).toBe("close add-learner h3");
  });
});

describe("rule 4: learners without a future", () => {
  test("a stranger's learner does not keep the only slot", () => {
    expect(say("ideal 3 | voters h1 h2 | learners m9 | spares h3")).toBe("remove m9 unknown-learner");
  });
  test.each([
    ["is gone with its agent", "h3!"],
    ["runs, but its agent is gone", "h3x"],
  ])("a learner that %s is removed; the agent volunteers anew, so it is not passed over", (_, learner) => {
    expect(say(`ideal 3 | voters h1 h2 | learners ${learner} | spares h4`)).toBe("remove h3 failed-learner");
  });
  test.each([
    ["reports a failed server", "h3f"],
    ["reports lost data", "h3l"],
    ["crashes again and again, though the raft leader hears it", "h3f&"],
    ["lost its data, though the raft leader hears it", "h3l&"],
    ["has not answered for a minute", "h3%"],
    ["lags and does not move", "h3_"],
    ["never started", "h3-"],
  ])("a learner that %s is removed and its agent passed over", (_, learner) => {
    expect(say(`ideal 3 | voters h1 h2 | learners ${learner} | spares h4`)).toBe("remove h3 failed-learner pass-over");
  });
  test("a learner that restarts keeps its seat", () => {
    expect(say("ideal 4 | voters h1 h2 h3 | learners h4! | restarting h4")).toBe("wait learner h4");
  });
  test("a learner that restarts is not taken for one that stands still", () => {
    const seen = cluster("ideal 4 | voters h1 h2 h3 | learners h4! | restarting h4");
    const still = { ...seen, members: seen.members.map((m) => ({ ...m, stalledForMs: 120_000, unansweredForMs: 120_000 })) };
    expect(plan(still, defaultPolicy)).toMatchObject({ waiting: { on: "learner", agent: "h4" } });
  });
  test("a learner that is heard but never answers does not keep the only slot for ever", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3%& | spares h4")).toBe("wait learner h3");
    expect(say("ideal 3 | voters h1 h2 | learners h3§& | spares h4")).toBe("remove h3 failed-learner pass-over");
  });
  test("a learner that lags but moves is waited for", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3~ | spares h4")).toBe("wait learner h3");
  });
  test("a learner that answers but is not in the member list by name has not started", () => {
    const seen = cluster("ideal 3 | voters h1 h2 | learners h3");
    const unnamed = {
      ...seen,
      members: seen.members.map((m) => (m.role === "learner" ? { ...m, started: false, knownForMs: 0 } : m)),
    };
    expect(plan(seen, defaultPolicy)).toMatchObject({ step: { kind: "promote" } });
    expect(plan(unnamed, defaultPolicy)).toMatchObject({ waiting: { on: "learner", agent: "h3" } });
  });
  test("at tolerance 0 with another spare, a nominee has five seconds to start, not sixty", () => {
    const young = { ...defaultPolicy, nomineeTimeoutMs: 600_000 };
    const two = "ideal 3 | voters h1 h2 | learners h3- | spares h4";
    expect(say(two, young)).toBe("remove h3 failed-learner pass-over");
    expect(say("ideal 4 | voters h1 h2 h3 | learners h4- | spares h5", young)).toBe("wait learner h4");
  });
  test("one voter has time: without another spare its slow learner is not given up after five seconds", () => {
    expect(say("ideal 2 | voters h1 | learners h2-", { nomineeTimeoutMs: 600_000 })).toBe("wait learner h2");
  });
  test("a learner that receives a large snapshot is heard, so it is not given up for not having started", () => {
    const seen = cluster("ideal 3 | voters h1 h2 | learners h3- | spares h4");
    const heard = { ...seen, members: seen.members.map((m) => ({ ...m, heard: true })) };
    expect(plan(heard, defaultPolicy)).toMatchObject({ waiting: { on: "learner", agent: "h3" } });
  });
});

describe("rule 5: nominations follow the seats", () => {
  test("a voter whose nomination was deleted is nominated again, never removed", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | unnominated h2")).toBe("renominate h2");
  });
  test("a nomination for an absent agent is not written: nobody knows its instance", () => {
    expect(say("ideal 3 | voters h1 h2 h3! | unnominated h3")).toBe("wait return h3");
  });
  test("a learner without nomination is removed", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3 | unnominated h3")).toBe("remove h3 surplus");
  });
  test("a nomination for a seat that is gone is deleted, and not taken for a new one", () => {
    expect(say("ideal 5 | voters h1 h2 h3 | stale h4 | spares h4 h5")).toBe("withdraw h4");
  });
  test.each([
    ["does not volunteer", "nominees h4"],
    ["leaves", "nominees h4 | spares h4 | leaving h4"],
    ["was passed over", "nominees h4 | spares h4 | passed-over h4"],
    ["failed the pre-flight", "nominees h4 | refused h4"],
  ])("a nomination of an agent that %s is deleted", (_, parts) => {
    expect(say(`ideal 5 | voters h1 h2 h3 | ${parts}`)).toBe("withdraw h4");
  });
  test("a nomination that no seat is left for is deleted", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | spares h4 | nominees h4")).toBe("withdraw h4");
  });
  test("two voters of one agent do not take the nomination from each other for ever", () => {
    const seen = cluster("ideal 3 | voters h1 h2 h3 | unnominated h3");
    const twice = { ...seen, members: seen.members.map((m) => (m.agent === "h3" ? { ...m, agent: "h2" } : m)) };
    expect(plan(twice, defaultPolicy)).toHaveProperty("settled");
  });
  test("of two seats of one agent, the learner that its nomination does not name goes", () => {
    const seen = cluster("ideal 3 | voters h1 h2 h3 | learners h4 | unnominated h4");
    const twice = { ...seen, members: seen.members.map((m) => (m.agent === "h4" ? { ...m, agent: "h3" } : m)) };
    expect(plan(twice, defaultPolicy)).toMatchObject({ step: { kind: "remove", member: "id-h4" } });
  });
});

describe("rule 6: leaving", () => {
  test("a leaver is replaced before it is let go", () => {
    tells(
      "ideal 3 | voters h1 h2 h3 | spares h4 | leaving h3",
      "nominate h4",
      "add-learner h4",
      "promote h4",
      "remove h3 leaving",
      "settled 3+0, can lose 1",
    );
  });
  test("the parity learner counts as the replacement", () => {
    tells(
      "ideal 4 | voters h1 h2 h3 | learners h4 | leaving h2",
      "promote h4",
      "remove h2 leaving",
      "settled 3+0, can lose 1; 1 more volunteer is needed for the ideal size of 4",
    );
  });
  test("two agents, the only voter leaves: the learner takes the vote and the raft leadership, then it goes", () => {
    tells(
      "ideal 2 | voters h1 | learners h2 | leaving h1",
      "promote h2",
      "move-leader h1 h2",
      "remove h1 leaving",
      "settled 1+0, can lose 0; 1 more volunteer is needed for the ideal size of 2",
    );
  });
  test("three voters, one leaves, no spare: the leaver goes first, and one voter and a learner are left", () => {
    tells(
      "ideal 3 | voters h1 h2 h3 | leaving h3",
      "remove h3 leaving",
      "remove h2 surplus",
      "nominate h2 standby",
      "add-learner h2",
      "settled 1+1, can lose 0; 1 more volunteer is needed for the ideal size of 3",
    );
  });
  test("the raft leader that leaves hands over first, to one that stays", () => {
    expect(say("ideal 3 | voters h1* h2 h3 | leaving h1 h2")).toBe("remove h2 leaving");
    expect(say("ideal 3 | voters h1* h2 h3 | leaving h1")).toBe("move-leader h1 h2");
  });
  test("a leaving learner is removed at once", () => {
    expect(say("ideal 4 | voters h1 h2 h3 | learners h4 | leaving h4")).toBe("remove h4 leaving");
  });
  test("all leave: nobody is removed, the last one keeps its seat", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | leaving h1 h2 h3")).toBe("wait stayer");
    expect(say("ideal 3 | voters h1 | learners h2 | leaving h1 h2")).toBe("wait stayer");
    expect(say("ideal 3 | voters h1 | leaving h1 | refused h2")).toBe("wait stayer");
  });
  test("the only voter leaves while a volunteer is being proved: it is waited for", () => {
    expect(say("ideal 3 | voters h1 | leaving h1 | pending h2")).toBe("wait preflight h2");
  });
  test("a leaver does not go while quorum hangs on it", () => {
    expect(say("ideal 3 | voters h1 h2? h3 | leaving h3")).toBe("wait return h2");
  });
  test("the only one that stays is silent: nobody goes", () => {
    expect(say("ideal 3 | voters h1? h2 h3 | leaving h2 h3")).toBe("wait return h1");
  });
  test("one is dead and one leaves, no spare: the dead one goes first, as quorum would hang on it", () => {
    tells(
      "ideal 3 | voters h1 h2! h3 | leaving h3",
      "remove h2 dead",
      "remove h3 leaving",
      "settled 1+0, can lose 0; 2 more volunteers are needed for the ideal size of 3",
    );
  });
  test("one of five is dead and one leaves, no spare: the dead one goes first, which costs no tolerance", () => {
    tells(
      "ideal 5 | voters h1 h2 h3 h4 h5! | leaving h4",
      "remove h5 dead",
      "remove h4 leaving",
      "settled 3+0, can lose 1; 2 more volunteers are needed for the ideal size of 5",
    );
  });
  test("one is dead and one leaves with one spare: the spare takes the leaver's vote, the dead seat stays for its return", () => {
    tells(
      "ideal 5 | voters h1 h2 h3 h4! h5 | leaving h5 | spares h6",
      "nominate h6",
      "add-learner h6",
      "promote h6",
      "remove h5 leaving",
      "wait return h4",
    );
  });
  test("a leave does not wait until a new leader has settled", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | leaving h3 | leader-for 0")).toBe("remove h3 leaving");
  });
  test("a leaver that is gone already is removed like a dead one, its agent not passed over", () => {
    expect(say("ideal 3 | voters h1 h2 h3! | leaving h3")).toBe("remove h3 leaving");
  });
});

describe("rule 7: dead voters", () => {
  test("a dead voter is replaced by a learner first", () => {
    tells(
      "ideal 3 | voters h1 h2 h3! | spares h4",
      "nominate h4",
      "add-learner h4",
      "remove h3 dead",
      "promote h4",
      "settled 3+0, can lose 1",
    );
  });
  test("if the dead one returns first, nothing was lost", () => {
    expect(say("ideal 3 | voters h1 h2 h3 | learners h4~ | spares")).toBe("remove h4 surplus");
  });
  test("under etcd's strict check three voters lose the dead one first, once a spare is nominated", () => {
    expect(play("ideal 3 | voters h1 h2 h3! | spares h4", { strictReconfigCheck: true })).toEqual([
      "nominate h4",
      "remove h3 dead",
      "add-learner h4",
      "promote h4",
      "settled 3+0, can lose 1",
    ]);
  });
  test("under etcd's strict check five voters with one dead still take the learner first", () => {
    expect(say("ideal 5 | voters h1 h2 h3 h4 h5! | spares h6 | nominees h6", { strictReconfigCheck: true })).toBe(
      "add-learner h6",
    );
  });
  test("a dead voter is removed only when the learner is in sync", () => {
    expect(say("ideal 3 | voters h1 h2 h3! | learners h4~")).toBe("wait learner h4");
  });
  test("two of five dead with two spares: replaced one after the other", () => {
    tells(
      "ideal 5 | voters h1 h2 h3 h4! h5! | spares h6 h7",
      "nominate h6",
      "add-learner h6",
      "remove h5 dead",
      "promote h6",
      "nominate h7",
      "add-learner h7",
      "remove h4 dead",
      "promote h7",
      "settled 5+0, can lose 2",
    );
  });
  test("a voter that restarts keeps its seat", () => {
    expect(say("ideal 3 | voters h1 h2 h3! | spares h4 | restarting h3")).toBe("wait return h3");
  });
  test("a voter that is silent for a second is not dead", () => {
    expect(say("ideal 3 | voters h1 h2 h3? | spares h4")).toBe("wait return h3");
  });
  test("a voter that the raft leader hears is not dead, however silent to this leader", () => {
    expect(say("ideal 3 | voters h1 h2 h3%& | spares h4")).toBe("wait return h3");
  });
  test("a voter that is silent for a minute is dead although its agent lives, and passed over", () => {
    expect(say("ideal 3 | voters h1 h2 h3% | learners h4")).toBe("remove h3 dead pass-over");
  });
  test("a voter without its data comes back as a new member, also where no other spare is", () => {
    tells(
      "ideal 3 | voters h1 h2 h3l",
      "remove h3 dead",
      "nominate h3",
      "add-learner h3",
      "promote h3",
      "settled 3+0, can lose 1",
    );
  });
  test("an announced restart does not save a seat whose data is lost", () => {
    expect(say("ideal 3 | voters h1 h2 h3l | restarting h3")).toBe("remove h3 dead");
  });
  test("a stranger's dead voter is never removed", () => {
    expect(say("ideal 3 | voters m1 m2 m3! | spares h4")).toBe("wait return m3");
  });
  test("a dead voter that is not needed is removed without waiting for the health of the others", () => {
    expect(say("ideal 1 | voters h1:10 h2:10 h3! | leader-for 0")).toBe("remove h3 dead");
  });
  test("a dead voter whose replacement is being proved is not given up for good", () => {
    expect(say("ideal 5 | voters h1 h2 h3 h4! h5! | pending h6")).toBe("wait preflight h6");
  });
});

describe("rule 8: shrinking", () => {
  test("the surplus learner goes before any voter", () => {
    expect(say("ideal 1 | voters h1 h2 h3 | learners h4")).toBe("remove h4 surplus");
  });
  test("five become three, one by one", () => {
    tells("ideal 3 | voters h1 h2 h3 h4 h5", "remove h5 surplus", "remove h4 surplus", "settled 3+0, can lose 1");
  });
  test("five become four: three voters and the parity learner", () => {
    tells(
      "ideal 4 | voters h1 h2 h3 h4 h5",
      "remove h5 surplus",
      "remove h4 surplus",
      "nominate h4 standby",
      "add-learner h4",
      "settled 3+1, can lose 1",
    );
  });
  test("three become one", () => {
    tells("ideal 1 | voters h1 h2 h3", "remove h3 surplus", "remove h2 surplus", "settled 1+0, can lose 0");
  });
  test("the raft leader hands over before it is let go", () => {
    expect(say("ideal 1 | voters h1^1 h2*^-1 h3")).toBe("move-leader h2 h1");
  });
  test("a new leader removes nobody before it has led for a session TTL", () => {
    expect(say("ideal 3 | voters h1 h2 h3 h4 h5 | leader-for 9999")).toBe("wait leadership");
    expect(say("ideal 3 | voters h1 h2 h3 | learners h4 | leader-for 9999")).toBe("wait leadership");
    expect(say("ideal 3 | voters h1 h2 h3 h4 h5 | leader-for 10000")).toBe("remove h5 surplus");
  });
  test("nobody is let go before the others were healthy for five seconds", () => {
    expect(say("ideal 3 | voters h1 h2 h3:4999 h4 h5")).toBe("wait health");
    expect(say("ideal 3 | voters h1 h2 h3:5000 h4 h5")).toBe("remove h5 surplus");
  });
  test("the one that goes need not have been healthy for long", () => {
    expect(say("ideal 3 | voters h1 h2 h3 h4 h5:10")).toBe("remove h5 surplus");
  });
  test("of five to three, the silent one goes first", () => {
    expect(say("ideal 3 | voters h1 h2? h3 h4 h5")).toBe("remove h2 surplus");
  });
  test("a voter that restarts keeps its seat, and nobody else goes while it is away", () => {
    expect(say("ideal 3 | voters h1 h2 h3 h4 h5! | restarting h5")).toBe("wait return h5");
  });
  test("two voters are left when the third is gone for good: they become one and a learner", () => {
    tells(
      "ideal 3 | voters h1 h2",
      "remove h2 surplus",
      "nominate h2 standby",
      "add-learner h2",
      "settled 1+1, can lose 0; 1 more volunteer is needed for the ideal size of 3",
    );
  });
  test("two voters do not shrink while a third is being proved", () => {
    expect(say("ideal 3 | voters h1 h2 | pending h3")).toBe("wait preflight h3");
  });
  test("a stranger's voters are never let go, and status says so", () => {
    expect(say("ideal 1 | voters m1 m2 m3")).toBe(
      "settled 3+0, can lose 1; 3 members that Quorate did not add and never removes: m1, m2 and m3",
    );
  });
  test("our own voters go where a stranger's stay", () => {
    tells("ideal 3 | voters m1 m2 m3 h4 h5", "remove h5 surplus", "remove h4 surplus", "settled 3+0, can lose 1");
  });
  test("with two learners, which only a later etcd allows, the worse one goes", () => {
    expect(say("ideal 5 | voters h1 h2 h3 | learners h4 h5~")).toMatch(/^remove h[45] surplus$/);
  });
});

describe("rules 9 and 10: growing", () => {
  test("one, two, three: each as a learner first", () => {
    tells(
      "ideal 3 | voters h1 | spares h2 h3",
      "nominate h2",
      "add-learner h2",
      "promote h2",
      "nominate h3",
      "add-learner h3",
      "promote h3",
      "settled 3+0, can lose 1",
    );
  });
  test("two agents are one voter and a parity learner, not two voters", () => {
    tells(
      "ideal 3 | voters h1 | spares h2",
      "nominate h2 standby",
      "add-learner h2",
      "settled 1+1, can lose 0; 1 more volunteer is needed for the ideal size of 3",
    );
  });
  test("the parity learner is promoted only when a third has passed the pre-flight", () => {
    expect(say("ideal 3 | voters h1 | learners h2 | pending h3")).toBe("wait preflight h3");
    expect(say("ideal 3 | voters h1 | learners h2 | spares h3")).toBe("promote h2");
  });
  test("a learner whose agent is away is not promoted, however well its server runs", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3x | restarting h3")).toBe("wait learner h3");
  });
  test("a learner that is not in sync is not promoted", () => {
    expect(say("ideal 3 | voters h1 h2 | learners h3~")).toBe("wait learner h3");
    expect(say("ideal 3 | voters h1 h2 | learners h3+")).toBe("wait learner h3");
    expect(say("ideal 3 | voters h1 h2 | learners h3:999", { stabilizationMs: 1_000 })).toBe("wait learner h3");
  });
  test("a learner that takes no part is not promoted, however far it was when it was heard last", () => {
    const seen = cluster("ideal 3 | voters h1 h2 | learners h3");
    expect(plan(seen, defaultPolicy)).toMatchObject({ step: { kind: "promote", agent: "h3" } });
    for (const silent of [{ heard: false }, { answers: false }]) {
      const members = seen.members.map((m) => (m.agent === "h3" ? { ...m, ...silent } : m));
      expect(plan({ ...seen, members }, defaultPolicy)).toMatchObject({ waiting: { on: "learner", agent: "h3" } });
    }
  });
  test("never a second learner", () => {
    expect(say("ideal 7 | voters h1 h2 h3 | learners h4~ | spares h5 h6 h7")).toBe("wait learner h4");
  });
  test("a dead voter does not block growing", () => {
    expect(say("ideal 5 | voters h1 h2 h3! | spares h4 h5")).toBe("nominate h4");
  });
  test("a nominee that waits for its seat comes before a better ranked one", () => {
    expect(say("ideal 3 | voters h1 h2 | spares h3 h4 | nominees h4")).toBe("add-learner h4");
  });
  test("one passed over, or refused by the pre-flight, is not nominated", () => {
    expect(say("ideal 3 | voters h1 h2 | spares h3 h4 | passed-over h3")).toBe("nominate h4");
    expect(say("ideal 4 | voters h1 h2 h3 | refused h4")).toBe(
      "settled 3+0, can lose 1; h4 failed the pre-flight: its port is closed; 1 more volunteer is needed for the ideal size of 4",
    );
  });
  test("two are two voters where the policy says so", () => {
    expect(play("ideal 2 | voters h1 | spares h2", { evenVoters: true })).toEqual([
      "nominate h2",
      "add-learner h2",
      "promote h2",
      "settled 2+0, can lose 0",
    ]);
  });
});

describe("rule 11: a standby", () => {
  test("one more is kept in sync where the policy asks for it", () => {
    expect(play("ideal 3 | voters h1 h2 h3 | spares h4 h5", { standbys: 1 })).toEqual([
      "nominate h4 standby",
      "add-learner h4",
      "settled 3+1, can lose 1",
    ]);
  });
  test("the parity learner is the standby: one learner slot", () => {
    expect(say("ideal 4 | voters h1 h2 h3 | learners h4 | spares h5", { standbys: 1 })).toBe("settled 3+1, can lose 1");
  });
  test("a standby takes a dead voter's place at once", () => {
    expect(play("ideal 3 | voters h1 h2 h3! | learners h4", { standbys: 1 })).toEqual([
      "remove h3 dead",
      "promote h4",
      "settled 3+0, can lose 1",
    ]);
  });
  test("no standby beyond the seats that are filled at most", () => {
    const full = "ideal 7 | voters h1 h2 h3 h4 h5 h6 h7";
    expect(say(`${full} | learners h8`, { standbys: 1 })).toBe("remove h8 surplus");
    expect(say(`${full} | spares h8`, { standbys: 1 })).toBe("settled 7+0, can lose 3");
    expect(say("ideal 3 | voters h1 h2 h3 | spares h4", { standbys: 1, maxSeats: 3 })).toBe("settled 3+0, can lose 1");
  });
});

describe("rule 12: settled", () => {
  test("three of three can lose one", () => {
    expect(plan(cluster("ideal 3 | voters h1 h2 h3"), defaultPolicy)).toEqual({
      settled: { voters: 3, learners: 0, failureTolerance: 1, blockedBy: undefined },
      because: "3 members of 3",
    });
  });
  test("it says what the ideal size lacks", () => {
    expect(say("ideal 5 | voters h1 h2 h3")).toBe(
      "settled 3+0, can lose 1; 2 more volunteers are needed for the ideal size of 5",
    );
    expect(say("ideal 9 | voters h1 h2 h3 h4 h5 h6 h7 | spares h8")).toBe(
      "settled 7+0, can lose 3; at most 7 seats are filled (max seats)",
    );
    expect(say("ideal 3 | voters h1 | learners h2 | spares h3 | passed-over h3")).toBe(
      "settled 1+1, can lose 0; h3 was passed over: it did not start; 1 more volunteer is needed for the ideal size of 3",
    );
  });
  test("it is not settled while a voter is away", () => {
    expect(say("ideal 3 | voters h1 h2 h3? | spares h4")).toBe("wait return h3");
  });
});

test("no sentence carries a running figure: it is written to etcd whenever it changes", () => {
  const lines = [
    "ideal 3 | voters h1 h2 h3% | spares h4",
    "ideal 1 | voters h1 h2:10 h3",
    "ideal 3 | voters h1 h2 | learners h3~",
    "ideal 3 | voters h1 h2 h3 h4 | leader-for 5",
    "ideal 1 | voters h1 h2 h3! | open remove h2 100",
  ];
  for (const line of lines) {
    const seen = cluster(line);
    const later = {
      ...seen,
      leaderForMs: seen.leaderForMs + 1,
      openStep: seen.openStep && { ...seen.openStep, openForMs: seen.openStep.openForMs + 1 },
      members: seen.members.map((m) => ({
        ...m,
        healthyForMs: m.healthyForMs + 1,
        unansweredForMs: m.unansweredForMs + 1,
        knownForMs: m.knownForMs + 1,
        lag: m.lag === undefined ? undefined : m.lag + 1,
      })),
    };
    expect(plan(later, defaultPolicy)).toEqual(plan(seen, defaultPolicy));
  }
});
