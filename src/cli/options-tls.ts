import { resolve } from "node:path";
import { QuorateError } from "../errors.ts";
import type { FileLogin, TlsFiles } from "../etcd/index.ts";
import type { Flag } from "./options.ts";

const file = (name: string, help: string): Flag<string> => ({
  name,
  takes: "FILE",
  many: false,
  help,
  read: (texts) => {
    const path = texts.at(-1) ?? "";
    if (path === "") throw new Error("it must be the path of a file");
    return resolve(path);
  },
});

/** What endpoints with `https` are reached with, by etcdctl's names. Of the commands that ask a cluster. */
export const tlsFlags = {
  cacert: file("cacert", "authorities that sign the certificates of https endpoints, in PEM (default: those that Node trusts)"),
  cert: file("cert", "certificate to show them, in PEM"),
  key: file("key", "its key"),
} as const satisfies Record<string, Flag<string>>;

/** Whom to log in as, for agents and commands alike. */
export const loginFlags = {
  user: {
    name: "user",
    takes: "NAME",
    many: false,
    help: "whom to log in as where the cluster has authentication",
    read: (texts) => {
      const name = texts.at(-1) ?? "";
      // Everybody on the host can read what a command was started with.
      if (name.includes(":"))
        throw new Error("a password has no place in a command line: name a file that holds it with --password-file");
      return name;
    },
  },
  passwordFile: file("password-file", "file that holds the password"),
} as const satisfies Record<string, Flag<string>>;

/** @throws QuorateError INVALID_OPTION where one is given without the other */
export function loginGiven(valueFor: (flag: Flag<string>) => string | undefined): FileLogin | undefined {
  const [user, passwordFile] = [valueFor(loginFlags.user), valueFor(loginFlags.passwordFile)];
  if (user !== undefined && passwordFile !== undefined) return { user, password: { file: passwordFile } };
  if (user === undefined && passwordFile === undefined) return undefined;
  const [there, missing] =
    user === undefined ? [loginFlags.passwordFile, loginFlags.user] : [loginFlags.user, loginFlags.passwordFile];
  throw new QuorateError("INVALID_OPTION", `Cannot use --${there.name}: --${missing.name} is missing beside it`, {
    data: { flag: there.name, from: `--${there.name}` },
  });
}

/** What the files are called where one of them is no good. */
export const tlsNames = { caFile: "--cacert", certFile: "--cert", keyFile: "--key" } as const satisfies Record<
  keyof TlsFiles,
  string
>;

/** The files that were named; undefined: none. `valueFor` says what was given for a flag. */
export function tlsFilesGiven(valueFor: (flag: Flag<string>) => string | undefined): TlsFiles | undefined {
  const [caFile, certFile, keyFile] = [tlsFlags.cacert, tlsFlags.cert, tlsFlags.key].map(valueFor);
  if (caFile === undefined && certFile === undefined && keyFile === undefined) return undefined;
  return {
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
  };
}
