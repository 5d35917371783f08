import type { Schedule, ValueEvent } from "../../../src/world/index.ts";

type Told = Exclude<ValueEvent<Schedule>, { readonly kind: "state" }> & { readonly value: Schedule };

/** Whether an event tells of a schedule; there always is one. */
export function isSchedule(event: ValueEvent<Schedule>): event is Told {
  if (event.kind === "state") return false;
  if (event.value === undefined) throw new Error("An event without a schedule");
  return true;
}
