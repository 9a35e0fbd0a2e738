"""BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models.

Ben Zaken, Ravfogel and Goldberg (2022), https://arxiv.org/abs/2106.10199
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import Method, Refused, Site, base_prefix, is_planted
from ..core.ports.parameters import in_layers
from ..core.sites import sites
from ..facts import FACTS


@dataclass(frozen=True)
class BitFit(Method):
    """Train the bias vectors of the base and nothing else.

    Where positions are added to the input, the bias of the key projection gets no gradient: it adds
    the same number to all scores of a query, and the softmax takes it away again. Rotary positions
    turn it with the keys, and there it gets one.

    Args:
        at: train only the biases at these sites; the paper's subset is
            ("attention.query", "ffn.up") (Section 4). None: every bias of the base.
        layers: numbers of the layers whose biases are trained; None: all, and with `at=None`
            those outside the layers as well (embeddings, a last norm, a pooler).
    """

    facts = FACTS["bitfit"]
    nothing_to_train = (
        "It trains biases, and this model was built without them, as T5 and Llama are. "
        "Use LayerNorm tuning, (IA)³ or LoRA."
    )

    at: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None

    def sites(self, model: nn.Module) -> list:
        return []  # nothing is planted

    def trains(self, model: nn.Module) -> Iterable[str]:
        if self.at is None:
            return in_layers(model, biases(model), self.layers)
        chosen = sites(model, self.at, self.layers)
        check_whole(chosen)
        wanted = {f"{site.path}.bias" for site in chosen}
        return [name for name in biases(model) if name in wanted]


def biases(model: nn.Module) -> list[str]:
    """Names of the bias vectors of the base."""
    prefix = base_prefix(model)
    return [
        name
        for name, _ in model.named_parameters()
        if name.startswith(prefix) and not is_planted(name)
        if name.split(".")[-1] == "bias"
    ]


def check_whole(chosen: Iterable[Site]) -> None:
    """Refuse slices of fused projections, whose biases cannot be trained apart."""
    if fused := [site for site in chosen if not site.slice.is_whole]:
        raise Refused(
            f"{fused[0].name} is a slice of a fused projection in this "
            f"{type(fused[0].model).__name__}, and a parameter can only be trained as a whole. Use "
            "'attention.query_key_value', or all biases."
        )
