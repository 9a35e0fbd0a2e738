"""UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning.

Mao, Mathias, Hou, Almahairi, Ma, Han, Yih and Khabsa (2022), https://arxiv.org/abs/2110.07577. The
authors' code averages a gate over padding as well, so that its value depends on the rest of the
batch; here it is averaged over the words. As in that code, the low-rank updates of query and value
have a gate each, and it stands in the place of LoRA's α / r. A gate is one number for the whole
text, which a model that writes word by word cannot know: those models are refused.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from ..adapter.pfeiffer import Pfeiffer
from ..core import Delta, KeysValues, Method, Mixture, Port, Refused, Site, TextMask
from ..core.limits import Limit, Whole
from ..core.sites import sites
from ..facts import FACTS
from ..low_rank.lora import LoRA
from ..prompt.prefix_tuning import PrefixTuning

PIECES = ("adapter", "prefix", "lora")
KNOWN = Limit(
    lambda v: isinstance(v, tuple) and bool(v) and {*v} <= {*PIECES},
    f"a tuple of these: {', '.join(PIECES)}",
)


class Gate(nn.Module):
    """mean over the words of σ(w · z + b): how far a piece is let in for this text.

    z (B, T, d) → (B, 1, 1), between 0 and 1
    """

    def __init__(self, width: int, text: TextMask):
        super().__init__()
        self.score, self.text = nn.Linear(width, 1), text

    def forward(self, z: Tensor) -> Tensor:
        words = self.text.of(z).real[..., None]
        total = (torch.sigmoid(self.score(z)) * words).sum(1, keepdim=True)
        return total / words.sum(1, keepdim=True).clamp(min=1)


class Gated(Delta):
    """h + G (f(x, h) − h): the change that the delta f makes, times its gate.

    The gate reads x, or h where f does. x (B, T, d_in), h (B, T, d_out)
    """

    def __init__(self, inner: Delta, gate: Gate, by_h: bool = False):
        super().__init__()
        self.inner, self.gate, self.by_h = inner, gate, by_h

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.gate(h if self.by_h else x) * (self.inner(x, h) - h)


class GatedPrefix(KeysValues):
    """[G P_K; K] and [G P_V; V]: the prefix times a gate on the layer's input."""

    def __init__(self, inner: KeysValues, gate: Gate):
        super().__init__()
        self.inner, self.gate = inner, gate

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> tuple[Tensor, Tensor]:
        gate = self.gate(x.to(self.gate.score.weight.dtype))[..., None]
        both = zip(self.inner(x, keys, values), (keys, values), strict=True)
        new_keys, new_values = (
            torch.cat([gate.to(own) * longer[:, :, : -own.shape[2]], own], 2)
            for longer, own in both
        )
        return new_keys, new_values


@dataclass(frozen=True)
class UniPELT(Mixture):
    """Adapters, a prefix and low-rank updates at once; gates learn which of them help a task.

    Args:
        pieces: which of "adapter", "prefix" and "lora" to use (paper: all, APL, or AP).
        bottleneck: width of the Pfeiffer adapters' middle.
        length: number of prefix positions.
        hidden: width of the network that produces the prefix; None: train keys and values.
        rank: rank of the updates of query and value.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["unipelt"]

    pieces: Annotated[tuple[str, ...], KNOWN] = ("adapter", "prefix", "lora")
    bottleneck: Whole = 48
    length: Whole = 10
    hidden: Whole | None = 512
    rank: Whole = 8
    layers: tuple[int, ...] | None = None

    def methods(self) -> list[Method]:
        prefix = PrefixTuning(self.length, self.hidden, shift_positions=False, layers=self.layers)
        known: dict[str, Method] = {
            "adapter": Pfeiffer(self.bottleneck, layers=self.layers),
            "prefix": prefix,
            "lora": LoRA(self.rank, float(self.rank), layers=self.layers),  # α / r = 1
        }
        return [known[piece] for piece in self.pieces]

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        text = TextMask()
        gated = [(site, behind_gate(site, inner, text)) for site, inner in super().plan(model)]
        return [(whole_texts(model), text), *gated]


def whole_texts(model: nn.Module) -> Site:
    """The site where a whole text passes.

    Raises:
        Refused: the model writes word by word, and knows no whole text.
    """
    if model.can_generate():  # type: ignore[operator]
        raise Refused(
            f"UniPELT's gates average over the whole text, and a {type(model).__name__} "
            "writes it word by word. Use MAM adapters here, or a model that reads whole texts."
        )
    [stack] = sites(model, ("sequence",))
    return stack


def behind_gate(site: Site, inner: Delta, text: TextMask) -> Delta:
    """`inner`, which stands at `site`, with a gate of its own."""
    gate = Gate(int(site.config.hidden_size), text)
    if isinstance(inner, KeysValues):
        return GatedPrefix(inner, gate)
    return Gated(inner, gate, by_h=site.name == "stream" and site.place.port is not Port.NORMED)
