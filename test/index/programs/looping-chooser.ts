// One agent whose chooser never returns once the size is 2. Argument: its options as JSON. Says "ready" and "looping" on standard output.
import { writeSync } from "node:fs";
import { startAgent, type AgentOptions } from "../../../src/index.ts";

const agent = startAgent({
  ...(JSON.parse(process.argv[2] ?? "{}") as AgentOptions),
  chooser: {
    name: "mine",
    choose: (seen) => {
      if (seen.idealClusterSize === 2) {
        writeSync(1, "looping\n");
        for (;;);
      }
      return seen.volunteers.map((volunteer) => volunteer.agent);
    },
  },
});
await agent.ready;
writeSync(1, "ready\n");
