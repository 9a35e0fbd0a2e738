"""From texts to what the models read: a vocabulary, and a corpus of pieces spelled in it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from .corpus import SEPARATOR, Corpus, Spelling, cut_pieces, ends_sentence, spell_table
from .tokenizer import spaced, token_id, train_tokenizer


def learn_vocabulary(texts: Sequence[str]) -> Tokenizer:
    """Train the tokenizer on a quarter of the texts, every second one in lower-cased style."""
    plain = train_tokenizer([], vocabulary=262 + 256)

    def styled() -> Iterator[str]:
        for index, text in enumerate(texts[::4]):
            if index % 2:
                cut = plain.pre_tokenizer.pre_tokenize_str(plain.normalizer.normalize_str(text))
                text = " ".join(s[1:] for s in (spaced(piece) for piece, _ in cut) if s)
            yield text

    return train_tokenizer(styled())


def prepare(
    texts: Sequence[str], tokenizer: Tokenizer, teacher: Path | None, processes: int = 1
) -> Corpus:
    """Cut texts into pieces and spell these for the student and, if there is one, the teacher."""
    pieces = cut_pieces(texts, tokenizer, processes)
    border = token_id(tokenizer, "[SEP]")

    def plain(piece: str) -> list[int]:
        return [token.id for token in tokenizer.model.tokenize(piece)]

    def with_border(spell: Callable[[str], list[int]], border: int) -> Spelling:
        return spell_table(pieces.table, lambda p: [border] if p == SEPARATOR else spell(p))

    spellings = {
        "plain": with_border(plain, border),
        "spaced": with_border(lambda piece: plain(spaced(piece)), border),
    }
    if teacher is not None:
        theirs = Tokenizer.from_file(str(teacher / "tokenizer.json"))
        theirs.no_padding()
        theirs.no_truncation()
        bare = [spaced(piece)[1:] for piece in pieces.table]
        encoded = theirs.encode_batch(bare, add_special_tokens=False)
        known = {piece: encoding.ids for piece, encoding in zip(pieces.table, encoded, strict=True)}
        spellings["teacher"] = with_border(lambda p: known[p], token_id(theirs, "[SEP]"))
    closing = np.array([ends_sentence(piece) for piece in pieces.table])
    return Corpus(pieces.row, closing, spellings)
