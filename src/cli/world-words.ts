import type { Command } from "commander";
import { QuorateError } from "../errors.ts";
import { command, examples, givenTo, groupOf, type CalledWith, type VerbOf } from "./command-words.ts";
import type { Io } from "./io.ts";
import { valueOf } from "./options.ts";
import type { Listed } from "./world/resources.ts";
import type { Which } from "./world/strings.ts";
import { commonFlags, exclude, filterGiven, flags, worldSettings, writeOptions, type WorldSettings } from "./world/settings.ts";

/** The words of `quorate world`. What each command does is in `world/`, loaded when it is called. */

type Verb = VerbOf<WorldSettings>;
type Called = CalledWith<WorldSettings>;

const filterFlags = [flags.kind, flags.name, flags.from];
const scripts = `

Standard output has the value itself and a line end. Where there is none it has nothing, and the exit code is 1; -o json has null then, and 0.`;
const fromInput = `

\`-\` as value is all of standard input, exactly as it is. What starts with a dash goes behind \`--\`.`;
const untilStopped = `

It goes on through lost connections, until ^C. With -o json it gives one document a line: first a \`snapshot\` of what there is, then
\`changes\` of each revision; \`resynced\` where what was between cannot be had, and this is the difference.`;

export function addWorld(program: Command, io: Io, done: (exitCode: number) => void): void {
  const world = groupOf(program, "world", "what all hosts share: strings, maps by host, exported resources, deploys");
  world.addHelpText(
    "after",
    `${examples("quorate world str set motd hello", "quorate world strmap get address -o json")}${where}`,
  );
  const group = (name: string, plurals: readonly string[], description: string, verbs: readonly Verb[]): void => {
    const made = groupOf(world, name, description).aliases([...plurals]);
    for (const verb of verbs) addVerb(made, verb, io, done);
  };
  group("str", ["strs", "strings"], "strings by name, the same for all hosts", strVerbs);
  group("strmap", ["strmaps"], "maps of one string of each host, by name", mapVerbs);
  group("resource", ["resources"], "resources that hosts export, and collect from one another", resourceVerbs);
  group("deploy", ["deploys"], "the history of what is deployed", deployVerbs);
}

const where = `

The cluster is that of --endpoints, or that of the agent on this host whose folder is --prefix; with both, the endpoints are more addresses of
that agent's cluster. Any etcd will do.`;

function addVerb(group: Command, verb: Verb, io: Io, done: (exitCode: number) => void): void {
  const all = [...(verb.flags ?? []), ...commonFlags];
  const made = command(group, verb.name, verb.does, all).aliases([...(verb.aliases ?? [])]);
  if (verb.takes !== undefined) made.arguments(verb.takes);
  made.addHelpText("after", `${examples(...verb.examples.map((line) => `quorate world ${line}`))}${verb.more ?? ""}`);
  made.action(async () => {
    const given = givenTo(made, all);
    const settings = worldSettings(given, io.env);
    done(await verb.act({ settings, given, args: made.args, io }));
  });
}

const strings = () => import("./world/strings.ts");
const resources = () => import("./world/resources.ts");
const deploys = () => import("./world/deploys.ts");

const strVerbs: readonly Verb[] = [
  {
    name: "get",
    takes: "<NAME>",
    does: "print a string",
    examples: ["str get motd", "str get motd -o json"],
    more: scripts,
    act: async ({ settings, args: [name = ""], io }) => (await strings()).getString(settings, name, io),
  },
  ...sharedVerbs("str", "a string", {
    set: ["str set motd hello", "str set leader h1 --ttl 30s --if-absent", "str set counter --if-revision 7 -- -1"],
    del: ["str del motd"],
    watch: ["str watch motd", "str watch motd -o json"],
  }),
];

const mapVerbs: readonly Verb[] = [
  {
    name: "get",
    takes: "<NAME>",
    does: "print what all hosts have in a map",
    examples: ["strmap get address", "strmap get address -o json"],
    more: "\n\nWhere no host has anything in it the exit code is 1; -o json has an empty list then, and 0.",
    act: async ({ settings, args: [name = ""], io }) => (await strings()).getMap(settings, name, io),
  },
  ...sharedVerbs("strmap", "a host's own string in a map", {
    set: ["strmap set address 192.0.2.7", "strmap set address 192.0.2.8 --hostname h2 --ttl 1m"],
    del: ["strmap del address", "strmap del address --hostname h2"],
    watch: ["strmap watch address", "strmap watch address -o json"],
  }),
];

function sharedVerbs(which: Which, what: string, lines: Readonly<Record<"set" | "del" | "watch", readonly string[]>>): Verb[] {
  const wanted = ({ given, args: [name = ""] }: Called) => ({ name, options: writeOptions(given) });
  return [
    {
      name: "set",
      takes: "<NAME> <VALUE>",
      does: `write ${what}`,
      flags: [flags.ttl, flags.ifAbsent, flags.ifRevision],
      examples: lines.set,
      more: fromInput,
      act: async (called) => (await strings()).set(called.settings, which, wanted(called), called.args[1] ?? "", called.io),
    },
    {
      name: "del",
      takes: "<NAME>",
      does: `delete ${what}`,
      flags: [flags.ifRevision],
      examples: lines.del,
      act: async (called) => (await strings()).del(called.settings, which, wanted(called), called.io),
    },
    {
      name: "ls",
      aliases: ["list"],
      does: "list all names",
      examples: [`${which} ls`],
      act: async ({ settings, io }) => (await strings()).list(settings, which, io),
    },
    {
      name: "watch",
      takes: "<NAME>",
      does: which === "str" ? "print a string, then every change of it" : "print a map of all hosts, then every change of it",
      examples: lines.watch,
      more: untilStopped,
      act: async ({ settings, args: [name = ""], io }) => (await strings()).watch(settings, which, name, io),
    },
  ];
}

const resourceVerbs: readonly Verb[] = [
  {
    name: "export",
    takes: "[KIND] [NAME] [VALUE]",
    does: "export a resource of this host, or a list of them",
    flags: [flags.to, flags.file, flags.scope, flags.replace, flags.ttl],
    examples: [
      "resource export host web1 192.0.2.7",
      "resource export secret key - --to h2 < key.txt",
      "resource export --file resources.json --scope web --replace",
    ],
    more: fromInput,
    act: async (called) => (await resources()).exportResources(called.settings, listed(called), exportOptions(called), called.io),
  },
  {
    name: "collect",
    aliases: ["ls", "list"],
    does: "print what was exported to this host, or to everyone",
    flags: filterFlags,
    examples: ["resource collect", "resource collect --kind host", "resource collect --hostname h2 --from h1 -o json"],
    act: async ({ settings, given, io }) => (await resources()).collect(settings, filterGiven(given), io),
  },
  {
    name: "conflicts",
    does: "print what several hosts export under the same kind and name",
    flags: filterFlags,
    examples: ["resource conflicts", "resource conflicts --kind host"],
    act: async ({ settings, given, io }) => (await resources()).conflicts(settings, filterGiven(given), io),
  },
  {
    name: "del",
    takes: "<KIND> <NAME>",
    does: "delete a resource of this host",
    flags: [flags.to, flags.ifRevision],
    examples: ["resource del host web1", "resource del secret key --to h2"],
    act: async ({ settings, given, args: [kind = "", name = ""], io }) => {
      const to = valueOf(flags.to, given, {});
      const key = { kind, name, ...(to === undefined ? {} : { to }) };
      return (await resources()).deleteResource(settings, key, valueOf(flags.ifRevision, given, {}), io);
    },
  },
  {
    name: "watch",
    does: "print what collect prints, then every change of it",
    flags: filterFlags,
    examples: ["resource watch --kind host", "resource watch -o json"],
    more: untilStopped,
    act: async ({ settings, given, io }) => (await resources()).watch(settings, filterGiven(given), io),
  },
];

/** @throws QuorateError INVALID_OPTION */
function listed({ given, args: [kind, name, value] }: Called): Listed {
  const [file, to] = [valueOf(flags.file, given, {}), valueOf(flags.to, given, {})];
  if (file !== undefined) {
    if (kind !== undefined) throw exclude("--file and a resource that is typed");
    if (to !== undefined) throw exclude("--file and --to");
    return { file };
  }
  if (kind === undefined || name === undefined || value === undefined) {
    throw new QuorateError("INVALID_OPTION", "Cannot export a resource: it needs KIND, NAME and VALUE, or --file", {
      hint: "`quorate world resource export --help` shows how",
    });
  }
  return { kind, name, value, to };
}

function exportOptions({ given }: Called) {
  const { lease } = writeOptions(given);
  const scope = valueOf(flags.scope, given, {});
  const mode = given[flags.replace.name] === true ? ("replace" as const) : ("add" as const);
  return { mode, ...(scope === undefined ? {} : { scope }), ...(lease === undefined ? {} : { lease }) };
}

const deployVerbs: readonly Verb[] = [
  {
    name: "add",
    takes: "<FILE>",
    does: "add a deploy behind the newest; its payload is the file, `-` for standard input",
    flags: [flags.hash, flags.parent, flags.tree, flags.id],
    examples: [
      "deploy add site.json",
      "deploy add site.json --tree site",
      "deploy add site.json --hash b2 --parent a1",
      "deploy add - --id 7 < site.json",
    ],
    act: async ({ settings, given, args: [file = ""], io }) => {
      const [id, hash, parent] = [valueOf(flags.id, given, {}), valueOf(flags.hash, given, {}), valueOf(flags.parent, given, {})];
      const chain = {
        ...(id === undefined ? {} : { id }),
        ...(hash === undefined ? {} : { hash }),
        ...(parent === undefined ? {} : { parent }),
      };
      return (await deploys()).add(settings, file, chain, valueOf(flags.tree, given, {}), io);
    },
  },
  {
    name: "get",
    takes: "<ID>",
    does: "print the payload of a deploy",
    examples: ["deploy get 7 > site.json", "deploy get 7 -o json"],
    more: `\n\nStandard output has the payload, exactly. Where there is none it has nothing, and the exit code is 1; -o json has null then, and 0.`,
    act: async ({ settings, args: [id = ""], io }) => (await deploys()).get(settings, id, io),
  },
  {
    name: "ls",
    aliases: ["list"],
    does: "list the deploys, without payloads",
    examples: ["deploy ls"],
    act: async ({ settings, io }) => (await deploys()).list(settings, io),
  },
  {
    name: "watch",
    does: "list the deploys, then every change",
    examples: ["deploy watch -o json"],
    more: untilStopped,
    act: async ({ settings, io }) => (await deploys()).watch(settings, io),
  },
  {
    name: "prune",
    does: "delete all but the newest",
    flags: [flags.keep],
    examples: ["deploy prune --keep 10"],
    act: async ({ settings, given, io }) => (await deploys()).prune(settings, valueOf(flags.keep, given, {}), io),
  },
];
