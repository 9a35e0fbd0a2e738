// From text to the numbers of tokens, as the tokenizer of the book's base models does it
// (pftlab/pretraining/tokenizer.py says why it is made so).

const CLS = 2, SEP = 3;
const UPPER = "⇧", SPACE = "▁";

class Tokenizer {
  /**
   * @param language what the build takes from tokenizer.json: `tokens` in the order of their
   *     numbers, `merges` (pairs, first to last), `special` tokens, `capitals`, the `piece` pattern
   */
  constructor(language) {
    this.numbers = new Map(language.tokens.map((token, number) => [token, number]));
    this.ranks = new Map(language.merges.map((pair, rank) => [pair, rank]));
    this.capital = new RegExp(`(?=[${language.capitals}])`, "gu");
    // \s of the original follows Unicode; that of JavaScript has a list of its own
    this.piece = new RegExp(language.piece.replaceAll("\\s", "\\p{White_Space}"), "gu");
    // a mask swallows the spaces around it
    const special = language.special.map(token => {
      const literal = token.replace(/[[\]]/g, "\\$&");
      return token === "[MASK]" ? `\\p{White_Space}*${literal}\\p{White_Space}*` : literal;
    });
    this.special = new RegExp(`(${special.join("|")})`, "u");
    this.known = new Map(); // pieces seen before
  }

  /** The numbers of a text between [CLS] and [SEP], `longest` at most. */
  encode(text, longest = 128) {
    const inside = [];
    text.split(this.special).forEach((part, place) => {
      if (place % 2) inside.push(this.numbers.get(part.match(/\[\w+\]/)[0]));
      else for (const piece of this.pieces(part)) inside.push(...this.merged(piece));
    });
    return [CLS, ...inside.slice(0, longest - 2), SEP];
  }

  /** What a text is cut into before byte-pair encoding. */
  pieces(text) {
    if (!text) return [];
    const marked = (SPACE + text.replaceAll(" ", SPACE))
      .replaceAll("\n", `\n${SPACE}`)
      .replace(this.capital, UPPER)
      .replaceAll(SPACE + UPPER, UPPER + SPACE);
    // character by character: whole words have rules of their own, such as ς at the end of Greek ones
    const lower = Array.from(marked, character => character.toLowerCase()).join("");
    return lower.match(this.piece) ?? [];
  }

  /** Byte-pair encoding of a piece: of all pairs that may merge, the one learned first does. */
  merged(piece) {
    let found = this.known.get(piece);
    if (found) return found;
    const symbols = [];
    for (const character of piece) {
      if (this.numbers.has(character)) symbols.push(character);
      else for (const byte of new TextEncoder().encode(character)) {
        symbols.push(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
      }
    }
    for (;;) {
      let best = Infinity, place = -1;
      for (let i = 0; i + 1 < symbols.length; i++) {
        const rank = this.ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity;
        if (rank < best) [best, place] = [rank, i];
      }
      if (place < 0) break;
      symbols.splice(place, 2, symbols[place] + symbols[place + 1]);
    }
    found = symbols.map(symbol => this.numbers.get(symbol));
    this.known.set(piece, found);
    return found;
  }
}
