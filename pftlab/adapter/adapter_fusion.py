"""AdapterFusion: Non-Destructive Task Composition for Transfer Learning.

Pfeiffer, Kamath, Rücklé, Cho and Gurevych (2021), https://arxiv.org/abs/2005.00247. AdapterHub
gives queries and keys a bias, which the paper's equations have not; that of the keys would never
have a gradient. Its dropout on the attention scores is left out here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..core import BadCheckpoint, BadValue, Delta, Method, Port, Site, detach, planted
from ..core.checkpoint import build, contents
from ..core.fingerprint import difference
from ..core.limits import Limit, PositiveOrZero
from ..facts import FACTS
from .bottleneck import Activation, Bottleneck
from .pfeiffer import Pfeiffer

Widths = Annotated[
    tuple[int, ...],
    Limit(
        lambda v: isinstance(v, tuple) and len(v) >= 2 and min(v) >= 1,
        "a tuple with the width of each adapter, at least two of them",
    ),
]


class Fusion(Delta):
    """h + Σ_n s_n V z_n with s = softmax_n(Q q · K z_n): attention over adapters (Section 3.2).

    z_n is what adapter n adds, q what the adapters read: LN(h) where they stand before a layer
    norm, else h. Q, K, V (width, width); h (..., width). The adapters are frozen. V = I at first:
    training starts at a mean of the adapters.
    """

    def __init__(self, width: int, method: "AdapterFusion", normed: bool):
        super().__init__()
        self.normed = normed
        self.adapters = nn.ModuleList(
            Bottleneck(width, m, method.activation, std=1e-2) for m in method.bottlenecks
        ).requires_grad_(False)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.eye_(self.value.weight)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        q = x if self.normed else h
        adapters: Any = self.adapters
        z = torch.stack([adapter.change(q) for adapter in adapters], dim=-2)  # (..., N, width)
        scores = (self.query(q).unsqueeze(-2) * self.key(z)).sum(-1)  # (..., N)
        s = torch.softmax(scores, dim=-1)
        return h + (s.unsqueeze(-1) * self.value(z)).sum(-2)

    def distance(self) -> Tensor:
        """‖I − V‖², the squared Frobenius norm."""
        identity = torch.eye(len(self.value.weight), device=self.value.weight.device)
        return (identity - self.value.weight).square().sum()


@dataclass(frozen=True)
class AdapterFusion(Method):
    """Learn to combine the adapters of several tasks, which stay as they were trained.

    First a Pfeiffer adapter is trained and saved for each task. Then `fuse` attaches this with
    these adapters, and only the attention over them is trained, on the target task. Attached by
    itself it has adapters that nobody has trained.

    Args:
        bottlenecks: the widths of the adapters, one for each.
        activation: the adapters' non-linearity.
        regularise: weight of ‖I − V‖² in the loss (the authors' code: 0.01).
        at: where the adapters are.
        layers: numbers of the layers that have them; None: all.
    """

    facts = FACTS["adapter_fusion"]

    bottlenecks: Widths = (48, 48)
    activation: Activation = "relu"
    regularise: PositiveOrZero = 0.01
    at: tuple[str, ...] = ("stream",)
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Fusion:
        return Fusion(site.d_out, self, site.place.port is Port.NORMED)

    def extra_loss(self, model: nn.Module) -> Tensor | None:
        distances = [fusion.distance() for fusion in self.planted_in(model, Fusion)]
        return self.regularise * torch.stack(distances).sum()


def fuse(
    model: nn.Module,
    folders: Sequence[str | Path],
    regularise: float = 0.01,
    name: str | None = None,
) -> nn.Module:
    """Attach AdapterFusion over adapters that were trained and saved.

    Args:
        model: the base that they were trained on, with the target task's head.
        folders: one for each adapter, as `save` wrote them: each holds Pfeiffer adapters, at the
            same sites. Their own heads are left out.
        regularise: see AdapterFusion.
        name: under which it is attached; the method's own by default.

    Returns:
        The model, with the fusion to be trained.

    Raises:
        BadCheckpoint: a folder holds something else, or adapters of another base.
        BadValue: the adapters differ in their sites or non-linearity, or are fewer than two.
    """
    found = [_adapter(model, folder) for folder in folders]
    methods = [method for method, _ in found]
    if len({(m.at, m.layers, m.activation) for m in methods}) > 1:
        raise BadValue(
            "The adapters differ in `at`, `layers` or `activation`. Fuse adapters of one form."
        )
    how = AdapterFusion(
        tuple(m.bottleneck for m in methods),
        **{n: getattr(methods[0], n) for n in ("activation", "at", "layers") if methods},
        regularise=regularise,
    )
    name = name or how.name
    how.attach(model, name)
    try:
        for path, _, _, fusion in planted(model, name):
            assert isinstance(fusion, Fusion)
            for adapter, (_, tensors) in zip(fusion.adapters, found, strict=True):
                adapter.load_state_dict(tensors.get(path, {}))
    except RuntimeError as error:
        detach(model, name)
        raise BadCheckpoint(f"An adapter's file is not complete: {error}") from error
    return model


def _adapter(model: nn.Module, folder: str | Path) -> tuple[Pfeiffer, dict[str, dict[str, Tensor]]]:
    """The method saved in `folder`, and path of the host → the adapter's tensors."""
    header, tensors = contents(folder)
    if [d["method"] for d in header["methods"].values()] != [Pfeiffer.name]:
        held = ", ".join(d["method"] for d in header["methods"].values())
        raise BadCheckpoint(
            f"{str(folder)!r} holds {held}. Only single Pfeiffer adapters can be fused."
        )
    if why := difference(header["base"], model, header["head"]):
        raise BadCheckpoint(
            f"The adapter in {str(folder)!r} was trained on another base: {why}. "
            "Fuse adapters of one base."
        )
    [(name, description)] = header["methods"].items()
    method = build(description, {Pfeiffer.name: Pfeiffer})
    assert isinstance(method, Pfeiffer)
    by_host: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        path, planted_here, inner = key.partition(f".pft_{name}.")
        if planted_here:
            by_host.setdefault(path, {})[inner] = tensor
    return method, by_host
