"""The MAM adapter (Mix-And-Match): the best piece for each kind of sub-layer.

He, Zhou, Ma, Berg-Kirkpatrick and Neubig (2022), Towards a Unified View of Parameter-Efficient
Transfer Learning, https://arxiv.org/abs/2110.04366, Section 4.6. The paper counts no biases of the
adapters and no network behind the prefix, which can be dropped after training.
"""

from dataclasses import dataclass

from ..adapter.parallel import ParallelAdapter
from ..core import Method, Mixture
from ..core.limits import Whole
from ..facts import FACTS
from ..prompt.prefix_tuning import PrefixTuning


@dataclass(frozen=True)
class MAMAdapter(Mixture):
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

    length: Whole = 30
    hidden: int | None = 800
    bottleneck: Whole = 512
    scale: float = 4.0
    at: tuple[str, ...] = ("attention.keys_values", "ffn")
    layers: tuple[int, ...] | None = None

    def methods(self) -> list[Method]:
        attention = tuple(name for name in self.at if name.endswith("keys_values"))
        others = tuple(name for name in self.at if name not in attention)
        found: list[Method] = []
        if attention:
            # The authors put it there alone: the positions of the text do not move.
            prefix = PrefixTuning(
                self.length,
                self.hidden,
                std=0.02,
                shift_positions=False,
                at=attention,
                layers=self.layers,
            )
            found.append(prefix)
        if others:
            r, s = self.bottleneck, self.scale
            found.append(ParallelAdapter(r, s, "relu", others, self.layers))
        return found
