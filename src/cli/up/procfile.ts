import { QuorateError } from "../../errors.ts";
import { quote } from "../../keys.ts";

/** One line of a Procfile. */
export interface Proc {
  readonly name: string;
  readonly command: string;
}

/**
 * Reads `NAME: COMMAND` lines. Empty lines and those that begin with `#` are passed over, as goreman does.
 *
 * @throws QuorateError INVALID_OPTION with the line
 */
export function parseProcfile(text: string, file: string): Proc[] {
  const procs: Proc[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [, name, command] = /^\s*([A-Za-z0-9_.-]+)\s*:\s*(\S.*?)\s*$/.exec(line) ?? [];
    const wrong = (why: string): QuorateError =>
      new QuorateError("INVALID_OPTION", `Cannot use ${file}: line ${i + 1}: ${why}`, {
        hint: "write each as NAME: COMMAND",
        data: { option: "procfile" },
      });
    if (name === undefined || command === undefined) throw wrong(`${quote(line.slice(0, 80))} is no NAME: COMMAND`);
    if (procs.some((one) => one.name === name)) throw wrong(`there is another ${name}`);
    procs.push({ name, command });
  }
  return procs;
}

export function writeProcfile(procs: readonly Proc[]): string {
  return `# quorate up --procfile=THIS_FILE, or goreman\n${procs.map(({ name, command }) => `${name}: ${command}\n`).join("")}`;
}

export interface UpCluster {
  readonly size: number;
  /** Where each has its folder; absolute. */
  readonly folder: string;
  readonly token: string | undefined;
  readonly state: "new" | "existing" | undefined;
  readonly firstPort: number;
}

/** Agents that found a cluster together, on ports that follow each other: 2379 and 2380, 2381 and 2382, ... */
export function agentsOf({ size, folder, token, state, firstPort }: UpCluster): Proc[] {
  const agents = Array.from({ length: size }, (_, i) => ({
    name: `h${i + 1}`,
    client: `http://127.0.0.1:${firstPort + 2 * i}`,
    server: `http://127.0.0.1:${firstPort + 2 * i + 1}`,
  }));
  const cluster = agents.map(({ name, server }) => `${name}=${server}`).join(",");
  return agents.map(({ name, client, server }) => ({
    name,
    command: [
      "quorate run",
      `--hostname=${name}`,
      `--client-urls=${client}`,
      `--server-urls=${server}`,
      `--prefix=${shellWord(`${folder}/${name}`)}`,
      `--ideal-cluster-size=${size}`,
      `--initial-cluster=${cluster}`,
      ...(state === undefined ? [] : [`--initial-cluster-state=${state}`]),
      ...(token === undefined ? [] : [`--initial-cluster-token=${shellWord(token)}`]),
    ].join(" "),
  }));
}

function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:=,@+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
