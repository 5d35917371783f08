import type { NamedSchedule } from "../api/scheduler.ts";
import type { Context } from "../context.ts";
import type { Entry } from "../replica/index.ts";
import { Model } from "./model.ts";
import { resultIn, scheduleOf } from "./view.ts";

/** Of all keys of the scheduler, of one revision. */
export function listOf(context: Context, entries: readonly Entry[]): NamedSchedule[] {
  const { scheduler: keys } = context.keys;
  const model = new Model(keys, (key, why) => {
    context.malformed.note(key, why);
  });
  model.apply({ kind: "snapshot", entries, revision: 0 });
  const standing = entries.filter(({ key }) => keys.schedulers.nameIn(key) !== undefined).length;
  const results = new Map(entries.map((entry) => [entry.key, entry]));
  return [...model.namespaces.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, rules, candidates, active }) => ({
      namespace: name,
      ...scheduleOf(resultIn(context, results.get(keys.result(name))), standing),
      strategy: "refused" in rules ? undefined : rules.strategy.name,
      active: [...active].sort(),
      candidates: [...candidates.keys()].sort(),
    }));
}
