"""The ladder: base models of the book's own recipe at growing sizes, for experiments on scale.

They are too large to ship. One command makes them anew (`python -m pftlab.pretraining ladder`);
whoever has made or copied them into the cache opens them by name.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Unavailable
from .convert import cache_folder

FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # of the steps, at which a checkpoint is kept
ADAPTED = "-lm"  # ends the name of an encoder-decoder after LM adaptation


@dataclass(frozen=True)
class Rung:
    """One model of the ladder.

    Attributes:
        kind: "decoder" (GPT-2-like), "encoder" (BERT-like) or "seq2seq" (T5-like).
        layers: of the transformer; an encoder-decoder has as many twice.
        width: of the hidden states.
        heads: of attention.
        longer: how many times the steps of the ladder it is trained for.
    """

    kind: str
    layers: int
    width: int
    heads: int
    longer: int = 1


_SIZES = {"1m": (4, 96, 3), "3m": (5, 160, 5), "8m": (7, 256, 8), "23m": (8, 448, 7),
          "60m": (11, 640, 10)}  # fmt: skip

LADDER: dict[str, Rung] = {
    f"{kind}-{size}": Rung(kind, *shape)
    for kind in ("decoder", "encoder")
    for size, shape in _SIZES.items()
} | {
    "seq2seq-3m": Rung("seq2seq", 4, 128, 4, longer=2),  # ships, as tiny-seq2seq
    "seq2seq-10m": Rung("seq2seq", 4, 256, 8),
}


def rung_names() -> list[str]:
    """What `load_base` takes from the ladder: its models, and the adapted encoder-decoders."""
    adapted = [f"{name}{ADAPTED}" for name, rung in LADDER.items() if rung.kind == "seq2seq"]
    return [*LADDER, *adapted]


def checkpoint_name(fraction: float) -> str:
    """The folder of a checkpoint: "at-1-16" for a sixteenth of the steps."""
    return f"at-1-{math.floor(1 / fraction + 0.5)}"


def is_rung(name: str) -> bool:
    """Whether `load_base` looks for a name in the ladder: a model, or a checkpoint of one."""
    return _parted(name)[0] in rung_names()


def _parted(name: str) -> tuple[str, str | None]:
    """A model's name and its checkpoint: "decoder-8m-at-1-4" is "decoder-8m" and "at-1-4"."""
    found = re.fullmatch(r"(.+?)(?:-(at-1-\d+))?", name, re.DOTALL)
    return (found[1], found[2]) if found else (name, None)


def ladder_folder() -> Path:
    """Where the models of the ladder are looked for: in the cache, "ladder"."""
    return cache_folder() / "ladder"


def find_rung(name: str) -> Path:
    """The folder of a model of the ladder, or of a checkpoint, such as "decoder-8m-at-1-4".

    Raises:
        Unavailable: it is not there; the message tells how to make it.
    """
    model, checkpoint = _parted(name)
    folder = ladder_folder() / model
    if checkpoint:
        folder = ladder_folder() / "checkpoints" / model / checkpoint
    if not folder.is_dir():
        made = model.removesuffix(ADAPTED)
        raise Unavailable(
            f"{name!r} is one of the ladder of base models, which do not ship, and {str(folder)!r} "
            "does not exist. Make it (on a GPU, in minutes): python -m pftlab.pretraining ladder "
            f"--corpus FOLDER_OF_TEXT --out {str(ladder_folder())!r} --rungs {made}. Or copy a "
            "folder there that the same command made elsewhere; PFTLAB_CACHE names another cache."
        )
    return folder
