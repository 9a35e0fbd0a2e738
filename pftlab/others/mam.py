"""The MAM adapter (Mix-And-Match): the best piece for each kind of sub-layer.

He, Zhou, Ma, Berg-Kirkpatrick and Neubig (2022), Towards a Unified View of Parameter-Efficient
Transfer Learning, https://arxiv.org/abs/2110.04366, Section 4.6. The paper counts no biases of the
adapters and no network behind the prefix, which can be dropped after training.
"""

from dataclasses import dataclass

from torch import nn

from ..adapter.parallel import ParallelAdapter
from ..core import Delta, Method, Site
from ..facts import FACTS
from ..prompt.prefix_tuning import PrefixTuning


@dataclass(frozen=True)
class MAMAdapter(Method):
    """A short prefix in attention and a scaled parallel adapter beside the feed-forward network.

    Args:
        length: l, the number of prefix positions (paper: 30; 16 for GLUE).
        hidden: width of the network that produces the prefix (the authors' code: 800); None:
            train keys and values directly.
        bottleneck: r, the width of the adapter's middle (paper: 512; 16 for GLUE).
        scale: s, the fixed factor of the adapter (paper: 4; 2 for GLUE).
        at: attention's keys and values get the prefix, other sites the adapter.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["mam"]

    length: int = 30
    hidden: int | None = 800
    bottleneck: int = 512
    scale: float = 4.0
    at: tuple[str, ...] = ("attention.keys_values", "ffn")
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pieces()  # so that their own limits are checked at once

    def pieces(self) -> list[Method]:
        """The methods of the other families that this one mixes."""
        attention = tuple(name for name in self.at if name.endswith("keys_values"))
        others = tuple(name for name in self.at if name not in attention)
        found: list[Method] = []
        if attention:
            # the authors put the prefix into attention alone: the text's positions do not move
            found.append(
                PrefixTuning(self.length, self.hidden, 0.02, False, attention, self.layers)
            )
        if others:
            found.append(ParallelAdapter(self.bottleneck, self.scale, "relu", others, self.layers))
        return found

    def sites(self, model: nn.Module) -> list[Site]:
        return [site for piece in self.pieces() for site in piece.sites(model)]

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        return [planned for piece in self.pieces() for planned in piece.plan(model)]
