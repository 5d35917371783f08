// What must not go unnoticed: one way or more to break each rule of the chooser, each clause of the gate, each re-check before a
// member call. `npm run mutants` breaks one at a time and runs the tests, then the simulation, until something fails.

/**
 * @typedef {object} Mutant
 * @property {string} breaks the rule that does not hold any more, in words
 * @property {string} file
 * @property {string} from stands exactly once in the file
 * @property {string} to
 */

/** @type {(file: string, list: readonly (readonly [breaks: string, from: string, to: string])[]) => Mutant[]} */
const all = (file, list) => list.map(([breaks, from, to]) => ({ breaks, file, from, to }));

/** Pure: the chooser's own tests, then the simulation. */
export const ofThePlan = [
  ...all("src/chooser/plan.ts", [
    ["rule 0: a pause stops nothing", "if (seen.paused !== undefined) {", "if (seen.paused === 'never') {"],
    ["rule 0: a pause does not say what it holds back", "? wouldBe.step : undefined", "? undefined : undefined"],
    ["rule 1 is dropped: steps without quorum", "  quorumFirst,\n", ""],
    ["rule 2 is dropped: steps without space", "  spaceFirst,\n", ""],
    ["rule 3 is dropped: open steps are forgotten", "  openStepFirst,\n", ""],
    ["rule 4 is dropped: bad learners keep the slot", "  badLearner,\n", ""],
    ["rule 5 is dropped: nominations do not follow", "  nominationsFollow,\n", ""],
    ["rule 6 is dropped: leavers stay", "  leaversGo,\n", ""],
    ["rule 7 is dropped: the dead are not replaced", "  deadAreReplaced,\n", ""],
    ["rule 8 is dropped: no surplus goes", "  surplusGoes,\n", ""],
    ["rule 9 is dropped: nobody is promoted", "  readyArePromoted,\n", ""],
    ["rule 10 is dropped: no seat is filled", "  seatsAreFilled,\n", ""],
    ["rule 11 is dropped: no standby", "  standbyIsKept,\n", ""],
    ["rule 12: unwanted nominations stay", "  unwantedAreWithdrawn,\n", ""],
    ["order: the dead before the leavers", "  leaversGo,\n  deadAreReplaced,\n", "  deadAreReplaced,\n  leaversGo,\n"],
    [
      "order: the surplus before the dead",
      "  deadAreReplaced,\n  closingIsHeld,\n  surplusGoes,\n",
      "  surplusGoes,\n  deadAreReplaced,\n  closingIsHeld,\n",
    ],
    [
      "order: an open step before quorum",
      "  quorumFirst,\n  spaceFirst,\n  openStepFirst,\n",
      "  openStepFirst,\n  spaceFirst,\n  quorumFirst,\n",
    ],
  ]),
  ...all("src/chooser/quorum.ts", [
    ["quorum: half is enough", "Math.floor(voters / 2) + 1", "Math.ceil(voters / 2)"],
    ["quorum: more than quorum is asked for", "return healthy >= quorumOf(voters);", "return healthy > quorumOf(voters);"],
    ["failure tolerance is one too high", "return healthy - quorumOf(voters);", "return healthy - quorumOf(voters) + 1;"],
  ]),
  ...all("src/chooser/rules-first.ts", [
    [
      "rule 1: all voters have to be healthy",
      "if (keepsQuorum(voters, healthy)) return undefined;",
      "if (healthy === voters) return undefined;",
    ],
    [
      "rule 3: an addition that happened is sent again",
      "return complete(open, false, `the recorded addition of ${name} has happened`);",
      "return complete(open, true, `the recorded addition of ${name} has happened`);",
    ],
    ["rule 3: an addition is sent beside a learner", "const wanted = s.learners.length === 0 && ", "const wanted = "],
    ["rule 3: an addition is sent without nomination", "if (wanted && nominated)", "if (wanted)"],
    [
      "rule 3: a promotion is sent to a learner that is not ready",
      "if (isReady(member, s.policy)) return complete(open, true",
      "if (member.started) return complete(open, true",
    ],
    [
      "rule 3: a promotion may meet a learner given up",
      "if (reason !== undefined) {\n    const cause",
      "if (reason === leaves) {\n    const cause",
    ],
    [
      "rule 3: a removal is sent although it costs quorum",
      'if (member.role === "learner" || safeWithout(s, member)) {',
      "if (member.id !== '') {",
    ],
    [
      "rule 3: a removal that cannot be sent is closed at once",
      "if (open.openForMs >= s.policy.openStepTimeoutMs) {",
      "if (open.openForMs >= 0) {",
    ],
    [
      "rule 3: a removal that cannot be sent is never closed",
      "if (open.openForMs >= s.policy.openStepTimeoutMs) {",
      "if (open.openForMs < 0) {",
    ],
  ]),
  ...all("src/chooser/rules-seats.ts", [
    [
      "rule 4: a learner nobody knows stays",
      "const stranger = s.learners.find((m) => m.agent === undefined);",
      "const stranger = s.learners.find((m) => m.agent === '');",
    ],
    ["rule 4: a dead learner stays", "if (dead !== undefined) return dead;", ""],
    ["rule 4: a failed learner stays", 'if (m.report === "failed") return "reports that its server failed";', ""],
    ["rule 4: a learner that lost its data stays", 'if (m.report === "lost-data") return "has lost its data";', ""],
    [
      "rule 4: a learner that never starts stays",
      "if (!m.started && m.knownForMs >= nomineeTimeout(m, s))",
      "if (!m.started && m.knownForMs < 0)",
    ],
    [
      "rule 4: a learner that lags and stands still stays",
      "m.lag > policy.maxLag && m.stalledForMs >= policy.stallTimeoutMs",
      "m.lag > policy.maxLag && m.stalledForMs < 0",
    ],
    [
      "rule 4: a learner that moves is given up for lagging",
      "m.lag > policy.maxLag && m.stalledForMs >= policy.stallTimeoutMs",
      "m.lag > policy.maxLag",
    ],
    [
      "rule 4: a learner that never answers stays",
      "if (m.unansweredForMs >= policy.syncTimeoutMs)",
      "if (m.unansweredForMs < 0)",
    ],
    [
      "rule 4: a learner without agent stays",
      'if (!m.agentLive && !(m.agent !== undefined && seen.restarting.includes(m.agent))) return "has no agent any more";',
      "",
    ],
    [
      "rule 4: who is given up is not passed over",
      'return remove(learner, "failed-learner", `learner ${nameOf(learner)} ${reason}`, learner.agentLive);',
      'return remove(learner, "failed-learner", `learner ${nameOf(learner)} ${reason}`, false);',
    ],
    [
      "rule 4: who lost its session for a moment is passed over",
      'return remove(learner, "failed-learner", `learner ${nameOf(learner)} ${reason}`, learner.agentLive);',
      'return remove(learner, "failed-learner", `learner ${nameOf(learner)} ${reason}`, true);',
    ],
    [
      "rule 4: at tolerance 0 the long timeout counts",
      "return urgent ? Math.min(urgentNomineeTimeoutMs, nomineeTimeoutMs) : nomineeTimeoutMs;",
      "return nomineeTimeoutMs;",
    ],
    ["rule 4: a learner that receives a snapshot is given up", "if (m.heard === true) return syncTimeoutMs;", ""],
    [
      "rule 5: a nomination whose seat is gone stays",
      'if (member !== undefined) return act({ kind: "withdraw", agent }, `the seat of ${agent} is gone`);',
      "",
    ],
    [
      "rule 5: a nomination without volunteer stays",
      'if (volunteer === undefined) return "does not volunteer";',
      "if (volunteer === undefined) return undefined;",
    ],
    ["rule 5: a nominee that leaves stays nominated", 'if (leaving.includes(agent)) return "leaves";', ""],
    [
      "rule 5: a nominee that was passed over stays nominated",
      'if (passedOver.some((p) => p.agent === agent)) return "was passed over";',
      "",
    ],
    [
      "rule 5: a voter without nomination is removed",
      'if (m.role === "learner" && (nomination === undefined || second)) {',
      "if (nomination === undefined || second) {",
    ],
    [
      "rule 5: a learner without nomination stays",
      'if (m.role === "learner" && (nomination === undefined || second)) {',
      'if (m.role === "learner" && second) {',
    ],
    [
      "rule 5: a voter's lost nomination is not written again",
      "if (nomination?.member === m.id) continue;",
      'if (m.role === "voter" || nomination?.member === m.id) continue;',
    ],
  ]),
  ...all("src/chooser/rules-voters.ts", [
    [
      "rule 6: who leaves is not replaced first",
      "  if (s.staying.length < s.target.voters) {\n    const next = successor(s, why, false);",
      "  if (s.staying.length < 0) {\n    const next = successor(s, why, false);",
    ],
    [
      "rule 6: a leaver goes although quorum would go with it",
      "const victim = s.leavers.find((m) => safeWithout(s, m));",
      "const victim = s.leavers[0];",
    ],
    ["rule 6: the last one may leave", "if (nobodyStays(s)) return wait", "if (s.seen.planner === '') return wait"],
    [
      "rule 6: nobody waits for a pre-flight that may replace a leaver",
      "if (s.staying.length < s.hoped.voters && s.pending.length > 0) {",
      "if (s.staying.length < 0) {",
    ],
    ["rule 6: goes although nobody that stays takes part", "if (left.length === 0) {", "if (left.length < 0) {"],
    ["rule 7: a dead voter is removed without replacement", "if (deathsCostTolerance(s))", "if (s.dead.length > 0)"],
    [
      "rule 7: the dead stay although without them the others survive more",
      "if (deathsCostTolerance(s))",
      "if (s.dead.length < 0)",
    ],
    [
      "rule 7: the dead are removed before there is a replacement",
      'const next = successor(s, why, false);\n  if (next !== undefined) {\n    if (!("ready" in next)) return next;\n    const name',
      'if (safeWithout(s, first)) return bury(s, first, why);\n  const next = successor(s, why, false);\n  if (next !== undefined) {\n    if (!("ready" in next)) return next;\n    const name',
    ],
    [
      "rule 7: with an odd number the promotion comes before the removal",
      "return s.voters.length % 2 === 1 || s.voters.length >= s.target.voters;",
      "return false;",
    ],
    [
      "rule 8: a voter that restarts is let go",
      "return m.agent !== undefined && !s.seen.restarting.includes(m.agent);",
      "return m.agent !== undefined;",
    ],
    [
      "rule 8: a stranger's voter is let go",
      "return m.agent !== undefined && !s.seen.restarting.includes(m.agent);",
      "return m.agent === undefined || !s.seen.restarting.includes(m.agent);",
    ],
    ["rule 8: a new leader lets go at once", "if (s.seen.leaderForMs < s.policy.settleMs) {", "if (s.seen.leaderForMs < 0) {"],
    ["rule 8: the health of the others is not asked for", "m.healthyForMs >= forMs", "m.healthyForMs >= 0"],
    [
      "rule 8: shrinks while another is missing",
      "if (takesPart(victim) ? steady.length === others.length : keepsQuorum(others.length, steady.length)) {",
      "if (others.length >= 0) {",
    ],
    [
      "rule 8: who fell silent is let go while etcd still writes to it",
      "if (victim.answers || victim.unansweredForMs >= silenceBeforeRemovalMs) return undefined;",
      "return undefined;",
    ],
    [
      "rule 8: shrinks for a pre-flight without verdict",
      "if (!learnerFirst && s.staying.length <= s.hoped.voters) {",
      "if (!learnerFirst && s.staying.length < 0) {",
    ],
    [
      "rule 8: the standby is surplus",
      "const standby = s.policy.standbys > 0 && s.target.seats < s.policy.maxSeats;",
      "const standby = s.policy.standbys < 0;",
    ],
    ["rule 8: the parity learner is surplus", "s.target.seats > s.target.voters || standby", "standby"],
  ]),
  ...all("src/chooser/rules-size.ts", [
    [
      "rule 9: a learner that is not ready is promoted",
      "return isReady(learner, s.policy)\n    ? promote",
      "return learner.started\n    ? promote",
    ],
    [
      "rule 9: one voter too many is promoted",
      "if (learner === undefined || s.staying.length >= target.voters) return undefined;",
      "if (learner === undefined || s.staying.length > target.voters) return undefined;",
    ],
    [
      "rule 10: one seat too many",
      "if (seats >= s.target.seats || s.learners.length > 0) return undefined;",
      "if (seats > s.target.seats || s.learners.length > 0) return undefined;",
    ],
    [
      "rule 10: one seat too few",
      "if (seats >= s.target.seats || s.learners.length > 0) return undefined;",
      "if (seats + 1 >= s.target.seats || s.learners.length > 0) return undefined;",
    ],
    [
      "rule 11: a standby beyond the most seats",
      "seats >= s.policy.maxSeats) return undefined;",
      "seats > s.policy.maxSeats) return undefined;",
    ],
    ["rule 12: settled while voters are absent", "if (absent.length > 0) {", "if (absent.length < 0) {"],
    ["rule 12: settled while a pre-flight has no verdict", "if (seats < wanted && s.pending.length > 0) {", "if (seats < 0) {"],
  ]),
  ...all("src/chooser/steps.ts", [
    [
      "raft leadership stays where it is let go",
      "if (!m.raftLeader || !m.answers || to === undefined)",
      "if (m.id !== '' || to === undefined)",
    ],
    [
      "raft leadership moves to whoever restarts",
      "other !== m && takesPart(other) && !restarting(other)",
      "other !== m && takesPart(other)",
    ],
    ["an agent with a broken server is asked again at once", '!leaving && m.agentLive && m.report !== "lost-data"', "false"],
    ["learners are added without nomination", "if (s.seen.nominations.some((n) => n.agent === agent)) {", "if (agent !== '') {"],
    [
      "with etcd's strict check the dead are not removed first",
      "if (dead !== undefined && strictCheckRefusesAdd(s)) {",
      "if (dead === undefined && strictCheckRefusesAdd(s)) {",
    ],
  ]),
  ...all("src/chooser/dead.ts", [
    [
      "dead: whoever answers may be dead",
      "m.answers || m.heard === true) return undefined;",
      "m.heard === true) return undefined;",
    ],
    [
      "dead: whoever the raft leader hears may be dead",
      "m.answers || m.heard === true) return undefined;",
      "m.answers) return undefined;",
    ],
    ["dead: an announced restart keeps no seat", "if (seen.restarting.includes(m.agent)) return undefined;", ""],
    ["dead: lost data is waited for", 'if (m.report === "lost-data") return "has lost its data";', ""],
    ["dead: an expired session is not enough", 'if (!m.agentLive) return "is gone with its agent";', ""],
    ["dead: silence is enough at once", "m.unansweredForMs >= policy.unansweredTimeoutMs ?", "m.unansweredForMs >= 0 ?"],
    ["dead: silence is never enough", "m.unansweredForMs >= policy.unansweredTimeoutMs ?", "m.unansweredForMs < 0 ?"],
  ]),
  ...all("src/chooser/rules-closing.ts", [
    ["size 0: a closed cluster goes on", "if (last === undefined || !seen", "if (last !== '' || !seen"],
    ["size 0: whoever says so has closed it", ' || !seen.members.every((m) => m.agent === last && m.role === "voter")', ""],
    ["size 0: it is begun beside strangers", "if (strangers.length > 0) {", "if (strangers.length > 99) {"],
    [
      "size 0: it is not held",
      "if (closing === undefined || s.closes) return undefined;",
      "if (closing !== null) return undefined;",
    ],
    ["size 0: closed although its agent is gone", "if (!last.agentLive)", "if (last.agent === '')"],
  ]),
  ...all("src/chooser/survey.ts", [
    ["size 0: carried out at once", "given.closing.askedForMs >= asked.closeAfterMs && ", ""],
    ["size 0: carried out beside strangers", " && strangersIn(given).length === 0", ""],
    ["size 0: a restart is waited for", "return { ...seen, restarting: [] };", "return seen;"],
    ["size 0: a standby is kept", "const policy = closes ? { ...asked, standbys: 0 as const } : asked;", "const policy = asked;"],
    [
      "size 0: the former size is kept",
      "const size = closes ? 1 : seen.idealClusterSize;",
      "const size = seen.idealClusterSize;",
    ],
    ["ready: a learner that takes no part", "    takesPart(m) &&\n    m.started &&", "    m.started &&"],
    ["ready: a learner that has not started", "    m.started &&\n", ""],
    ["ready: a learner without agent", "    m.agentLive &&\n    m.report", "    m.report"],
    ["ready: a learner that lags", "m.lag <= policy.maxLag &&", "m.lag >= 0 &&"],
    [
      "ready: a learner that was not healthy for as long as the policy asks",
      "m.healthyForMs >= policy.stabilizationMs",
      "m.healthyForMs >= 0",
    ],
    ["spares: who is not wished for", "rank.has(v.agent) && !seated", "!seated"],
    ["chosen: also who can hold no seat", ".filter((agent) => able.has(agent))", ""],
    ["chosen: more than the size", ".slice(0, seats)", ""],
    ["goes first: who is chosen", "Number(isChosen(a)) - Number(isChosen(b)) ||", "Number(isChosen(b)) - Number(isChosen(a)) ||"],
    ["goes first: who is wished for most", "place(b) - place(a) ||", "place(a) - place(b) ||"],
    ["a newcomer in place of a voter is surplus", "isChosen(m) && !s.staying.every(isChosen)", "!isChosen(m)"],
    ["spares: who was passed over", " && !passedOver.has(v.agent)", ""],
    [
      "spares: who failed the pre-flight",
      '.filter((v) => v.preflight.state === "passed")',
      '.filter((v) => v.preflight.state !== "pending")',
    ],
    ["spares: who leaves", " && !seen.leaving.includes(v.agent),", ","],
    ["eligible: spares do not count", "kept.length + spares.length", "kept.length"],
    ["eligible: who leaves counts", "const eligible = kept.length", "const eligible = seen.members.length"],
  ]),
  ...all("src/chooser/rules-wish.ts", [
    [
      "wish: a failed chooser is nobody's business",
      'if (wish === undefined || !("failed" in wish)) return undefined;',
      "if (wish !== null) return undefined;",
    ],
    [
      "wish: a newcomer is promoted over the size",
      "if (victim === undefined || s.staying.length < s.target.voters) return undefined;",
      "if (victim === undefined) return undefined;",
    ],
    ["wish: who restarts makes way", "!s.chosen.has(m.agent) && mayGo(m, s)", "!s.chosen.has(m.agent)"],
    ["wish: who is chosen makes way", "!s.chosen.has(m.agent) && mayGo(m, s)", "mayGo(m, s)"],
    [
      "wish: a newcomer that is not in sync",
      "if (!isReady(learner, s.policy)) return waitForLearner",
      "if (learner.id === '') return waitForLearner",
    ],
    ["wish: a newcomer that was healthy for a moment", "if (learner.healthyForMs < forMs) {", "if (learner.healthyForMs < 0) {"],
    [
      "wish: a new leader does not wait",
      "if (s.seen.leaderForMs >= forMs) return undefined;",
      "if (forMs >= 0) return undefined;",
    ],
    [
      "wish: somebody is missing when the newcomer is promoted",
      "isSteadyWithout(s, victim, why) ?? promote(learner, why)",
      "promote(learner, why)",
    ],
    ["wish: somebody is missing when the newcomer is asked", "    isSteadyWithout(s, loser, why) ??\n", ""],
    [
      "wish: seats that are free are taken from others",
      "if (newcomer === undefined || s.staying.length + s.learners.length < s.target.seats) return undefined;",
      "if (newcomer === undefined) return undefined;",
    ],
  ]),
  ...all("src/chooser/wish.ts", [
    ["wish: strangers are taken over", "else if (!known.has(name)) strange", "else if (name === '') strange"],
    ["wish: without limit", "Math.min(length, mostWishes)", "length"],
    ["wish: twice", "else if (seats.has(name)) repeated += 1;", ""],
  ]),
  ...all("src/chooser/target.ts", [
    ["target: an even number of voters", "voters: even && !policy.evenVoters ? seats - 1 : seats", "voters: seats"],
    ["target: no upper limit", "Math.min(ideal, policy.maxSeats, eligible)", "Math.min(ideal, eligible)"],
    ["target: more than there are agents", "Math.min(ideal, policy.maxSeats, eligible)", "Math.min(ideal, policy.maxSeats)"],
    ["target: nobody at all", "Math.max(1, ", "Math.max(0, "],
  ]),
  ...all("src/chooser/rank.ts", [
    ["who first: not the zone least represented", "(crowd.get(a.zone) ?? 0) - (crowd.get(b.zone) ?? 0) ||", ""],
    ["who first: the lower priority", "b.priority - a.priority ||", "a.priority - b.priority ||"],
    [
      "who first: the youngest volunteer",
      "a.sinceRevision - b.sinceRevision ||\n    byText(a.agent, b.agent)",
      "b.sinceRevision - a.sinceRevision ||\n    byText(a.agent, b.agent)",
    ],
    ["who goes: the healthy before the unhealthy", "Number(takesPart(a)) - Number(takesPart(b)) ||", ""],
    ["who goes: not from the most crowded zone", "(crowd.get(b.zone) ?? 0) - (crowd.get(a.zone) ?? 0) ||", ""],
    ["who goes: the raft leader before others", "Number(a.raftLeader) - Number(b.raftLeader) ||", ""],
    [
      "taking part: a member that the raft leader does not hear",
      "return member.answers && member.heard !== false;",
      "return member.answers;",
    ],
  ]),
];

/** What acts: the leader's own tests against real servers, then the simulation. */
export const ofTheLeader = [
  ...all("src/agent/lead/close-cluster.ts", [
    [
      "size 0: taken back in the last moment, and closed all the same",
      "        { key: keys.idealClusterSize, modRevision: seen.size.revision },\n",
      "",
    ],
    ["size 0: closed while a member call may be on its way", "        { key: keys.step, createRevision: 0 },\n", ""],
    ["size 0: closed by one who leads no more", "        leadership.fence(),\n", ""],
  ]),
  ...all("src/agent/lead/gate.ts", [
    [
      "gate: the configuration before the call counts, not the one after a promotion",
      "return { voters: [...new Set([...voters, member])], mustPass: [member] };",
      "return { voters, mustPass: [member] };",
    ],
    ["gate: the learner to be promoted need not pass", "mustPass: [member] };", "mustPass: [] };"],
    [
      "gate: the member to be removed still counts",
      "return { voters: voters.filter((id) => id !== member), mustPass: [] };",
      "return { voters, mustPass: [] };",
    ],
    [
      "gate: no voter may be left",
      'if (after.voters.length === 0) return "no voter would be left";',
      "if (after.voters.length === 0) return undefined;",
    ],
    ["gate: no quorum is asked for", "if (alive < quorum) return", "if (alive < 0) return"],
    [
      "gate: failure tolerance may fall unasked",
      "if (!call.mayLowerTolerance && alive - quorum < toleranceBefore) {",
      "if (alive - quorum < -9) {",
    ],
    [
      "gate: failure tolerance may not fall when asked for",
      "if (!call.mayLowerTolerance && alive - quorum < toleranceBefore) {",
      "if (alive - quorum < toleranceBefore) {",
    ],
    [
      "gate: what may still land is not counted as landed",
      "const asItMayBe = judge(landed(rows, open), call, passed);",
      "const asItMayBe = undefined;",
    ],
    ["gate: an open removal is not counted as gone", "return rows.filter((row) => row.id !== member);", "return rows;"],
    [
      "gate: an open promotion is not counted as a voter",
      "return rows.map((row) => (row.id === member ? { ...row, learner: false } : row));",
      "return rows;",
    ],
    ["gate: the recorded revision need not be applied", " && status.revision >= revision;", ";"],
    ["gate: another raft leader may be named", "return status.raftLeader === leader.memberId && status", "return status"],
    ["gate: an older term may be named", "status.raftTerm === leader.raftTerm && ", ""],
    [
      "gate: bytes need not reach the raft leader",
      "for (const id of applied) if ((now?.get(id) ?? 0) > (before.get(id) ?? 0)) passed.add(id);",
      "for (const id of applied) passed.add(id);",
    ],
    [
      "gate: counters that cannot be read are no reason to wait",
      "if (!before) return new Set();",
      "if (!before) return applied;",
    ],
  ]),
  ...all("src/agent/lead/quiet.ts", [
    ["quiet: another raft leader's counters go on where the last one's ended", "if (by !== this.#by) this.#since.clear();", ""],
    ["quiet: two equal numbers are enough, however soon", "askedMs - since.atMs >= hearDeadlineMs", "askedMs >= since.atMs"],
  ]),
  ...all("src/agent/lead/hanging.ts", [
    ["hanging: a peer that was given up holds its removal up", "!now.active || ", ""],
    ["hanging: what is sent on and on does not count", "now.bytes > before.bytes", "now.bytes < before.bytes"],
  ]),
  ...all("src/agent/lead/member-call.ts", [
    ["a removal does not wait for a raft leader that hangs", "  if (hanging !== undefined) return { held: hanging };\n", ""],
    ["a member call leaves however long ago its gate was", "if (deps.clock.nowMs() - tookAtMs <= freshMs) return;", "return;"],
    [
      "a count of long ago stands for three heartbeats of silence",
      " || clock.nowMs() - quiet.atMs > quietMs) return false;",
      ") return false;",
    ],
    [
      "a removal is not waited for though a learner has shown nothing yet",
      "return rows.every((row) => row.id === id || passed.has(row.id));",
      "return true;",
    ],
  ]),
  ...all("src/agent/lead/last-gate.ts", [
    ["last gate: it holds for ever", "shown === undefined || nowMs - shown.atMs > freshMs", "shown === undefined"],
    ["last gate: it holds for other members", " || shown.rows !== textOf(rows)) return undefined;", ") return undefined;"],
    ["last gate: it holds under another raft leader", "shown.raftLeader !== raftLeader || ", ""],
    ["last gate: the learner's own vote may be needed", "taking >= quorumOf(voters.length + 1)", "taking > 0"],
    ["last gate: who was removed still counts", "passed: new Set([...passed].filter((id) => id !== removed))", "passed"],
    ["last gate: it holds more than once", "    this.#shown = undefined;\n    if", "    if"],
  ]),
  ...all("src/agent/lead/carry-out.ts", [
    [
      "the URLs are taken from the nomination, which anyone can write",
      "const peerUrls = seen.look.volunteers.get(step.agent)?.value;",
      "const peerUrls = seen.look.nominated.get(step.agent)?.value;",
    ],
    [
      "recorded URLs that were never proved are added",
      'const proved = open.op !== "add-learner" || provedUrls(open, seen.look);',
      "const proved = true;",
    ],
  ]),
  ...all("src/agent/lead/member-call.ts", [
    [
      "an open step that was replaced is forgotten with the call that was not sent",
      '[step ? { put: key, value: writeRecord("step", step.value) } : { del: key }]',
      "[{ del: key }]",
    ],
    [
      "carry-out: no second look",
      "const again = backToBack ? seen.look : await look(client, keys, signal);\n  const changed",
      "const again = seen.look;\n  const changed",
    ],
    ["carry-out: what the second look shows is ignored", "if (changed !== undefined) return { held: changed };", ""],
    [
      "a call that has happened is sent again",
      "if (hasHappened(call, again)) return close(deps, call, { look: again, record: there }, why, undefined, signal);\n  const rows",
      "const rows",
    ],
    [
      "the gate's verdict is ignored",
      "if (held !== undefined) {\n    if (!sentBefore) await takeBack(deps, again, written, signal);\n    return { held };\n  }",
      "",
    ],
    [
      "what the gate holds back leaves its record",
      "if (!sentBefore) await takeBack(deps, again, written, signal);\n    return { held };",
      "return { held };",
    ],
    [
      "the record is not fenced",
      "compare: [leadership.fence(), isStill(there, keys), ...announced],",
      "compare: [isStill(there, keys), ...announced],",
    ],
    [
      "a record that comes late takes the place of a later one",
      "compare: [leadership.fence(), isStill(there, keys), ...announced],",
      "compare: [leadership.fence(), ...announced],",
    ],
    [
      "a removal is recorded whatever its host has announced since",
      "compare: [leadership.fence(), isStill(there, keys), ...announced],",
      "compare: [leadership.fence(), isStill(there, keys)],",
    ],
    [
      "a record that another leader refused is taken for written",
      "if (!done.succeeded && entry?.value !== value) {",
      "if (!done.succeeded && entry === undefined) {",
    ],
    [
      "the end of a record takes a later one along",
      "{ compare: [leadership.fence(), isStill(record, keys)], then, else",
      "{ compare: [leadership.fence()], then, else",
    ],
    [
      "the end of a record is not fenced",
      "{ compare: [leadership.fence(), isStill(record, keys)], then, else",
      "{ compare: [isStill(record, keys)], then, else",
    ],
    [
      "a refusal leaves its record",
      "if (!sentBefore) await takeBack(deps, again, written, signal);\n      return { held: short",
      "return { held: short",
    ],
    [
      "after a deadline the record is closed as if it had happened",
      "if (isRetryable(error)) return { held: short(`${call.op}: ${messageOf(error)}`) };",
      "if (isRetryable(error)) return close(deps, call, again, why, added, signal);",
    ],
    [
      "a removal keeps the nomination",
      "if (seat?.member === undefined || seat.member === call.member) ops.push(...dropNomination(keys, call.agent));",
      "",
    ],
    [
      "a removal takes a newer seat's nomination along",
      "if (seat?.member === undefined || seat.member === call.member) ops.push",
      "ops.push",
    ],
    ["a promotion leaves the seat a learner's", 'if (seat) ops.push(putSeat(keys, call.agent, { ...seat, role: "voter" }));', ""],
    ["nobody is passed over", "if (call.passOver === true) {", "if (call.op === undefined) {"],
    ["a seat does not learn its member", '...seat, member: memberId, role: "learner" }', '...seat, role: "learner" }'],
  ]),
  ...all("src/agent/lead/second-look.ts", [
    ["re-check: the member list", 'if (rows(before) !== rows(now)) return "the member list has changed meanwhile";', ""],
    [
      "re-check: the cluster",
      'if (before.membership.clusterId !== now.membership.clusterId) return "the cluster has changed";',
      "",
    ],
    ["re-check: the pause", 'if (before.paused !== now.paused) return "the chooser was paused meanwhile";', ""],
    ["re-check: the nomination", "if (seatOf(before) !== seatOf(now)) return", "if (seatOf(before) === -1) return"],
    [
      "re-check: the leave intent",
      "if (before.leaving.has(call.agent) !== now.leaving.has(call.agent)) return",
      "if (call.agent === '') return",
    ],
    [
      "re-check: the volunteer's URLs",
      'if (call.op === "add-learner" && !provedUrls(call, now)) return',
      "if (call.agent === '') return",
    ],
  ]),
  ...all("src/agent/lead/nominate.ts", [
    [
      "a nomination does not look at the volunteer again",
      "{ key: volunteer.entry.key, modRevision: volunteer.entry.modRevision },",
      "",
    ],
    ["an agent is nominated twice", "unread ? { key, modRevision: unread.modRevision } : { key, createRevision: 0 },", ""],
  ]),
  ...all("src/agent/lead/leader-writes.ts", [
    ["other writes are not fenced", "{ compare: [leadership.fence(), ...compare], then },", "{ compare: [...compare], then },"],
  ]),
];
