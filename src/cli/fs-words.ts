import type { Command } from "commander";
import { command, examples, givenTo, groupOf, type VerbOf } from "./command-words.ts";
import { commonFlags, fsFlags, fsSettings, type FsSettings } from "./fs/settings.ts";
import { QuorateError } from "../errors.ts";
import type { Io } from "./io.ts";
import { valueOf, type Flag, type Given } from "./options.ts";

/** The words of `quorate fs`. What each command does is in `fs/`, loaded when it is called. */

type Verb = VerbOf<FsSettings>;

const commands = () => import("./fs/commands.ts");

const is = (flag: Flag<unknown>, given: Given): boolean => given[flag.name] === true;

const verbs: readonly Verb[] = [
  {
    name: "ls",
    aliases: ["list"],
    takes: "[PATH]",
    does: "list a folder",
    flags: [fsFlags.at, fsFlags.recursive],
    examples: ["fs ls", "fs ls /conf --tree site", "fs ls --recursive -o json"],
    act: async ({ settings, given, args: [path = "/"], io }) =>
      (await commands()).list(settings, path, is(fsFlags.recursive, given), io),
  },
  {
    name: "cat",
    takes: "<PATH>",
    does: "print a file",
    flags: [fsFlags.at],
    examples: ["fs cat /motd", "fs cat /motd --at ROOT"],
    more: "\n\nStandard output has its bytes, exactly. -o json has them as `content`: text, or base64 where they are no UTF-8, as `encoding` says.",
    act: async ({ settings, args: [path = ""], io }) => (await commands()).cat(settings, path, io),
  },
  {
    name: "put",
    takes: "<FILE> <PATH>",
    does: "write a file of the tree; `-` is standard input",
    examples: ["fs put motd.txt /motd", "fs put - /motd < motd.txt"],
    act: async ({ settings, args: [file = "", path = ""], io }) => (await commands()).put(settings, file, path, io),
  },
  {
    name: "get",
    takes: "<PATH> [FILE]",
    does: "copy a file, or a folder with all that is in it, from the tree; `-` is standard output",
    flags: [fsFlags.at],
    examples: ["fs get /motd", "fs get /conf /etc/site"],
    act: async ({ settings, args: [path = "", file], io }) => (await commands()).get(settings, path, file, io),
  },
  {
    name: "sync",
    takes: "<FOLDER> [PATH]",
    does: "make the tree, or a folder of it, what a local folder is",
    flags: [fsFlags.down, fsFlags.keep, fsFlags.at],
    examples: ["fs sync site --tree site", "fs sync site --tree site --down"],
    more: "\n\nWhat is there already is not moved. It is one commit: whoever reads has all of it, or what was there before.",
    act: async ({ settings, given, args: [folder = "", path], io }) =>
      (await commands()).sync(settings, { folder, path, down: is(fsFlags.down, given), keep: is(fsFlags.keep, given) }, io),
  },
  {
    name: "log",
    does: "list the commits that are kept, the newest first",
    flags: [fsFlags.newest],
    examples: ["fs log --tree site -n 5"],
    act: async ({ settings, given, io }) => (await commands()).log(settings, valueOf(fsFlags.newest, given, {}), io),
  },
  {
    name: "gc",
    does: "delete what no tree, no history, no deploy and no reader needs",
    flags: [fsFlags.dryRun],
    examples: ["fs gc --dry-run"],
    act: async ({ settings, given, io }) => (await commands()).gc(settings, is(fsFlags.dryRun, given), io),
  },
];

/** It would be taken for folders of those names in another tree. @throws QuorateError INVALID_OPTION */
function checkNoUri(args: readonly string[]): void {
  const uri = args.find((arg) => /^(etcdfs|memory|file):/.test(arg));
  if (uri === undefined) return;
  throw new QuorateError("INVALID_OPTION", `Cannot do that: ${JSON.stringify(uri)} names a tree, and is given as a path`, {
    hint: `name it with --tree ${uri}, and give a path in it, like /conf`,
  });
}

export function addFs(program: Command, io: Io, done: (exitCode: number) => void): void {
  const group = groupOf(program, "fs", "trees of files that all hosts share");
  group.addHelpText(
    "after",
    `${examples("quorate fs sync site --tree site", "quorate fs ls --tree site", "quorate fs log --tree site")}

A tree that nobody has written to is empty. The cluster is that of --endpoints, or that of the agent whose folder is --prefix.`,
  );
  for (const verb of verbs) {
    const all = [fsFlags.tree, ...(verb.flags ?? []), ...commonFlags];
    const made = command(group, verb.name, verb.does, all).aliases([...(verb.aliases ?? [])]);
    if (verb.takes !== undefined) made.arguments(verb.takes);
    made.addHelpText("after", `${examples(...verb.examples.map((line) => `quorate ${line}`))}${verb.more ?? ""}`);
    made.action(async () => {
      checkNoUri(made.args);
      const given = givenTo(made, all);
      done(await verb.act({ settings: fsSettings(given, io.env), given, args: made.args, io }));
    });
  }
}
