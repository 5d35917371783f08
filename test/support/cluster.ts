import type {
  ClusterSnapshot,
  MemberRole,
  MemberSeen,
  NominationSeen,
  OpenStep,
  VolunteerSeen,
  Wish,
} from "../../src/chooser/snapshot.ts";
import { defaultPolicy, plan, type ChooserPolicy, type Plan, type Step } from "../../src/chooser/index.ts";

/**
 * Reads one line of notation into a snapshot, so that a test shows its case and nothing else:
 *
 *   cluster("ideal 3 | voters h1 h2! h3 | learners h4~ | spares h5 h6")
 *
 * Members are healthy for an hour, nominated, and their agents live, unless a mark behind the name says otherwise:
 *
 *   !  dead: no answer, not heard, its agent is gone       ?  silent for 20 s, its agent lives
 *   &  silent to the planner, but heard by the raft leader  %  silent for two minutes, its agent lives
 *   +  added a moment ago, not started                      -  added two minutes ago, never started
 *   ~  started, far behind, moving                          _  started, far behind, not moving
 *   §  silent for an hour
 *   *  the raft leader (else the first healthy voter)       x  its server runs, its agent is gone
 *   f  its agent reports a failed server                    l  its agent reports lost data
 *   @zone  ^priority  #age (revision of the nomination)     :ms  healthy for so long; with ? silent for so long, 20 s at most
 *   =h1  a seat of that agent
 *
 * A name that starts with `m` is a member without agent. Other parts: `spares` passed the pre-flight, `pending` has no
 * verdict, `refused` failed it (each with @zone ^priority #age); `nominees` are nominated without a seat, `stale` for a
 * seat that is gone, `unnominated` members lost theirs; `leaving`, `restarting`, `passed-over`; `open OP NAME [ms]`;
 * `leader-for MS`, `paused`, `no-space`; `closing [MS [NAME]]`: size 0 stands for so long, and that one was told to end last.
 * `wish` lists whom the chooser `mine` wishes for; `no-wish late` that it gave none.
 */
export function cluster(line: string): ClusterSnapshot {
  const parts = new Map<string, string[]>();
  for (const part of line.split("|")) {
    const [key = "", ...words] = part.trim().split(/\s+/);
    if (!known.has(key)) throw new Error(`Cannot read the part ${JSON.stringify(part)} of a cluster in one line`);
    parts.set(key, words);
  }
  const words = (key: string): string[] => parts.get(key) ?? [];
  const marked = [...words("voters"), ...words("learners")].some((w) => read(w).marks.includes("*"));
  const members: MemberSeen[] = [];
  for (const role of ["voter", "learner"] as const) {
    for (const word of words(`${role}s`)) members.push(member(word, role));
  }
  if (!marked) {
    const first = members.findIndex((m) => m.role === "voter" && m.answers);
    const found = members[first];
    if (found) members[first] = { ...found, raftLeader: true };
  }
  const leaving = words("leaving");
  const nominations: NominationSeen[] = [
    ...members
      .filter((m) => m.agent !== undefined && !words("unnominated").includes(m.agent))
      .map((m) => ({ agent: m.agent ?? "", member: m.id, standby: false })),
    ...words("nominees").map((agent) => ({ agent, member: undefined, standby: false })),
    ...words("stale").map((agent) => ({ agent, member: `id-old-${agent}`, standby: false })),
  ];
  const seated = members
    .filter((m) => m.agent !== undefined && m.agentLive && !leaving.includes(m.agent))
    .map((m) => m.agent ?? "");
  const [op, openName, openMs] = words("open");
  const openMember = members.find((m) => m.agent === openName)?.id ?? `id-${openName ?? ""}`;
  return {
    planner: members.find((m) => m.answers)?.agent ?? "h1",
    idealClusterSize: Number(words("ideal")[0] ?? 3),
    closing: parts.has("closing") ? { askedForMs: Number(words("closing")[0] ?? hour), closed: words("closing")[1] } : undefined,
    members,
    volunteers: [
      ...seated.map((agent) => volunteer(agent, { state: "pending" })),
      ...words("spares").map((w) => volunteer(w, { state: "passed" })),
      ...words("pending").map((w) => volunteer(w, { state: "pending" })),
      ...words("refused").map((w) => volunteer(w, { state: "failed", reason: "its port is closed" })),
    ],
    nominations,
    leaving,
    restarting: words("restarting"),
    passedOver: words("passed-over").map((agent) => ({ agent, reason: "it did not start" })),
    paused: parts.has("paused") ? words("paused").join(" ") : undefined,
    noSpace: parts.has("no-space"),
    openStep:
      op === undefined
        ? undefined
        : {
            op: op as OpenStep["op"],
            agent: openName,
            member: op === "add-learner" ? undefined : openMember,
            openForMs: Number(openMs ?? 0),
          },
    leaderForMs: Number(words("leader-for")[0] ?? hour),
    ...wishIn(parts),
  };
}

const hour = 3_600_000;
const known = new Set(
  "ideal closing voters learners spares pending refused nominees stale unnominated leaving restarting passed-over open leader-for paused no-space wish no-wish".split(
    " ",
  ),
);

function wishIn(parts: ReadonlyMap<string, readonly string[]>): Pick<ClusterSnapshot, "wish"> {
  const [seats, failed] = [parts.get("wish"), parts.get("no-wish")?.[0]];
  if (seats) return { wish: { by: "mine", seats, faults: [] } };
  if (failed === undefined) return {};
  return { wish: { by: "mine", failed: failed as Extract<Wish, { failed: string }>["failed"], why: "it is late" } };
}

function read(word: string): {
  name: string;
  marks: string;
  zone: string;
  priority: number;
  age: number;
  forMs: number;
  of: string;
} {
  const match =
    /^([hm][0-9]+)([!?&%§+\-~_*xfl]*)(?:@([a-z]+))?(?:\^(-?[0-9]+))?(?:#([0-9]+))?(?::([0-9]+))?(?:=(h[0-9]+))?$/.exec(word);
  if (!match) throw new Error(`Cannot read the member ${JSON.stringify(word)}`);
  const [, name = "", marks = "", zone = "", priority, age, forMs, of = name] = match;
  return { name, marks, zone, priority: Number(priority ?? 0), age: Number(age ?? 0), forMs: Number(forMs ?? hour), of };
}

function member(word: string, role: MemberRole): MemberSeen {
  const { name, marks, zone, priority, age, forMs, of } = read(word);
  const has = (mark: string): boolean => marks.includes(mark);
  const unstarted = has("+") || has("-");
  const silent = unstarted || ["!", "?", "&", "%", "§", "f", "l"].some(has);
  const behind = has("~") || has("_");
  const stranger = name.startsWith("m");
  const long = 120_000;
  return {
    id: stranger ? name : `id-${name}`,
    agent: stranger ? undefined : of,
    role,
    started: !unstarted,
    raftLeader: has("*"),
    answers: !silent,
    heard: !silent || has("&"),
    healthyForMs: silent ? 0 : forMs,
    unansweredForMs: !silent ? 0 : has("§") ? hour : has("%") || has("-") ? long : Math.min(forMs, 20_000),
    knownForMs: has("-") ? long : unstarted ? 100 : hour,
    lag: silent ? undefined : behind ? 100_000 : 0,
    stalledForMs: has("_") ? long : 0,
    agentLive: !stranger && !has("!") && !has("x"),
    report: has("f") ? "failed" : has("l") ? "lost-data" : undefined,
    zone,
    priority,
    sinceRevision: age,
  };
}

function volunteer(word: string, preflight: VolunteerSeen["preflight"]): VolunteerSeen {
  const { name, zone, priority, age } = read(word);
  return { agent: name, zone, priority, sinceRevision: age, preflight };
}

/** The plan for one line, in a few words: `promote h2`, `wait return h3`, `settled 3 voters, can lose 1`. */
export function say(line: string, policy: Partial<ChooserPolicy> = {}): string {
  return brief(plan(cluster(line), { ...defaultPolicy, ...policy }));
}

export function brief(planned: Plan): string {
  if ("step" in planned) return briefStep(planned.step);
  if ("waiting" in planned) {
    const { waiting } = planned;
    switch (waiting.on) {
      case "resume":
        return `wait resume, then ${waiting.wouldDo ? briefStep(waiting.wouldDo) : "nothing"}`;
      case "quorum":
        return `wait quorum ${waiting.healthy}/${waiting.voters}`;
      case "learner":
        return `wait learner ${waiting.agent ?? waiting.member}`;
      case "open-step":
        return `wait open-step ${waiting.op} ${waiting.agent ?? ""}`;
      case "return":
      case "preflight":
        return `wait ${waiting.on} ${waiting.agents.join(" ")}`;
      case "chooser":
        return `wait chooser ${waiting.chooser}`;
      case "end":
        return `wait end ${waiting.last}`;
      case "strangers":
        return `wait strangers ${waiting.members.join(" ")}`;
      case "stayer":
      case "take-back":
      case "space":
      case "health":
      case "leadership":
        return `wait ${waiting.on}`;
    }
  }
  const { voters, learners, failureTolerance, blockedBy } = planned.settled;
  return `settled ${voters}+${learners}, can lose ${failureTolerance}${blockedBy === undefined ? "" : `; ${blockedBy}`}`;
}

export function briefStep(step: Step): string {
  switch (step.kind) {
    case "move-leader":
      return `move-leader ${step.fromAgent ?? step.from} ${step.toAgent ?? step.to}`;
    case "remove":
      return `remove ${step.agent ?? step.member} ${step.cause}${step.passOver ? " pass-over" : ""}`;
    case "complete":
      return `${step.send ? "send" : "close"} ${step.op} ${step.agent ?? ""}`;
    case "nominate":
      return `nominate ${step.agent}${step.standby ? " standby" : ""}`;
    case "close":
    case "renominate":
    case "withdraw":
    case "add-learner":
      return `${step.kind} ${step.agent}`;
    case "promote":
      return `promote ${step.agent ?? step.member}`;
  }
}
