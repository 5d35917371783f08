/** One operation on one register. Times are of one clock. */
export interface Operation {
  readonly client: number;
  readonly kind: "read" | "write";
  /** Written, or read; undefined: the key did not exist. */
  readonly value: string | undefined;
  readonly calledMs: number;
  /** Infinity: nobody knows whether, or when, it happened. */
  readonly returnedMs: number;
}

/** Whether the operations could have happened one after the other, each between its call and its return (Wing, Gong, Lowe). */
export function isLinearizable(operations: readonly Operation[]): boolean {
  const all = operations.toSorted((a, b) => a.calledMs - b.calledMs);
  const done = new Array<boolean>(all.length).fill(false);
  // What was tried already: which operations are done, and the value there is then.
  const seen = new Set<string>();
  let first = 0;
  let left = all.filter(({ returnedMs }) => returnedMs !== Infinity).length;
  const stack: { index: number; before: string | undefined; firstBefore: number; tried: number }[] = [];
  let value: string | undefined;
  let from = 0;
  for (;;) {
    while (first < all.length && done[first] === true) first++;
    if (left === 0) return true;
    const found = nextFrom(from);
    if (found !== undefined) {
      const one = all[found]!;
      stack.push({ index: found, before: value, firstBefore: first, tried: found });
      done[found] = true;
      if (one.returnedMs !== Infinity) left--;
      if (one.kind === "write") value = one.value;
      from = first;
      continue;
    }
    const last = stack.pop();
    if (last === undefined) return false;
    done[last.index] = false;
    if (all[last.index]!.returnedMs !== Infinity) left++;
    value = last.before;
    first = last.firstBefore;
    from = last.tried + 1;
  }

  /** The next operation that could come now: called before any that is left has returned, and right in what it read. */
  function nextFrom(start: number): number | undefined {
    let endMs = Infinity;
    for (let i = first; i < all.length && all[i]!.calledMs <= endMs; i++)
      if (done[i] !== true) endMs = Math.min(endMs, all[i]!.returnedMs);
    for (let i = Math.max(first, start); i < all.length && all[i]!.calledMs <= endMs; i++) {
      const one = all[i]!;
      if (done[i] === true || (one.kind === "read" && one.value !== value)) continue;
      const after = one.kind === "write" ? one.value : value;
      done[i] = true;
      const state = stateKey(after);
      done[i] = false;
      if (seen.has(state)) continue;
      seen.add(state);
      return i;
    }
    return undefined;
  }

  function stateKey(after: string | undefined): string {
    let start = first;
    while (start < all.length && done[start] === true) start++;
    const open: number[] = [];
    let until = start;
    for (let i = start; i < all.length; i++) if (done[i] === true) until = i + 1;
    for (let i = start; i < until; i++) if (done[i] !== true) open.push(i);
    return `${until} ${open.join()} ${after ?? "-"}`;
  }
}
