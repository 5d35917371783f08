import { describe, expect, test } from "vitest";
import { waitsFor, type OtherVoter } from "../../src/agent/stop-in-place.ts";

/** `h2` takes part, `h3!` does not; `<` announced its stop before, `>` after. */
function others(line: string): OtherVoter[] {
  return line
    .split(" ")
    .filter(Boolean)
    .map((text) => ({
      name: text.slice(0, 2),
      takesPart: !text.includes("!"),
      stops: text.includes("<") ? "before" : text.includes(">") ? "after" : undefined,
    }));
}

describe("a voter that is to stop waits for those without whom there would be no quorum", () => {
  test.each([
    ["the only voter waits for nobody", "", []],
    ["of two: nobody's return would help", "h2", []],
    ["of three that are there", "h2 h3", []],
    ["another one restarts", "h2 h3!<", ["h3"]],
    ["another one is silent, and did not say why", "h2 h3!", ["h3"]],
    ["another one still answers, but goes first", "h2 h3<", ["h3"]],
    ["another one asked later, and waits for this one", "h2 h3>", []],
    ["there is no quorum that could be kept", "h2! h3!", []],
    ["all stop", "h2< h3>", []],
    ["all that are left stop", "h2!< h3>", []],
    ["of four, one away", "h2 h3 h4!", ["h4"]],
    ["of five, two away", "h2 h3 h4! h5!<", ["h4", "h5"]],
    ["of five, one away", "h2 h3 h4 h5!", []],
    ["of five, the third to ask waits for the first two", "h2< h3< h4 h5", ["h2", "h3"]],
    ["of five, the second to ask goes", "h2< h3> h4 h5", []],
    ["of five, all ask: the third does not wait, as nobody stays", "h2!< h3< h4> h5>", []],
  ] as const)("%s", (_, line, missing) => {
    expect(waitsFor(others(line))).toEqual(missing);
  });
});
