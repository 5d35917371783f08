import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { Endpoints } from "../../src/etcd/endpoints.ts";

const [a, b, c] = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"] as [string, string, string];

function at(start = 0): { clock: Clock; pass: (ms: number) => void } {
  let nowMs = start;
  const clock: Clock = { nowMs: () => nowMs, sleep: () => new Promise(() => undefined), wallTime: () => new Date(0) };
  return { clock, pass: (ms) => void (nowMs += ms) };
}

/** Failed and foreign endpoints are known by having been used. */
function use(endpoints: Endpoints, ...urls: readonly string[]): void {
  for (const url of urls) endpoints.borrow(url).giveBack();
}

describe("which endpoint is next", () => {
  test("as listed, until one worked; that one stays the choice", () => {
    const endpoints = new Endpoints(at().clock, [a, b, c]);
    expect(endpoints.candidates()).toEqual([a, b, c]);
    endpoints.worked(b);
    expect(endpoints.candidates()).toEqual([b, a, c]);
  });

  test("the preferred one comes before the one that worked", () => {
    const endpoints = new Endpoints(at().clock, [a, b, c], c);
    endpoints.worked(b);
    expect(endpoints.candidates()).toEqual([c, b, a]);
  });

  test("one that failed is tried last for 5 s, the longest ago first, even if it is preferred", () => {
    const { clock, pass } = at();
    const endpoints = new Endpoints(clock, [a, b, c], a);
    use(endpoints, a, b, c);
    endpoints.failed(a);
    pass(1_000);
    endpoints.failed(b);
    expect(endpoints.candidates()).toEqual([c, a, b]);
    pass(4_000);
    expect(endpoints.candidates()).toEqual([a, c, b]);
    endpoints.worked(b);
    expect(endpoints.candidates()).toEqual([a, b, c]);
  });

  test("one of another cluster is not tried for 30 s", () => {
    const { clock, pass } = at();
    const endpoints = new Endpoints(clock, [a, b]);
    use(endpoints, a);
    endpoints.foreign(a);
    expect(endpoints.candidates()).toEqual([b]);
    expect(endpoints.urls()).toEqual([a, b]);
    pass(30_000);
    expect(endpoints.candidates()).toEqual([a, b]);
  });

  test("a URL listed twice is one endpoint, and an unlisted one that worked is not chosen", () => {
    const endpoints = new Endpoints(at().clock, [a, a, b]);
    use(endpoints, c);
    endpoints.worked(c);
    expect(endpoints.candidates()).toEqual([a, b]);
  });
});

describe("what an endpoint is connected by", () => {
  test("the same link as long as it is listed or in use, and a new one afterwards", () => {
    const endpoints = new Endpoints(at().clock, [a, b]);
    const first = endpoints.borrow(a);
    const second = endpoints.borrow(a);
    expect(second.link).toBe(first.link);
    first.giveBack();
    endpoints.set([b]);
    expect(endpoints.borrow(a).link).toBe(second.link);
  });

  test("who holds a stream on an endpoint that leaves the list is told, once", () => {
    const endpoints = new Endpoints(at().clock, [a, b]);
    const told: string[] = [];
    const stop = endpoints.onRetired((url) => told.push(url));
    endpoints.set([b, c]);
    endpoints.set([c]);
    expect(told).toEqual([a, b]);
    stop();
    endpoints.set([]);
    expect(told).toEqual([a, b]);
  });

  test("a link to an unlisted endpoint goes 30 s after its last use", () => {
    const { clock, pass } = at();
    const endpoints = new Endpoints(clock, [a]);
    const before = endpoints.borrow(c);
    before.giveBack();
    pass(29_000);
    const again = endpoints.borrow(c);
    again.giveBack();
    expect(again.link).toBe(before.link);
    pass(30_000);
    use(endpoints, a);
    expect(endpoints.borrow(c).link).not.toBe(before.link);
  });
});
