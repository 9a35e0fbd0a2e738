"""LoReFT: Low-rank linear subspace Representation Fine-Tuning.

Wu, Arora, Wang, Geiger, Jurafsky, Manning and Potts (2024), ReFT: Representation Finetuning for
Language Models, https://arxiv.org/abs/2404.03592. The authors' code applies its dropout to the
whole hidden state; here it is applied to the edit, so that the base's state passes unharmed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Site, TextMask, architecture
from ..core.limits import Share, Whole, WholeOrZero
from ..core.sites import sites
from ..facts import FACTS


class Intervention(nn.Module):
    """Rᵀ (W h + b − R h), Eq. 2: in the subspace of R's rows, h becomes W h + b.

    The rows of R (r, d) are orthonormal: they are the orthogonal factor of a free
    matrix (QR), of which the gradient moves only the subspace.
    W (r, d), b (r,), h (..., d)
    """

    def __init__(self, width: int, rank: int):
        super().__init__()
        if rank > width:
            raise BadValue(
                f"There are no {rank} orthogonal directions in {width} dimensions. "
                "Choose a smaller rank."
            )
        self.free = nn.Parameter(nn.init.orthogonal_(torch.empty(rank, width)))
        self.source = nn.Linear(width, rank)

    def rotation(self) -> Tensor:
        """R, the orthonormal rows (r, d)."""
        # The signs make the factor unique, and R = free at first.
        orthogonal, triangle = torch.linalg.qr(self.free.T)
        return (orthogonal * triangle.diagonal().sign()).T

    def forward(self, h: Tensor) -> Tensor:
        r = self.rotation()
        return (self.source(h) - h @ r.T) @ r


class Edit(Delta):
    """h, edited at the first and the last words of the text; h (B, T, d)."""

    def __init__(self, method: "LoReFT", width: int, last: int, text: TextMask):
        super().__init__()
        self.first, self.last = method.first, last
        self.text, self.dropout = text, nn.Dropout(method.dropout)
        apart = 1 if method.tied else (method.first > 0) + (last > 0)
        self.interventions = nn.ModuleList(Intervention(width, method.rank) for _ in range(apart))

    def places(self, real: Tensor) -> list[Tensor]:
        """Where to edit, for each intervention (B, T), with `real` (B, T) True at the words.

        A text shorter than both together gives each half of its words.
        """
        order, count = real.long().cumsum(1) - 1, real.sum(1, keepdim=True)
        first, last = torch.full_like(count, self.first), torch.full_like(count, self.last)
        if self.first and self.last:
            short = count < self.first + self.last
            first = torch.where(short, first.minimum(count // 2), first)
            last = torch.where(short, last.minimum(count - count // 2), last)
        at_first, at_last = real & (order < first), real & (order >= count - last)
        if len(self.interventions) == 2:
            return [at_first, at_last]
        return [at_first | at_last]

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        text = self.text.of(h)
        if not text.begins:  # words that are generated one by one are no prompt
            return h
        edited = h
        places = self.places(text.real)
        for place, change in zip(places, self.interventions, strict=True):
            edited = edited + place[..., None] * self.dropout(change(h))
        return edited


@dataclass(frozen=True)
class LoReFT(Method):
    """Edit the hidden states behind each block at a few words of the prompt, and no weights.

    Words are counted in the text, whatever padding surrounds it. When a model generates with a
    cache, only the prompt is edited; without one, the last words are those generated so far. In an
    encoder-decoder model the prompt is what the encoder reads.

    Args:
        rank: r, the number of directions that are edited.
        first: p, how many words at the beginning of the text are edited.
        last: s, how many at its end; 0 where the text in training goes on behind the prompt. None:
            as many as `first` in a decoder that classifies by its last word, else 0.
        tied: use the same intervention at the first and at the last words.
        dropout: probability with which entries of the edit are dropped.
        at: the blocks.
        layers: numbers of the layers to edit; None: all.
    """

    facts = FACTS["loreft"]

    rank: Whole = 4
    first: WholeOrZero = 3
    last: WholeOrZero | None = None
    tied: bool = True
    dropout: Share = 0.0
    at: tuple[str, ...] = ("block",)
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first == 0 and not self.last:
            raise BadValue("LoReFT(first=0) needs a `last` of at least 1: edit at least one word.")

    def sites(self, model: nn.Module) -> list[Site]:
        return [s for s in sites(model, self.at, self.layers) if s.stack != "decoder"]

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        [stack], text = sites(model, ("sequence",)), TextMask()
        last = last_words(stack, self.first) if self.last is None else self.last
        edits = [(site, Edit(self, site.d_out, last, text)) for site in self.sites(model)]
        return [(stack, text), *edits]


def last_words(stack: Site, first: int) -> int:
    """How many words at the end are edited by default: as many as `first`, or none.

    In a decoder that classifies by its last word the edits of the uppermost block would else reach
    no classifier.
    """
    decides_last = not architecture(stack.model).first_token_is_read and stack.stack is None
    return first if decides_last and "SequenceClassification" in type(stack.model).__name__ else 0
