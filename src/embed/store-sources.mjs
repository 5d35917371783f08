// Reads the machine's own apt sources, for the mirror and the keyring of the distribution's archive.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/**
 * One entry of the machine's apt sources.
 *
 * @typedef {object} AptSource
 * @property {string} uri
 * @property {readonly string[]} suites
 * @property {readonly string[]} components
 * @property {string | undefined} signedBy paths of keyrings and fingerprints as apt takes them, or the text of a key
 */

/**
 * A distribution's archive.
 *
 * @typedef {object} Archive
 * @property {string} name
 * @property {readonly string[]} suites those with an etcd 3.5 or newer, newest first
 * @property {readonly string[]} others suites that also show that a source is this archive
 * @property {string} component where etcd is
 * @property {readonly string[]} keyrings
 * @property {string} keyringPackage
 */

/** @type {readonly Archive[]} */
export const archives = [
  {
    name: "debian",
    suites: ["forky", "trixie"],
    others: ["bookworm", "bullseye", "sid", "unstable", "testing", "stable", "oldstable"],
    component: "main",
    keyrings: ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"],
    keyringPackage: "debian-archive-keyring",
  },
  {
    name: "ubuntu",
    suites: ["resolute", "questing"],
    others: ["plucky", "noble", "jammy", "focal", "devel"],
    component: "universe",
    keyrings: ["/usr/share/keyrings/ubuntu-archive-keyring.gpg"],
    keyringPackage: "ubuntu-keyring",
  },
];

/**
 * The sources that are a mirror of one archive, the plainest first. Whether one really is, the signature decides.
 *
 * @param {Archive} archive
 * @param {readonly AptSource[]} sources
 * @returns {AptSource[]}
 */
export function mirrorsOf(archive, sources) {
  const suites = new Set([...archive.suites, ...archive.others]);
  const fits = sources.filter(
    ({ uri, suites: has, components }) =>
      uri.includes(archive.name) &&
      has.some((suite) => suites.has(suite)) &&
      components.some((name) => name === "main" || name === archive.component),
  );
  const isPlain = (/** @type {AptSource} */ { uri }) => new RegExp(`/${archive.name}(-ports)?/?$`).test(uri);
  const ordered = [...fits.filter(isPlain), ...fits.filter((source) => !isPlain(source))];
  return ordered.filter(({ uri }, index) => ordered.findIndex((other) => other.uri === uri) === index);
}

/**
 * Every enabled source of packages, in apt's order.
 *
 * @param {string} [etc] the folder of apt's configuration
 * @returns {AptSource[]}
 */
export function readSources(etc = "/etc/apt") {
  const parts = join(etc, "sources.list.d");
  const files = existsSync(parts) ? readdirSync(parts).sort() : [];
  const read = (/** @type {string} */ file) => {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return "";
    }
  };
  return [
    ...parseOneLine(read(join(etc, "sources.list"))),
    ...files.filter((name) => name.endsWith(".list")).flatMap((name) => parseOneLine(read(join(parts, name)))),
    ...files.filter((name) => name.endsWith(".sources")).flatMap((name) => parseDeb822(read(join(parts, name)))),
  ];
}

/**
 * @param {string} text a sources.list
 * @returns {AptSource[]}
 */
export function parseOneLine(text) {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?([a-z+]+:\S+)\s+([^\s/]+)\s+([^#]+)/.exec(line);
    if (!match) return [];
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    return isFetched(uri) ? [{ uri, suites: [suite], components: words(components), signedBy }] : [];
  });
}

/**
 * @param {string} text a deb822 file, `*.sources`
 * @returns {AptSource[]}
 */
export function parseDeb822(text) {
  const stanzas = text.replace(/^#.*\n?/gm, "").split(/\n[ \t]*\n/);
  return stanzas.flatMap((stanza) => {
    const fields = deb822Fields(stanza);
    if (/^(no|false|0|off|without|disable)$/i.test(fields.get("enabled") ?? "") || !words(fields.get("types")).includes("deb"))
      return [];
    const suites = words(fields.get("suites"));
    const components = words(fields.get("components"));
    const signedBy = fields.get("signed-by");
    return words(fields.get("uris"))
      .filter(isFetched)
      .map((uri) => ({
        uri,
        suites,
        components,
        signedBy: signedBy?.includes("BEGIN PGP") ? signedBy : signedBy && words(signedBy).join(","),
      }));
  });
}

/** @param {string} stanza */
function deb822Fields(stanza) {
  /** @type {Map<string, string>} */
  const fields = new Map();
  let field = "";
  for (const line of stanza.split("\n")) {
    const start = /^([A-Za-z0-9-]+):[ \t]*(.*)$/.exec(line);
    if (start) fields.set((field = (start[1] ?? "").toLowerCase()), start[2] ?? "");
    // A lone dot stands for an empty line, as within a key.
    else if (/^[ \t]/.test(line)) fields.set(field, `${fields.get(field) ?? ""}\n${line.trim().replace(/^\.$/, "")}`);
  }
  return fields;
}

/** @param {string} uri */
function isFetched(uri) {
  return !uri.startsWith("cdrom:");
}

/** @param {string | undefined} text */
function words(text) {
  return (text ?? "").split(/[\s,]+/).filter(Boolean);
}
