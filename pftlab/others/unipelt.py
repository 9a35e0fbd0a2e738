"""UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning.

Mao, Mathias, Hou, Almahairi, Ma, Han, Yih and Khabsa (2022), https://arxiv.org/abs/2110.07577. The
authors' code averages a gate over padding as well, so that its value depends on the rest of the
batch; here it is averaged over the words. As in that code, the low-rank updates of query and value
have a gate each, and it stands in the place of LoRA's α / r.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..adapter.pfeiffer import Pfeiffer
from ..core import BadValue, Delta, KeysValues, Method, Port, Refused, Site, TextMask
from ..core.sites import sites
from ..facts import FACTS
from ..low_rank.lora import LoRA
from ..prompt.prefix_tuning import PrefixTuning

PIECES = ("adapter", "prefix", "lora")


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
    """[G P_K; K] and [G P_V; V]: the prefix, times a gate that reads the layer's input."""

    def __init__(self, inner: KeysValues, gate: Gate):
        super().__init__()
        self.inner, self.gate = inner, gate

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        gate = self.gate(x.to(self.gate.score.weight.dtype))[..., None]
        both = zip(self.inner(x, keys, values), (keys, values), strict=True)
        new_keys, new_values = (
            torch.cat([gate.to(own) * longer[:, :, : -own.shape[2]], own], 2)
            for longer, own in both
        )
        return new_keys, new_values


@dataclass(frozen=True)
class UniPELT(Method):
    """Adapters, a prefix and low-rank updates at once; gates learn which of them help a task.

    A gate is one number for the whole text, which a model that writes word by word cannot know:
    those models are refused.

    Args:
        pieces: which of "adapter", "prefix" and "lora" to use (paper: all, APL, or AP).
        bottleneck: width of the Pfeiffer adapters' middle.
        length: number of prefix positions.
        hidden: width of the network that produces the prefix; None: train keys and values.
        rank: rank of the updates of query and value.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["unipelt"]

    pieces: tuple[str, ...] = ("adapter", "prefix", "lora")
    bottleneck: int = 48
    length: int = 10
    hidden: int | None = 512
    rank: int = 8
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pieces or not set(self.pieces) <= set(PIECES):
            raise BadValue(f"UniPELT(pieces={self.pieces!r}): choose from {', '.join(PIECES)}.")
        self.methods()  # so that their own limits are checked at once

    def methods(self) -> dict[str, Method]:
        """The method behind each piece."""
        known: dict[str, Method] = {
            "adapter": Pfeiffer(self.bottleneck, layers=self.layers),
            "prefix": PrefixTuning(
                self.length, self.hidden, shift_positions=False, layers=self.layers
            ),
            "lora": LoRA(self.rank, float(self.rank), layers=self.layers),  # α / r = 1
        }
        return {piece: known[piece] for piece in self.pieces}

    def sites(self, model: nn.Module) -> list[Site]:
        return [site for method in self.methods().values() for site in method.sites(model)]

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        if model.can_generate():  # type: ignore[operator]
            raise Refused(
                f"UniPELT's gates average over the whole text, and a {type(model).__name__} "
                "writes it word by word. Use MAM adapters here, or a model that reads whole texts."
            )
        [stack], text = sites(model, ("sequence",)), TextMask()
        planned: list[tuple[Site, Delta]] = [(stack, text)]
        for method in self.methods().values():
            for site, inner in method.plan(model):
                gate = Gate(int(model.config.hidden_size), text)  # type: ignore
                planned.append((site, self._behind(gate, site, inner)))
        return planned

    def _behind(self, gate: Gate, site: Site, inner: Any) -> Delta:
        if isinstance(inner, KeysValues):
            return GatedPrefix(inner, gate)
        by_h = site.name == "stream" and site.place.port is not Port.NORMED
        return Gated(inner, gate, by_h)
