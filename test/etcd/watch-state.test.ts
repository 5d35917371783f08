import fc from "fast-check";
import { expect, test } from "vitest";
import type { IEvent } from "etcd3";
import type { KeyValue } from "../../src/etcd/index.ts";
import { WatchState } from "../../src/etcd/watch-state.ts";
import type { Change } from "../../src/etcd/watch-state.ts";

/** A little store with etcd's revisions: the model. */
class Store {
  readonly entries = new Map<string, KeyValue>();
  readonly events: IEvent[] = [];
  revision = 1;

  write(key: string, value: string | undefined): void {
    const before = this.entries.get(key);
    if (value === undefined && !before) return;
    this.revision++;
    const entry = {
      key,
      value: value ?? "",
      createRevision: before?.createRevision ?? this.revision,
      modRevision: this.revision,
      version: (before?.version ?? 0) + 1,
      lease: "0",
    };
    if (value === undefined) this.entries.delete(key);
    else this.entries.set(key, entry);
    this.events.push({
      type: value === undefined ? "Delete" : "Put",
      kv: {
        key: Buffer.from(key),
        value: Buffer.from(entry.value),
        create_revision: `${entry.createRevision}`,
        mod_revision: `${entry.modRevision}`,
        version: `${entry.version}`,
        lease: "0",
      },
      prev_kv: undefined as never,
    });
  }

  listing(): { entries: KeyValue[]; revision: number } {
    return { entries: [...this.entries.values()], revision: this.revision };
  }
}

function take(view: Map<string, KeyValue>, changes: readonly Change[]): void {
  for (const change of changes) {
    if (change.type === "put") view.set(change.entry.key, change.entry);
    else expect(view.delete(change.key)).toBe(true);
  }
}

const write = fc.record({
  key: fc.constantFrom("a", "b", "c", "d"),
  value: fc.option(fc.constantFrom("1", "2"), { nil: undefined }),
});
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("write" as const), write }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("resend" as const), back: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("list" as const) }) },
);

test("whatever is resent, lost or listed again, what was handed out adds up to the store and nothing comes twice", () => {
  fc.assert(
    fc.property(fc.array(write, { maxLength: 6 }), fc.array(step, { maxLength: 40 }), (first, steps) => {
      const store = new Store();
      for (const { key, value } of first) store.write(key, value);
      const state = new WatchState(store.listing());
      const view = new Map(store.entries);
      let known = store.revision;
      for (const one of steps) {
        if (one.do === "write") store.write(one.write.key, one.write.value);
        if (one.do === "resend") {
          // A stream that starts somewhat before what is known, as after a reconnect that was too careful.
          const from = Math.max(0, store.events.findIndex((event) => Number(event.kv.mod_revision) > known) - one.back);
          const changes = state.apply(store.events.slice(from));
          for (const change of changes) {
            expect(change.type === "put" ? change.entry.modRevision : change.revision).toBeGreaterThan(known);
          }
          take(view, changes);
          if (store.events.some((event) => Number(event.kv.mod_revision) > known)) known = state.revision;
        }
        if (one.do === "list") {
          const before = new Map(view);
          const changes = state.replace(store.listing());
          take(view, changes);
          known = state.revision;
          for (const change of changes) {
            if (change.type === "put") expect(before.get(change.entry.key)).not.toEqual(change.entry);
            else expect(before.has(change.key)).toBe(true);
          }
        }
        expect(state.revision).toBe(known);
      }
      take(view, state.apply(store.events));
      expect(view).toEqual(store.entries);
    }),
  );
});
