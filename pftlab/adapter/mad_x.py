"""MAD-X language adapters: adapters in the layers and an invertible one at the embeddings.

Pfeiffer, Vulić, Gurevych and Ruder (2020), MAD-X: An Adapter-Based Framework for Multi-Task
Cross-Lingual Transfer, https://arxiv.org/abs/2005.00052. AdapterHub puts the invertible adapter
behind position embeddings and layer norm, and leaves its inverse out in most models; here it acts
on the word embeddings themselves, and its inverse on what is compared with them, as in the paper.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Port, Site, config_of
from ..core.limits import Whole
from ..core.places import Place
from ..core.sites import sites
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

    bottleneck: Whole = 384
    std: float = 0.02
    layers: tuple[int, ...] | None = None

    def sites(self, model: nn.Module) -> list[Site]:
        in_layers = Pfeiffer(self.bottleneck, std=self.std, layers=self.layers).sites(model)
        scores = word_scores(model)
        return in_layers + word_tables(model) + ([] if scores is None else [scores])

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        adapters = Pfeiffer(self.bottleneck, std=self.std, layers=self.layers)
        tables, scores = word_tables(model), word_scores(model)
        coupling = Coupling(tables[0].d_out, self.std)
        planned = adapters.plan(model)
        planned += [(site, Invertible(coupling)) for site in tables]
        if scores is not None:
            planned.append((scores, Invertible(coupling, inverse=True)))
        return planned


def word_tables(model: nn.Module) -> list[Site]:
    """The tables of word embeddings: those that the stacks read, and the one that the model shows.

    T5 has a table of its own, which it shows to those who embed words themselves and does not read.
    """
    found = sites(model, ("embedding",))
    shown: Any = model.get_input_embeddings()  # type: ignore[operator]
    if all(site.host is not shown for site in found):
        path = next(path for path, module in model.named_modules() if module is shown)
        found.append(replace(found[0], stack=None, path=path, host=shown, place=Place(path)))
    return found


def word_scores(model: nn.Module) -> Site | None:
    """The input of the layer that scores every word, "word_scores"; None: the model has none.

    It is no part of the base model, and so in no table. Its input must be as wide as the word
    embeddings, else no inverse fits there.
    """
    network: Any = model
    has_one = hasattr(model, "get_output_embeddings")
    host: Any = network.get_output_embeddings() if has_one else None
    if host is None or host.in_features != sites(model, ("embedding",))[0].d_out:
        return None
    path = next(path for path, module in model.named_modules() if module is host)
    width, place = host.in_features, Place(path, Port.INPUT)
    return Site("word_scores", None, None, path, host, place, width, width, config_of(model), model)
