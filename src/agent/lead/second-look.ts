import type { StepRecord } from "../control/records.ts";
import type { Look } from "./look.ts";

/** A member call, before it is recorded. */
export type Call = Omit<StepRecord, "schema" | "leaderRevision">;

/** Why the plan no longer rests on what is there; undefined when it does. */
export function differs(before: Look, now: Look, call: Call): string | undefined {
  const rows = (look: Look): string =>
    look.membership.members
      .map((row) => `${row.id} ${String(row.learner)}`)
      .sort()
      .join();
  if (rows(before) !== rows(now)) return "the member list has changed meanwhile";
  if (before.membership.clusterId !== now.membership.clusterId) return "the cluster has changed";
  if (before.paused !== now.paused) return "the chooser was paused meanwhile";
  if (call.agent === undefined) return undefined;
  const seatOf = (look: Look): number | undefined => look.seats.get(call.agent ?? "")?.entry.modRevision;
  if (seatOf(before) !== seatOf(now)) return `the nomination of ${call.agent} has changed meanwhile`;
  if (before.leaving.has(call.agent) !== now.leaving.has(call.agent)) return `${call.agent} has changed its mind about leaving`;
  if (call.op === "add-learner" && !provedUrls(call, now)) return `${call.agent} does not volunteer any more with these URLs`;
  return undefined;
}

/** The URLs to be added are those the volunteer offers: the plan rests on their pre-flight. */
export function provedUrls(call: Call, now: Look): boolean {
  const offered = call.agent === undefined ? undefined : now.volunteers.get(call.agent);
  return offered !== undefined && offered.value.join() === call.peerUrls?.join();
}

/** Whether the membership is what the call was to make it. */
export function hasHappened(call: Call, now: Look): boolean {
  const rows = now.membership.members;
  switch (call.op) {
    case "add-learner":
      return rowOfUrls(call, now) !== undefined;
    case "promote":
      return rows.some((row) => row.id === call.member && !row.learner);
    case "remove":
      return !rows.some((row) => row.id === call.member);
    case "update-urls":
      return rowOfUrls(call, now) === call.member;
  }
}

/** The member with the URLs of the call. */
export function rowOfUrls(call: Call, now: Look): string | undefined {
  const own = [...(call.peerUrls ?? [])].sort().join();
  return now.membership.members.find((row) => [...row.peerUrls].sort().join() === own)?.id;
}
