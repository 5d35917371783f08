import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { QuorateError } from "../errors.ts";
import { quote } from "../keys.ts";
import { command, examples, givenTo, groupOf, own } from "./command-words.ts";
import { addFs } from "./fs-words.ts";
import type { Io } from "./io.ts";
import {
  agentFlags,
  clientFlags,
  clientSettings,
  endFlags,
  logFlags,
  parseDuration,
  wholeCount,
  chooserFlag,
  policyFlags,
  policyGiven,
  runSettings,
  valueOf,
  type Flag,
} from "./options.ts";
import { addSchedule } from "./schedule-words.ts";
import { addWorld } from "./world-words.ts";

/** The words of the command line. What each command does is in a file of its own, loaded when it is called. */

const waitFlag = own("wait", undefined, "return when the cluster has that size and is settled");
const yesFlag = own("yes", undefined, "size 0 is meant: do not ask");
const timeoutFlag: Flag<number> = {
  ...own("timeout", "TIME", "how long --wait waits (default: 2m)"),
  read: (texts) => parseDuration(texts.at(-1) ?? ""),
};
const healthFlag = own("endpoints-health", undefined, "have every endpoint commit a proposal, and say how long it took");
const prefixFlag = { ...agentFlags.prefix, help: "folder of the agent on this host, for its replica (default: as for run)" };
const followFlag: Flag<string> = { ...own("follow", undefined, "go on with every new event, until ^C"), short: "f" };
const newestFlag: Flag<number> = {
  ...own("newest", "N", "only the newest N (default: all that are kept, 1000 or a few more)"),
  short: "n",
  read: (texts) => wholeCount(texts.at(-1) ?? ""),
};
const assumedSizeFlag = own("size", "N", "as if the size were N");
const saveFlag = own("save", "FILE", "write what was seen into a file as well");
const fromSavedFlag = own("from", "FILE", "plan from such a file, without any cluster");
const onceFlag = own("once", undefined, "play the whole story without a person, then end");
const tokenSizeFlag: Flag<number> = {
  ...own("size", "N", "how many hosts found the cluster; the others join it"),
  read: (texts) => wholeCount(texts.at(-1) ?? ""),
};
const tokenUrlFlag = own("url", "URL", "client URL of that etcd");
const upSizeFlag: Flag<number> = {
  ...own("size", "N", "how many agents (default: 3)"),
  read: (texts) => wholeCount(texts.at(-1) ?? ""),
};
const tokenTtlFlag: Flag<number> = {
  ...own("ttl", "TIME", "how long it counts (default: 1h)"),
  read: (texts) => parseDuration(texts.at(-1) ?? ""),
};
const passwordsFlag = own("passwords", "DIR", "folder with a file for each password: root, agent and world");
const procfileFlag = own("procfile", "FILE", "run what it says; where there is none, write it");
const upFolderFlag = own("prefix", "DIR", "where each agent has its folder (default: quorate-up, here)");
const suiteFlag = own("suite", "NAME", "the suite of the distribution to take it from, such as bookworm");
const fromFlag = own("from", "FILE", "a release archive, or an etcd binary");
const sumFlag = own("sha256", "SUM", "the SHA-256 sum of that file");
const ignored: Flag<string> = {
  ...own("no-pgp", undefined, "accepted and ignored, for people who come from mgmt"),
  hidden: true,
};
const ignoredNoExit: Flag<string> = { ...ignored, ...own("converged-timeout-no-exit", undefined, ignored.help), hidden: true };

/**
 * Runs one command line to its end. The exit code comes back; errors are thrown.
 *
 * @throws UsageError for what commander refuses, already told on standard error.
 */
export async function runProgram(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  const program = buildProgram(io, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2;
  }
  return exitCode;
}

export function buildProgram(io: Io, done: (exitCode: number) => void): Command {
  const program = new Command("quorate")
    .description("An elastic etcd: agents find each other, and a leader keeps the cluster at the size you ask for.")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        io.out(text);
      },
      writeErr: (text) => {
        io.err(text);
      },
      getOutHelpWidth: () => Math.min(io.columns ?? 100, 110),
      getErrHelpWidth: () => Math.min(io.columns ?? 100, 110),
      outputError: (text, write) => {
        write(usageError(text));
      },
    })
    .configureHelp({ showGlobalOptions: false, styleTitle: (text) => text })
    .addHelpText(
      "after",
      `
Every flag is also a variable: --session-ttl is QUORATE_SESSION_TTL.
Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 no quorum, 5 --wait timed out, 6 refused for safety, 7 no usable etcd.

First steps:
  quorate demo                       five agents in this terminal
  quorate run --tmp-prefix           one agent here, on the loopback address
  quorate status                     how the cluster is
  quorate world str set motd hello   what all hosts read, with \`quorate world str get motd\``,
    );
  const runFlags = [...Object.values(agentFlags), ...Object.values(endFlags), ...Object.values(logFlags), ignored, ignoredNoExit];
  const run = command(program, "run", "run an agent until ^C", runFlags);
  run
    .argument("[empty]", "the word `empty` is accepted and ignored, for people who come from mgmt")
    .addHelpText(
      "after",
      `
The defaults listen on the loopback address only. On several machines, name addresses that the others reach:

  one$ quorate run --insecure --client-urls=http://192.0.2.1:2379 --server-urls=http://192.0.2.1:2380
  two$ quorate run --insecure --client-urls=http://192.0.2.2:2379 --server-urls=http://192.0.2.2:2380 --seeds=http://192.0.2.1:2379

--insecure: nobody else can listen on that network. Elsewhere begin the URLs with https, and give certificates: --cert-file and its like for
clients, --peer-cert-file and its like for servers among themselves.

Three agents for a trial on one machine:

  quorate run --tmp-prefix --hostname h1
  quorate run --tmp-prefix --hostname h2 --seeds=http://127.0.0.1:2379 --client-urls=http://127.0.0.1:2381 --server-urls=http://127.0.0.1:2382
  quorate run --tmp-prefix --hostname h3 --seeds=http://127.0.0.1:2379 --client-urls=http://127.0.0.1:2383 --server-urls=http://127.0.0.1:2384

^C leaves the cluster in good order (twice hurries, three times kills). SIGTERM and SIGHUP stop the agent and keep its seat, unless
--leave-on-terminate is given.

An agent is converged while its seat and its server are as the leader wants them and the leader has nothing left to do; with
--converged-timeout, once that has been so for as long. With --converged-exit on all of them, agents end together when the last one is.
Choose a timeout that is longer than it takes to start them all: an agent that is alone is converged, too.

Flags marked "founder's" are written by the agent that founds a cluster, and are the cluster's policy from then on: those of other agents
change nothing, and log and status name the ones that differ. \`quorate policy set\` changes the policy.`,
    )
    .action(async (graph: string | undefined) => {
      if (graph !== undefined && graph !== "empty") {
        throw new QuorateError("INVALID_OPTION", `Cannot run ${quote(graph)}: an agent takes no argument`, {
          hint: "quorate run --help",
        });
      }
      const settings = runSettings(givenTo(run, runFlags), io.env);
      done(await (await import("./run.ts")).run(settings, io));
    });

  const asking = Object.values(clientFlags);
  const members = command(program, "members", "list the members of the cluster: who holds a seat", asking);
  members
    .addHelpText("after", examples("quorate members --endpoints=http://192.0.2.1:2379", "quorate members -o json"))
    .action(async () => {
      done(await (await import("./members.ts")).members(clientSettings(givenTo(members, asking), io.env), io));
    });

  const statusFlags = [...asking, healthFlag, prefixFlag];
  const status = command(program, "status", "one screen: who is there, what the chooser waits for, and why", statusFlags);
  status.addHelpText("after", examples("quorate status", "quorate status --endpoints-health")).action(async () => {
    const given = givenTo(status, statusFlags);
    done(
      await (
        await import("./status.ts")
      ).status(
        {
          ...clientSettings(given, io.env),
          endpointsHealth: given[healthFlag.name] === true,
          prefix: valueOf(prefixFlag, given, io.env),
        },
        io,
      ),
    );
  });

  const sizeFlags = [...asking, waitFlag, timeoutFlag, yesFlag];
  const size = command(program, "size", "tell or set how many members the cluster is to have", sizeFlags);
  size
    .argument("[N]", "the new size; without it, the present one is told")
    .addHelpText(
      "after",
      `${examples("quorate size", "quorate size 3", "quorate size 5 --wait --timeout 30s", "quorate size 0")}

Size 0 shuts the whole cluster down in good order, after 10 s in which another size takes it back. One host keeps the data; started
first, it goes on at the former size.`,
    )
    .action(async (n: string | undefined) => {
      const given = givenTo(size, sizeFlags);
      const timeoutMs = valueOf(timeoutFlag, given, io.env) ?? 120_000;
      done(
        await (
          await import("./size.ts")
        ).size(
          {
            ...clientSettings(given, io.env),
            size: n,
            wait: given[waitFlag.name] === true,
            timeoutMs,
            yes: given[yesFlag.name] === true,
          },
          io,
        ),
      );
    });

  const planFlags = [assumedSizeFlag, saveFlag, fromSavedFlag, ...asking];
  const plan = command(program, "plan", "what the chooser would do now, step by step, without doing it", planFlags);
  plan
    .addHelpText(
      "after",
      `${examples("quorate plan", "quorate plan --size 5", "quorate plan --save seen.json", "quorate plan --from seen.json --size 3")}

It supposes that nothing goes wrong: new learners are in sync at once, members that answer have been healthy for long, and volunteers
pass their pre-flight unless the leader says that they failed it. What it shows ends where the cluster is settled, or waits.`,
    )
    .action(async () => {
      const given = givenTo(plan, planFlags);
      const one = (flag: Flag<string>): string | undefined => valueOf(flag, given, {});
      const settings = { size: one(assumedSizeFlag), save: one(saveFlag), from: one(fromSavedFlag) };
      done(await (await import("./plan.ts")).plan({ ...clientSettings(given, io.env), ...settings }, io));
    });

  const eventsFlags = [followFlag, newestFlag, ...asking];
  const events = command(program, "events", "what the leaders did and saw, in order, each with its reason", eventsFlags);
  events
    .addHelpText(
      "after",
      `${examples("quorate events -n 20", "quorate events --follow", "quorate events -o json")}

"can lose 0 -> 1" is how many more voters might die before quorum is lost, before that event and after it. The order is that of the
cluster; the times are the clocks of its leaders. With --follow, -o json gives one document a line.`,
    )
    .action(async () => {
      const given = givenTo(events, eventsFlags);
      const follow = given[followFlag.name] === true;
      const newest = valueOf(newestFlag, given, {});
      done(await (await import("./events.ts")).events({ ...clientSettings(given, io.env), follow, newest }, io));
    });

  const policy = groupOf(program, "policy", "what the cluster keeps to, whoever leads it: most seats, standbys, timeouts");
  const getPolicy = command(policy, "get", "show the policy, and who was started with other flags", asking);
  getPolicy.addHelpText("after", examples("quorate policy get", "quorate policy get -o json")).action(async () => {
    done(await (await import("./policy.ts")).getPolicy(clientSettings(givenTo(getPolicy, asking), io.env), io));
  });
  const setFlags = [...Object.values(policyFlags), chooserFlag, ...asking];
  const setPolicy = command(policy, "set", "change the policy: what is given changes, everything else stays", setFlags);
  setPolicy
    .addHelpText(
      "after",
      `${examples("quorate policy set --max-seats 5 --standbys 1", "quorate policy set --restart-grace 10m --even-voters false")}

Only what is typed counts here: the variables of these flags are for \`quorate run\`.`,
    )
    .action(async () => {
      const given = givenTo(setPolicy, setFlags);
      const change = policyGiven(given);
      done(await (await import("./policy.ts")).setPolicy({ ...clientSettings(given, io.env), change }, io));
    });

  addWorld(program, io, done);
  addSchedule(program, io, done);
  addFs(program, io, done);

  const etcd = groupOf(program, "etcd", "the etcd that agents run: find it, list the store, install one");
  const whichFlags = [agentFlags.etcdBin, clientFlags.output];
  const which = command(etcd, "which", "print the path of the etcd that an agent would run", whichFlags);
  which.action(async () => {
    const given = givenTo(which, whichFlags);
    const settings = {
      etcdBin: valueOf(agentFlags.etcdBin, given, io.env),
      output: valueOf(clientFlags.output, given, io.env) ?? "table",
    };
    done(await (await import("./etcd-commands.ts")).which(settings, io));
  });
  const listFlags = [clientFlags.output];
  const list = command(etcd, "list", "list the etcds of the managed store", listFlags);
  list.action(async () => {
    done(
      (await import("./etcd-commands.ts")).list(
        { output: valueOf(clientFlags.output, givenTo(list, listFlags), io.env) ?? "table" },
        io,
      ),
    );
  });
  const installFlags = [suiteFlag, fromFlag, sumFlag];
  const install = command(etcd, "install", "install an etcd into the managed store; no root needed", installFlags);
  install
    .addHelpText(
      "after",
      examples(
        "quorate etcd install",
        "quorate etcd install --suite bookworm",
        "quorate etcd install --from etcd-v3.5.30-linux-amd64.tar.gz --sha256 SUM",
      ),
    )
    .action(async () => {
      const given = givenTo(install, installFlags);
      const one = (flag: Flag<string>): string | undefined => valueOf(flag, given, {});
      done(
        await (
          await import("./etcd-commands.ts")
        ).install({ suite: one(suiteFlag), from: one(fromFlag), sha256: one(sumFlag) }, io),
      );
    });

  const auth = groupOf(program, "auth", "who may do what in the cluster, where everybody has to log in");
  const initFlags = [...asking, passwordsFlag];
  const init = command(auth, "init", "make users and roles, and turn authentication on once all agents log in", initFlags);
  init
    .addHelpText(
      "after",
      `
It makes the users root (people), quorate-agent (agents; etcd lets only those with its role root change members) and quorate-world (programs:
they read the namespace, and write what the World owns). Each password is a file in --passwords; one that is not there yet is made. While
an agent does not log in it refuses, and names it: start that one again with --user and --password-file, then run it once more.
${examples("quorate auth init --passwords=/root/quorate-passwords")}`,
    )
    .action(async () => {
      const given = givenTo(init, initFlags);
      const settings = { ...clientSettings(given, io.env), passwords: valueOf(passwordsFlag, given, {}) };
      done(await (await import("./auth.ts")).init(settings, io));
    });

  const token = groupOf(program, "token", "what a host shows that joins a cluster with --auto-tls");
  const tokenFlags = [...asking, tokenTtlFlag];
  const createToken = command(token, "create", "make a token for one host, and print it", tokenFlags);
  createToken
    .addHelpText(
      "after",
      `
Whoever has it is given certificates of this cluster, once: keep it in a file that only the host reads which joins. Nothing but the token goes to
standard output.
${examples("quorate token create > token", "quorate token create --ttl 15m -o json")}`,
    )
    .action(async () => {
      const given = givenTo(createToken, tokenFlags);
      const settings = { ...clientSettings(given, io.env), ttlMs: valueOf(tokenTtlFlag, given, {}) ?? 3_600_000 };
      done(await (await import("./token.ts")).create(settings, io));
    });

  const discovery = groupOf(program, "discovery", "tokens by which hosts find each other (run --discovery)");
  const createFlags = [tokenSizeFlag, tokenUrlFlag, clientFlags.output];
  const create = command(discovery, "create", "make a token for a new cluster in an etcd that its hosts reach", createFlags);
  create.addHelpText("after", examples("quorate discovery create --size 3 --url http://192.0.2.9:2379")).action(async () => {
    const given = givenTo(create, createFlags);
    const settings = {
      size: valueOf(tokenSizeFlag, given, {}),
      url: valueOf(tokenUrlFlag, given, {}),
      output: valueOf(clientFlags.output, given, io.env) ?? "table",
    };
    done(await (await import("./discovery.ts")).create(settings, io, new AbortController().signal));
  });

  // Its arguments never come here (see main.ts): only its line in the help does.
  program
    .command("etcdctl")
    .description("run the etcdctl that belongs to it, with API 3 and the agent's endpoints")
    .argument("[args...]", "passed on as they are")
    .helpOption(false);

  const upFlags = [
    upSizeFlag,
    procfileFlag,
    upFolderFlag,
    agentFlags.initialClusterState,
    agentFlags.initialClusterToken,
    agentFlags.etcdBin,
  ];
  const up = command(program, "up", "several agents on this machine, for development, or what a Procfile says", upFlags);
  up.addHelpText("after", examples("quorate up --size 3", "quorate up --procfile Procfile")).action(async () => {
    const given = givenTo(up, upFlags);
    const settings = {
      size: valueOf(upSizeFlag, given, {}),
      procfile: valueOf(procfileFlag, given, {}),
      folder: valueOf(upFolderFlag, given, {}),
      state: valueOf(agentFlags.initialClusterState, given, {}),
      token: valueOf(agentFlags.initialClusterToken, given, {}),
      etcdBin: valueOf(agentFlags.etcdBin, given, io.env),
    };
    done(await (await import("./up/index.ts")).up(settings, io));
  });

  const demoFlags = [onceFlag, agentFlags.etcdBin];
  const demo = command(program, "demo", "five agents in one terminal that form, grow, heal and shrink a cluster", demoFlags);
  demo.addHelpText("after", examples("quorate demo", "quorate demo --once")).action(async () => {
    const given = givenTo(demo, demoFlags);
    const settings = { once: given[onceFlag.name] === true, etcdBin: valueOf(agentFlags.etcdBin, given, io.env) };
    done(await (await import("./demo/index.ts")).demo(settings, io));
  });
  return program;
}

/** What commander says, in the form of every other error. */
function usageError(text: string): string {
  const [what = "", ...more] = text.trim().split("\n");
  const guess = more.map((line) => line.trim().replace(/^\((.*)\)$/, "$1")).filter((line) => line !== "");
  const hint =
    guess.length > 0
      ? guess.join(" ").replace(/^Did/, "did")
      : "`quorate help` lists the commands, `quorate help COMMAND` its flags";
  return `${what}\n  hint: ${hint}\n`;
}

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
