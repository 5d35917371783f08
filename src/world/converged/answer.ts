import type { ConvergedKeys } from "../../keys.ts";
import type { Convergence } from "../api/converger.ts";

/** What one key says of a host; undefined where that cannot be read. */
export interface Statement {
  readonly host: string;
  readonly converged: boolean | undefined;
}

/** Undefined where the key is of no host. */
export function statementIn(keys: ConvergedKeys, key: string, value: string | undefined): Statement | undefined {
  const parsed = keys.parse(key);
  if (parsed === undefined) return undefined;
  return { host: parsed.host, converged: value === "true" ? true : value === "false" ? false : undefined };
}

/** A host is converged where its agent and all its programs are. */
export function answerOf(statements: Iterable<Statement>): Convergence {
  const hosts = new Map<string, { host: string; converged: boolean; malformed: boolean }>();
  for (const { host, converged } of statements) {
    const known = hosts.get(host) ?? { host, converged: true, malformed: false };
    known.converged &&= converged === true;
    known.malformed ||= converged === undefined;
    hosts.set(host, known);
  }
  const all = [...hosts.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
  return { converged: all.length > 0 && all.every(({ converged }) => converged), hosts: all };
}

export function sameAnswer(a: Convergence, b: Convergence): boolean {
  return (
    a.hosts.length === b.hosts.length &&
    a.hosts.every(({ host, converged, malformed }, i) => {
      const other = b.hosts[i]!;
      return host === other.host && converged === other.converged && malformed === other.malformed;
    })
  );
}
