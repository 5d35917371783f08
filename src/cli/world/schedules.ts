import type { Schedule } from "../../world/index.ts";
import type { Io } from "../io.ts";
import { encode } from "../output.ts";
import { printOneWatch, type Shape } from "./follow.ts";
import { oneLine, printTable, withNull } from "./print.ts";
import type { WorldSettings } from "./settings.ts";
import { untilInterrupted, withWorld } from "./with-world.ts";

const titles = ["NAMESPACE", "STATE", "STRATEGY", "TAKE PART", "GENERATION", "HOSTS"];

/** `quorate schedule ls`. */
export async function list(settings: WorldSettings, io: Io): Promise<number> {
  return withWorld(settings, io, async ({ world, signal }) => {
    const { schedules, revision } = await world.schedules({ signal });
    if (settings.output !== "table") io.out(encode(withNull({ schedules, revision }), settings.output));
    else if (schedules.length === 0) io.err("note: there are none yet\n");
    else {
      const rows = schedules.map(({ namespace, strategy = "", candidates, ...schedule }) => {
        const [state = "", generation = "", hosts = ""] = shape.cells(schedule);
        return [oneLine(namespace), state, strategy, String(candidates.length), generation, oneLine(hosts)];
      });
      printTable(
        titles.map((title) => ({ title })),
        rows,
        io,
      );
    }
    return 0;
  });
}

/** Who is scheduled, by rank; where that is nobody's to say, why. */
const shape: Shape<Schedule> = {
  titles: ["STATE", "GENERATION", "HOSTS"],
  cells: ({ state, generation, hosts, because }) => {
    const why = because === undefined ? "" : `(${because})`;
    return [state, String(generation), [...hosts, why].filter((word) => word !== "").join(" ")];
  },
};

/** `quorate schedule watch NAMESPACE`: what is so, then every change, until `^C`. */
export async function watch(settings: WorldSettings, namespace: string, io: Io): Promise<number> {
  return untilInterrupted(settings, io, async ({ world, signal }) => {
    await printOneWatch(world.scheduled(namespace).watch({ signal }), shape, settings, io);
  });
}
