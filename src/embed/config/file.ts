import { readFile } from "node:fs/promises";
import type { isMap, isScalar, Document, LineCounter, Node, Pair } from "yaml";
import { messageOf } from "../../errors.ts";
import { Config } from "./config.ts";
import { clusterStateFlagNew } from "./constants.ts";
import { durationOfNanoseconds } from "./duration.ts";
import { ConfigError } from "./error.ts";
import { fields, gates, type FieldPath, type FieldSpec } from "./table.ts";
import { urlsOf } from "./urls.ts";
import { setValue, type Value } from "./values.ts";

/** The most that a file of options is. Larger ones are something else. */
const mostBytes = 1_000_000;

const sections: ReadonlySet<string> = new Set(
  Object.values(fields).flatMap(({ file }) => (file?.includes(".") === true ? [file.slice(0, file.indexOf("."))] : [])),
);

/** Of the proxy that etcd was until 3.5, and of a server's program alone. The reference passes them over. */
const passedOver: ReadonlySet<string> = new Set([
  "proxy",
  "proxy-failure-wait",
  "proxy-refresh-interval",
  "proxy-dial-timeout",
  "proxy-write-timeout",
  "proxy-read-timeout",
]);

/** Every key that a file of some etcd may have: of each field its own, and the names that its flag has with others. */
const paths: ReadonlyMap<string, FieldPath> = pathsOfKeys();

function pathsOfKeys(): Map<string, FieldPath> {
  const all = (Object.entries(fields) as [FieldPath, FieldSpec][]).filter(([, { file }]) => file !== undefined);
  const found = new Map<string, FieldPath>();
  for (const [path, { file, flags }] of all) {
    if (file?.includes(".") === true) continue;
    for (const flag of Object.values(flags))
      if (flag !== undefined && flag !== gates && !flag.includes("=")) found.set(flag, path);
  }
  for (const [path, { file }] of all) found.set(file ?? "", path);
  return found;
}

/**
 * Reads etcd's own configuration file, YAML or JSON, and checks it as `validate` does. What it leaves out has its default. Durations are
 * numbers of nanoseconds there; they are also read as Go's ("5m").
 *
 * @throws ConfigError UnreadableFile; UnknownOption, InvalidValue with the line; and those of `validate`
 */
export async function configFromFile(path: string): Promise<Config> {
  const text = await readText(path);
  // Most programs read none.
  const yaml = await import("yaml");
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: false });
  const [wrong] = document.errors;
  if (wrong !== undefined) {
    throw new ConfigError(
      "UnreadableFile",
      `Cannot read ${path}: line ${lines.linePos(wrong.pos[0]).line} is no YAML: ${wrong.message}`,
      {
        cause: wrong,
      },
    );
  }
  const config = new Config();
  const defaultInitialCluster = config.initialCluster;
  new Reading(yaml, config, path, lines, document).read();
  const isDiscovered = config.durl !== "" || config.dnsCluster !== "" || (config.discoveryEndpoints ?? []).length > 0;
  if (isDiscovered && config.initialCluster === defaultInitialCluster) config.initialCluster = "";
  if (config.clusterState === "") config.clusterState = clusterStateFlagNew;
  config.validate();
  return config;
}

async function readText(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new ConfigError("UnreadableFile", `Cannot read the configuration file ${path}: ${messageOf(cause)}`, { cause });
  }
  if (bytes.length > mostBytes)
    throw new ConfigError("UnreadableFile", `Cannot read ${path} as a configuration file: it has ${bytes.length} bytes`);
  return bytes.toString("utf8");
}

interface Yaml {
  readonly isMap: typeof isMap;
  readonly isScalar: typeof isScalar;
}

/** One file, on its way into a configuration. */
class Reading {
  readonly #yaml: Yaml;
  readonly #config: Config;
  readonly #path: string;
  readonly #lines: LineCounter;
  readonly #document: Document;

  constructor(yaml: Yaml, config: Config, path: string, lines: LineCounter, document: Document) {
    this.#yaml = yaml;
    this.#config = config;
    this.#path = path;
    this.#lines = lines;
    this.#document = document;
  }

  read(): void {
    const { contents } = this.#document;
    const { isMap, isScalar } = this.#yaml;
    if (contents === null || (isScalar(contents) && contents.value === null)) return;
    if (!isMap(contents))
      throw new ConfigError("UnreadableFile", `Cannot read ${this.#path}: it has no options, each with a name`);
    for (const pair of contents.items) this.#option(pair as Pair<Node, Node | null>, "");
  }

  #option({ key: keyNode, value: node }: Pair<Node, Node | null>, section: string): void {
    const { isMap, isScalar } = this.#yaml;
    const key = section + String(isScalar(keyNode) ? keyNode.value : keyNode);
    const value = this.#plain(key, keyNode, node);
    if (section === "" && sections.has(key)) {
      if (value === undefined || value === null) return;
      if (!isMap(node)) throw this.#invalid(key, keyNode, "it is a section with options of its own");
      for (const pair of node.items) this.#option(pair as Pair<Node, Node | null>, `${key}.`);
      return;
    }
    // What is named and not set is not set.
    if (value === undefined || value === null || passedOver.has(key)) return;
    if (key === gates) return this.#gates(value, keyNode);
    const path = paths.get(key);
    if (path === undefined) {
      throw new ConfigError(
        "UnknownOption",
        `Cannot use ${this.#path}: line ${this.#lineOf(keyNode)}: no etcd has an option ${key}`,
        {
          hint: "correct its name, or leave it out",
        },
      );
    }
    this.#set(path, key, keyNode, value);
  }

  #plain(key: string, keyNode: Node, node: Node | null): unknown {
    try {
      return node?.toJS(this.#document, { maxAliasCount: 10 });
    } catch (error) {
      throw this.#invalid(key, keyNode, messageOf(error));
    }
  }

  #set(path: FieldPath, key: string, keyNode: Node, value: unknown): void {
    const found = read(fields[path].kind, value);
    if ("why" in found) throw this.#invalid(key, keyNode, found.why);
    // As the reference: these are not set by an empty text.
    if (fields[path].kind === "urls" && Array.isArray(found.value) && found.value.length === 0) return;
    setValue(this.#config, path, found.value);
  }

  #gates(value: unknown, keyNode: Node): void {
    if (typeof value !== "string") throw this.#invalid(gates, keyNode, "it must be a text");
    for (const one of value.split(",").map((part) => part.trim())) {
      if (one === "") continue;
      const [, gate = "", state = ""] = /^(\w+)=(true|false)$/.exec(one) ?? [];
      const [path] = (Object.entries(fields) as [FieldPath, FieldSpec][]).find(([, spec]) => spec.gate === gate) ?? [];
      if (path === undefined) throw this.#invalid(gates, keyNode, `${JSON.stringify(one)} opens or closes no gate that is known`);
      setValue(this.#config, path, state === "true");
    }
  }

  #lineOf(node: Node): number {
    return this.#lines.linePos(node.range?.[0] ?? 0).line;
  }

  #invalid(key: string, node: Node, why: string): ConfigError {
    return new ConfigError("InvalidValue", `Cannot use ${this.#path}: line ${this.#lineOf(node)}: ${key}: ${why}`, {
      field: key,
    });
  }
}

/** A value of a file as the field has it. */
function read(kind: FieldSpec["kind"], value: unknown): { readonly value: Value } | { readonly why: string } {
  switch (kind) {
    case "boolean":
      return typeof value === "boolean" ? { value } : { why: "it must be true or false" };
    case "number":
      return typeof value === "number" ? { value } : { why: "it must be a number" };
    case "duration":
      if (typeof value === "number") return { value: durationOfNanoseconds(value) };
      return typeof value === "string" ? { value } : { why: "it must be a number of nanoseconds" };
    case "string":
      if (typeof value === "string") return { value };
      return typeof value === "number" || typeof value === "boolean" ? { value: String(value) } : { why: "it must be a text" };
    case "list":
    case "urls":
      if (typeof value === "string") return { value: urlsOf(value) };
      if (Array.isArray(value) && value.every((one) => typeof one === "string")) return { value };
      return { why: "it must be a list of texts" };
  }
}
