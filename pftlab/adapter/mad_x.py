"""MAD-X language adapters: adapters in the layers and an invertible one at the embeddings.

Pfeiffer, Vulić, Gurevych and Ruder (2020), MAD-X: An Adapter-Based Framework for Multi-Task
Cross-Lingual Transfer, https://arxiv.org/abs/2005.00052. AdapterHub puts the invertible adapter
behind position embeddings and layer norm, and leaves its inverse out in most models; here it acts
on the word embeddings themselves, and its inverse on what is compared with them, as in the paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Site
from ..core.sites import sites, word_scores
from ..facts import FACTS
from .pfeiffer import Pfeiffer


class Coupling(nn.Module):
    """y₁ = x₁ + F(x₂), y₂ = x₂ + G(y₁): two halves change each other, and can be told apart again.

    F and G: d/2 → d/4 → d/2 with a relu, after NICE. x, y (..., d)
    """

    def __init__(self, width: int, std: float):
        super().__init__()
        if width % 4:
            raise BadValue(f"The width {width} of the embeddings must be divisible by 4.")
        self.f, self.g = (
            nn.Sequential(
                nn.Linear(width // 2, width // 4), nn.ReLU(), nn.Linear(width // 4, width // 2)
            )
            for _ in range(2)
        )
        for layer in (*self.f, *self.g):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=-1)
        y1 = x1 + self.f(x2)
        return torch.cat([y1, x2 + self.g(y1)], dim=-1)

    def inverse(self, y: Tensor) -> Tensor:
        """The x of which `forward` makes y."""
        y1, y2 = y.chunk(2, dim=-1)
        x2 = y2 - self.g(y1)
        return torch.cat([y1 - self.f(x2), x2], dim=-1)


class Invertible(Delta):
    """The coupling of h, or its inverse. h (..., d)"""

    def __init__(self, coupling: Coupling, inverse: bool = False):
        super().__init__()
        self.coupling, self.inverse = coupling, inverse

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.coupling.inverse(h) if self.inverse else self.coupling(h)


@dataclass(frozen=True)
class MADX(Method):
    """Learn a language with adapters that a task's adapter can be stacked on afterwards.

    In a model that predicts words, the states that are compared with the word embeddings pass the
    inverse of what the embeddings passed.

    Args:
        bottleneck: width of the middle of the layers' adapters (paper: half of the model's width).
        std: deviation of the initial weights.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["mad_x"]

    bottleneck: int = 384
    std: float = 0.02
    layers: tuple[int, ...] | None = None

    def sites(self, model: nn.Module) -> list[Site]:
        return [site for site, _ in self.plan(model)]

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        planned = Pfeiffer(self.bottleneck, std=self.std, layers=self.layers).plan(model)
        embeddings, scores = sites(model, ("embedding",)), word_scores(model)
        coupling = Coupling(embeddings[0].d_out, self.std)
        planned += [(site, Invertible(coupling)) for site in embeddings]
        if scores is not None and scores.d_in == embeddings[0].d_out:
            planned.append((scores, Invertible(coupling, inverse=True)))
        return planned
