"""(IA)³: Infused Adapter by Inhibiting and Amplifying Inner Activations.

Liu, Tam, Muqeeth, Mohta, Huang, Bansal and Raffel (2022), Few-Shot Parameter-Efficient Fine-Tuning
is Better and Cheaper than In-Context Learning, https://arxiv.org/abs/2205.05638
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import Delta, Method, Site, with_cross_attention
from ..core.sites import sites
from ..facts import FACTS


class Rescale(Delta):
    """l ⊙ h: a learned factor per channel (Section 3.3). l = 1 at first: the base.

    l (d,), h (..., d)
    """

    def __init__(self, width: int):
        super().__init__()
        self.l = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.l * h


@dataclass(frozen=True)
class IA3(Method):
    """Rescale keys, values and the hidden activations of the feed-forward network.

    Args:
        at: the sites; the paper's three are keys, values and what the second feed-forward
            projection reads. In an encoder-decoder model the keys and values of cross-attention
            are rescaled with those of self-attention. AdapterHub rescales before the activation:
            give ("attention.key", "attention.value", "ffn.up"), for Llama with "ffn.down", to
            compute what its adapters do.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["ia3"]

    at: tuple[str, ...] = ("attention.key", "attention.value", "ffn.down.input")
    layers: tuple[int, ...] | None = None

    def sites(self, model: nn.Module) -> list[Site]:
        return sites(model, with_cross_attention(model, self.at), self.layers)

    def delta(self, site: Site) -> Delta:
        return Rescale(site.d_out)
