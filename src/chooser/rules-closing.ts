import { act, wait, waitForReturn, type Rule } from "./steps.ts";
import { strangersIn } from "./survey.ts";
import { count, listOf, nameOf } from "./words.ts";

/** Size 0, at the end: it is written who ends last, so nothing is to be changed any more. Who else wrote it did not close anything. */
export const closedIsOver: Rule = ({ seen }) => {
  const last = seen.closing?.closed;
  if (last === undefined || !seen.members.every((m) => m.agent === last && m.role === "voter")) return undefined;
  return wait({ on: "end", last }, `the cluster is closed: every agent ends, and ${last} is the one to start first`);
};

/** Size 0, before it counts: it can be taken back. Deaths and leaves are seen to meanwhile, and nothing else is begun. */
export const closingIsHeld: Rule = (s) => {
  const { closing, idealClusterSize: size } = s.seen;
  if (closing === undefined || s.closes) return undefined;
  const strangers = strangersIn(s.seen);
  if (strangers.length > 0) {
    const them = `${count(strangers.length, "voter")} that Quorate did not add (${listOf(strangers)})`;
    return wait(
      { on: "strangers", members: strangers },
      `the size is 0, but ${them} can not be stopped by it; \`quorate size ${size}\` takes it back`,
    );
  }
  const forMs = s.policy.closeAfterMs;
  return wait(
    { on: "take-back", forMs, size },
    `the size is 0: all agents stop in good order once that has stood for ${forMs / 1_000} s; \`quorate size ${size}\` takes it back`,
  );
};

/** Size 0, carried out: one member is left, and closes the cluster. */
export const lastOneCloses: Rule = (s) => {
  if (!s.closes) return undefined;
  const [last, ...others] = s.seen.members;
  if (last?.agent === undefined || others.length > 0) return undefined;
  if (!last.agentLive)
    return waitForReturn([last], `the size is 0, and ${nameOf(last)}, which is to end last, has no agent any more`);
  return act(
    { kind: "close", agent: last.agent, member: last.id, formerSize: s.seen.idealClusterSize },
    `the size is 0, and ${last.agent} is the only member left: it ends last and keeps the data`,
  );
};
