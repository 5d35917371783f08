/**
 * The characters with the shortest codes of HPACK (RFC 7541, appendix B), by the bits of their codes: each follows the one before it.
 * What paths and types are written with is among them.
 */
const byBits = ["", "", "", "", "", "012aceiost", " %-./3456789=A_bdfghlmnpru", ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", "&*,;XZ"];

const codes = new Map<string, string>();
for (let code = 0, bits = 1; bits < byBits.length; bits += 1, code *= 2)
  for (const character of byBits[bits]!) codes.set(character, (code++).toString(2).padStart(bits, "0"));

/**
 * Finds what begins with one of some texts in a block of headers that was not decoded. A connection's first header of a value is written
 * out, as it is or by HPACK's code, as no table has it yet; later ones need not be found. What is found may be another header's.
 */
export class Literals {
  readonly #written: Buffer[] = [];
  /** One cannot be looked for: any block may have it. */
  readonly #isAnywhere: boolean;

  constructor(texts: Iterable<string>) {
    const all = [...new Set(texts)];
    for (const text of all) {
      this.#written.push(Buffer.from(text, "latin1"));
      // What follows shares the last byte.
      const coded = (coding(text).match(/.{8}/g) ?? []).map((bits) => Number.parseInt(bits, 2));
      this.#written.push(Buffer.from(coded));
    }
    this.#isAnywhere = all.some((text) => Array.from(text).some((character) => !codes.has(character)));
  }

  areIn(block: Buffer): boolean {
    return this.#isAnywhere || this.#written.some((written) => block.includes(written));
  }
}

function coding(text: string): string {
  return Array.from(text, (character) => codes.get(character) ?? "").join("");
}
