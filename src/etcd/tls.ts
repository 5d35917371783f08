import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { messageOf, QuorateError } from "../errors.ts";

/** Files in PEM. Every connection is made with what they hold then: they may be replaced at any time. */
export interface TlsFiles {
  /** The authorities that are trusted, in place of those that Node trusts. */
  readonly caFile?: string;
  /** What is shown to who asks for it, and its key. Both or none. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

/** What is in them. */
export interface TlsTexts {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** @throws what reading a file throws */
export async function readTls({ caFile, certFile, keyFile }: TlsFiles): Promise<TlsTexts> {
  const read = async (file: string | undefined): Promise<Buffer | undefined> =>
    file === undefined ? undefined : await readFile(file);
  const [ca, cert, key] = await Promise.all([read(caFile), read(certFile), read(keyFile)]);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

/**
 * Whether a connection can be made with them now. `names` are what whoever gave the files calls them.
 *
 * @throws QuorateError INVALID_OPTION: a file that cannot be read or is not PEM, half a pair, a key of another certificate, a certificate
 *   that is not valid yet or any more
 */
export async function checkTls(files: TlsFiles, names: Readonly<Record<keyof TlsFiles, string>>, now: Date): Promise<void> {
  const { certFile, keyFile } = files;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const [there, missing] = certFile === undefined ? [names.keyFile, names.certFile] : [names.certFile, names.keyFile];
    throw refused(there, `it needs ${missing} beside it`, "a certificate is of no use without its key");
  }
  const texts: { -readonly [K in keyof TlsTexts]: Buffer } = {};
  for (const [field, text] of [
    ["caFile", "ca"],
    ["certFile", "cert"],
    ["keyFile", "key"],
  ] as const) {
    const path = files[field];
    if (path === undefined) continue;
    try {
      texts[text] = await readFile(path);
    } catch (error) {
      throw refused(names[field], `${path} cannot be read: ${messageOf(error)}`, "give a file in PEM", error);
    }
  }
  for (const [field, text] of [
    ["caFile", texts.ca],
    ["certFile", texts.cert],
  ] as const) {
    if (text === undefined) continue;
    const path = files[field] ?? "";
    const { subject, from, until } = lifeOf(certificatesIn(text, names[field], path), field === "caFile");
    if (now >= from && now <= until) continue;
    const when = now < from ? `is valid from ${from.toISOString()} on only` : `has expired at ${until.toISOString()}`;
    throw refused(names[field], `${subject} in ${path} ${when}`, "replace it");
  }
  try {
    createSecureContext(texts);
  } catch (error) {
    throw refused(
      names.keyFile,
      `${keyFile ?? ""} is no key of ${certFile ?? ""}: ${messageOf(error)}`,
      "give both of one pair",
      error,
    );
  }
}

const onePem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** All certificates of a file, the first one the leaf's. @throws QuorateError INVALID_OPTION where there is none */
export function certificatesIn(text: Buffer, name: string, path: string): readonly X509Certificate[] {
  const found = text.toString("latin1").match(onePem) ?? [];
  if (found.length === 0) throw refused(name, `there is no certificate in ${path}`, "give a file in PEM");
  try {
    return found.map((pem) => new X509Certificate(pem));
  } catch (error) {
    throw refused(name, `${path} is no certificate: ${messageOf(error)}`, "give a file in PEM", error);
  }
}

/** Of a file: of authorities the one that counts longest, as an old one may stand beside its successor; else the first, which is shown. */
export function lifeOf(
  certificates: readonly X509Certificate[],
  ofAuthorities: boolean,
): { readonly subject: string; readonly from: Date; readonly until: Date } {
  const all = certificates.map(({ subject, validFrom, validTo }) => ({
    subject: subject.replaceAll("\n", ", "),
    from: new Date(validFrom),
    until: new Date(validTo),
  }));
  const [first] = ofAuthorities ? all.toSorted((a, b) => b.until.getTime() - a.until.getTime()) : all;
  if (first === undefined) throw new RangeError("There is no certificate");
  return first;
}

function refused(name: string, what: string, hint: string, cause?: unknown): QuorateError {
  return new QuorateError("INVALID_OPTION", `Cannot use ${name}: ${what}`, {
    hint,
    cause,
    data: { option: name.replace(/^option /, "") },
  });
}
