import type { Command } from "commander";
import { command, examples, givenTo, groupOf } from "./command-words.ts";
import type { Io } from "./io.ts";
import { commonFlags, worldSettings } from "./world/settings.ts";

/** The words of `quorate schedule`. */
export function addSchedule(program: Command, io: Io, done: (exitCode: number) => void): void {
  const group = groupOf(program, "schedule", "which hosts are scheduled, for what").aliases(["schedules"]);
  group.addHelpText(
    "after",
    `${examples("quorate schedule ls", "quorate schedule watch backup")}

Programs take part with \`world.scheduler(NAMESPACE)\`. "nobody" is what the scheduler has found; "unknown" is what nobody can say.`,
  );
  const schedules = () => import("./world/schedules.ts");
  const list = command(group, "ls", "list all schedules: who is scheduled, and how many take part", commonFlags).aliases([
    "list",
  ]);
  list.addHelpText("after", examples("quorate schedule ls", "quorate schedule ls -o json")).action(async () => {
    done(await (await schedules()).list(worldSettings(givenTo(list, commonFlags), io.env), io));
  });
  const watch = command(group, "watch", "print a schedule, then every change of it", commonFlags).arguments("<NAMESPACE>");
  watch
    .addHelpText(
      "after",
      `${examples("quorate schedule watch backup", "quorate schedule watch backup -o json")}

It goes on through lost connections, until ^C. With -o json it gives one document a line.`,
    )
    .action(async (namespace: string) => {
      done(await (await schedules()).watch(worldSettings(givenTo(watch, commonFlags), io.env), namespace, io));
    });
}
