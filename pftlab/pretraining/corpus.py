"""Text on the device: a folder of JSON Lines becomes arrays that batches are cut from.

The text is one long row of *pieces* (words, marks, case marks; see `tokenizer.PIECE`). A table says
which tokens spell each piece, for the model that learns and for a teacher with a vocabulary of its
own. So both read the same pieces, and it is known which tokens of one belong to which of the other.
"""

import json
import lzma
import multiprocessing
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import BadValue, Unavailable
from ..core.files import atomic_write

SEPARATOR = "[SEP]"  # the piece between two documents


def read_documents(path: str | Path, without: Sequence[Path] = ()) -> list[dict[str, str]]:
    """Read the documents of a .jsonl or .jsonl.xz file, or of all such files of a folder.

    Args:
        path: file or folder. Every line is an object with a "text", and a "source" unless the
            name of the file tells it ("fiction-01.jsonl.xz": "fiction").
        without: files to leave out, such as the held-out one.

    Raises:
        Unavailable: nothing there.
        BadValue: a line that is not a document.
    """
    path = Path(path)
    found = [path] if path.is_file() else sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.xz")])
    files = [file for file in found if file.resolve() not in {w.resolve() for w in without}]
    if not files:
        raise Unavailable(
            f"{str(path)!r} holds no .jsonl or .jsonl.xz file. Give a folder of JSON Lines, one "
            'document a line: {"text": "..."}.'
        )
    documents: list[dict[str, str]] = []
    for file in files:
        opener = lzma.open if file.suffix == ".xz" else open
        with opener(file, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    document = json.loads(line)
                    document["text"].strip()
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise BadValue(
                        f"Line {number} of {str(file)!r} is not a document. Every line must be an "
                        'object with a text: {"text": "..."}.'
                    ) from error
                document.setdefault("source", re.sub(r"(-\d+)?\.jsonl(\.xz)?$", "", file.name))
                documents.append(document)
    return documents


@dataclass(frozen=True)
class Pieces:
    """A corpus as piece numbers.

    Attributes:
        table: the distinct pieces; `table[0]` is the separator of documents.
        row: (n,) int32, the corpus; documents are separated by 0.
    """

    table: list[str]
    row: np.ndarray


def cut_pieces(texts: Sequence[str], tokenizer: Tokenizer, processes: int = 1) -> Pieces:
    """Cut texts into pieces with the tokenizer's own rules, in several processes."""
    shards = [list(texts[start::processes]) for start in range(processes)]
    arguments = [(shard, tokenizer.to_str()) for shard in shards if shard]
    if len(arguments) > 1:
        with multiprocessing.get_context("fork").Pool(len(arguments)) as pool:
            results = pool.map(_cut_shard, arguments)
    else:
        results = [_cut_shard(argument) for argument in arguments]
    numbers: dict[str, int] = {SEPARATOR: 0}
    rows = []
    for table, row in results:
        renumber = np.array([numbers.setdefault(p, len(numbers)) for p in table], dtype=np.int32)
        rows.append(renumber[row])
    return Pieces(list(numbers), np.concatenate(rows))


def _cut_shard(argument: tuple[list[str], str]) -> tuple[list[str], np.ndarray]:
    texts, definition = argument
    tokenizer = Tokenizer.from_str(definition)
    normalise = tokenizer.normalizer.normalize_str
    split = tokenizer.pre_tokenizer.pre_tokenize_str
    numbers: dict[str, int] = {SEPARATOR: 0}
    row = [0]
    for text in texts:
        row += [numbers.setdefault(p, len(numbers)) for p, _ in split(normalise(text))]
        row.append(0)
    return list(numbers), np.array(row, dtype=np.int32)


@dataclass(frozen=True)
class Stream:
    """The corpus in the tokens of one vocabulary.

    Attributes:
        tokens: (t,) int32, all tokens.
        piece: (t,) int32, the position in the row of pieces that each token spells.
        start: (n + 1,) int32, where the tokens of each piece begin.
    """

    tokens: Tensor
    piece: Tensor
    start: Tensor

    def window(self, first: Tensor, length: int, pieces: Tensor | None = None) -> "Window":
        """Read whole pieces from `first` on, as many as fit into `length` tokens.

        Args:
            first: (batch,) the piece to begin with.
            length: tokens at most.
            pieces: (batch,) pieces at most; None for no other limit than `length`.
        """
        steps = torch.arange(length + 1, device=self.tokens.device)
        at = (self.start[first].long()[:, None] + steps).clamp_(max=len(self.tokens) - 1)
        relative = self.piece[at] - first[:, None]
        fitting = relative[:, -1].clamp(min=1)
        limit = fitting if pieces is None else torch.minimum(fitting, pieces)
        relative = relative[:, :-1]
        inside = (relative >= 0) & (relative < limit[:, None])
        return Window(self.tokens[at[:, :-1]].long(), relative, inside, limit)


@dataclass(frozen=True)
class Window:
    """A batch of stretches of text; all (batch, length) but `limit`, which is (batch,)."""

    tokens: Tensor
    relative: Tensor  # which piece of the stretch each token spells
    inside: Tensor  # False behind the end of the stretch
    limit: Tensor  # number of pieces in the stretch


@dataclass(frozen=True)
class Spelling:
    """How every piece of a table is written in one vocabulary.

    Attributes:
        ids: (k,) int32, the tokens of all pieces one after the other.
        lengths: (pieces,) int32, how many of them belong to each piece, possibly none.
    """

    ids: np.ndarray
    lengths: np.ndarray


def spell_table(table: Sequence[str], spell: Callable[[str], Sequence[int]]) -> Spelling:
    """Spell every piece once; `spell` gives the token ids of a piece."""
    spelled = [spell(piece) for piece in table]
    ids = np.fromiter((i for s in spelled for i in s), dtype=np.int32)
    return Spelling(ids, np.array([len(s) for s in spelled], dtype=np.int32))


@dataclass(frozen=True)
class Corpus:
    """A corpus ready for training; it can be made on one machine and trained on on another.

    Attributes:
        row: (n,) int32, the pieces.
        closing: (pieces,) bool, whether a piece ends a sentence.
        spellings: "plain" as written, "spaced" as lower-cased data sets have it, and "teacher".
    """

    row: np.ndarray
    closing: np.ndarray
    spellings: dict[str, Spelling]

    def stream(self, name: str, device: torch.device) -> Stream:
        """Write out the corpus in one spelling, on the device."""
        spelling = self.spellings[name]
        lengths = torch.from_numpy(spelling.lengths).to(device).long()
        offsets = lengths.cumsum(0) - lengths
        row = torch.from_numpy(self.row).to(device).long()
        start = F.pad(lengths[row].cumsum(0), (1, 0))
        piece = torch.repeat_interleave(torch.arange(len(row), device=device), lengths[row])
        within = torch.arange(len(piece), device=device) - start[piece]
        tokens = torch.from_numpy(spelling.ids).to(device)[offsets[row[piece]] + within]
        return Stream(tokens.int(), piece.int(), start.int())

    def sentence_ends(self, device: torch.device) -> Tensor:
        """Tell for every place of the row whether a sentence ends there: (n,) bool."""
        row = torch.from_numpy(self.row).to(device).long()
        return torch.from_numpy(self.closing).to(device)[row]

    def save(self, path: Path) -> None:
        """Write to an .npz file."""
        arrays = {"row": self.row, "closing": self.closing}
        for name, spelling in self.spellings.items():
            arrays |= {f"{name}.ids": spelling.ids, f"{name}.lengths": spelling.lengths}
        with atomic_write(path) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> "Corpus":
        """Read what `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                names = [key.removesuffix(".ids") for key in arrays if key.endswith(".ids")]
                spellings = {n: Spelling(arrays[f"{n}.ids"], arrays[f"{n}.lengths"]) for n in names}
                return cls(arrays["row"], arrays["closing"], spellings)
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
            raise BadValue(
                f"{str(path)!r} is not a corpus that this recipe prepared ({error}). Make one "
                "with: python -m pftlab.pretraining prepare."
            ) from error


def ends_sentence(piece: str) -> bool:
    """Tell whether a piece closes a sentence, a paragraph or a document."""
    return piece in ("\n", SEPARATOR) or re.fullmatch(r"[▁\W]*[.!?]\W*", piece) is not None


def in_chunks(ids: Sequence[int], length: int, stride: int) -> Iterator[tuple[list[int], int]]:
    """Cover a long row of tokens with windows; each token but the first is scored exactly once.

    Yields:
        The tokens of a window (at most `length`), and how many of its last tokens are new.
    """
    scored = 1
    while scored < len(ids):
        new = min(length - 1 if scored == 1 else stride, len(ids) - scored)
        stop = scored + new
        yield list(ids[max(0, stop - length) : stop]), new
        scored = stop
