import { Option, type Command } from "commander";
import type { Io } from "./io.ts";
import type { Flag, Given } from "./options.ts";

/** How flags of ours become options of commander, and come back from there. */

/** One command of a group, whose flags come to those settings. */
export interface VerbOf<Settings> {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** As commander reads them: `<NAME> [VALUE]`. */
  readonly takes?: string;
  readonly does: string;
  readonly flags?: readonly Flag<unknown>[];
  readonly examples: readonly string[];
  readonly more?: string;
  readonly act: (called: CalledWith<Settings>) => Promise<number>;
}

export interface CalledWith<Settings> {
  readonly settings: Settings;
  readonly given: Given;
  readonly args: readonly string[];
  readonly io: Io;
}

/** A flag of one command, whose text is its value. */
export const own = (name: string, takes: string | undefined, help: string): Flag<string> => ({
  name,
  ...(takes === undefined ? {} : { takes }),
  many: false,
  help,
  read: (texts) => texts.at(-1) ?? "",
});

/** A command that has others below it, and does nothing by itself. */
export function groupOf(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description).helpOption("-h, --help", "print this help");
}

export function command(parent: Command, name: string, description: string, flags: readonly Flag<unknown>[]): Command {
  const made = groupOf(parent, name, description).allowExcessArguments(false);
  for (const flag of flags) made.addOption(toOption(flag));
  return made;
}

/** What was typed, by the names of the flags. */
export function givenTo(command: Command, flags: readonly Flag<unknown>[]): Given {
  const values = command.opts<Record<string, unknown>>();
  return Object.fromEntries(
    flags.map((flag) => {
      const option = toOption(flag);
      const value = values[option.attributeName()];
      if (option.negate) return [flag.name, value === false ? true : undefined];
      return [flag.name, value as readonly string[] | true | undefined];
    }),
  );
}

export const examples = (...lines: readonly string[]): string => `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`;

function toOption(flag: Flag<unknown>): Option {
  const words = `${flag.short === undefined ? "" : `-${flag.short}, `}--${flag.name}${flag.takes === undefined ? "" : ` <${flag.takes}>`}`;
  const option = new Option(words, flag.help);
  if (flag.takes !== undefined)
    option.argParser((text: string, before: readonly string[] | undefined) => [...(before ?? []), text]);
  return flag.hidden === true ? option.hideHelp() : option;
}
