"""A few entries of the weights, at fixed places: what the mask methods of this family share."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import Delta, Method, Refused, Site, WeightDelta, parameter_sites, planted
from ..core.limits import Density
from ..facts import FACTS


class SparseValues(WeightDelta):
    """W₀ + δ, with δ zero outside k chosen places: only these k values are kept and trained.

    values (k,), places (k,): positions in the flattened W; W₀ of any shape
    """

    places: Tensor

    def __init__(self, places: Tensor):
        super().__init__()
        self.move_to(places)

    def move_to(self, places: Tensor) -> None:
        """Train the entries at `places` (k,) from now on, starting at zero."""
        self.register_buffer("places", places.to(torch.int32))
        self.values = nn.Parameter(torch.zeros(len(places), device=places.device))

    def fit(self, packed: dict[str, Tensor]) -> None:
        if "places" in packed and packed["places"].shape != self.places.shape:
            self.move_to(packed["places"].to(self.places.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight.flatten().index_add(0, self.places, self.values).view_as(weight)


@dataclass(frozen=True)
class RandomMask(Method):
    """Train a random share of the base's weights: the control of every chosen mask.

    The optimiser keeps its state for the chosen entries alone. Weight decay acts on their change,
    so it pulls towards the base.

    Args:
        density: share of the base's parameters to train; their number is exact.
        seed: of the random choice.
    """

    facts = FACTS["random_mask"]

    density: Density = 0.005
    seed: int = 0

    def sites(self, model: nn.Module) -> list[Site]:
        return every_weight(model)

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        generator = torch.Generator().manual_seed(self.seed)
        planned: list[tuple[Site, Delta]] = []
        start = 0
        for site in self.sites(model):
            stop = start + site.parameter.numel()
            # Rounding the running total, not each share, makes the sum exact.
            count = int(self.density * stop) - int(self.density * start)
            planned.append((site, SparseValues(random_places(site.parameter, count, generator))))
            start = stop
        return planned


def random_places(parameter: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions of `count` different entries of `parameter`, on its device."""
    if parameter.is_meta:  # to count, nothing need be drawn
        return torch.empty(count, dtype=torch.int32, device="meta")
    every = torch.randperm(parameter.numel(), generator=generator, device="cpu")
    return every[:count].to(parameter.device)


def every_weight(model: nn.Module) -> list[Site]:
    """One site for each parameter of the base.

    Raises:
        Refused: some are quantised. Without them most of the base would be left out.
    """
    found = parameter_sites(model, lambda name, parameter: True)
    for site in found:
        if not site.parameter.is_floating_point():
            raise Refused(f"{site.name} is quantised and cannot be trained. Load it in 16 bits.")
    return found


def entries(model: nn.Module, method_name: str) -> list[tuple[nn.Parameter, SparseValues]]:
    """The parameters that a mask method acts on, each with its delta."""
    found = {
        id(delta): (host.get_parameter(delta.leaf), delta)
        for _, host, _, delta in planted(model, method_name)
        if isinstance(delta, SparseValues)
    }
    return list(found.values())


def keep_highest(
    pairs: list[tuple[nn.Parameter, SparseValues]], scores: list[Tensor], count: int
) -> None:
    """Move the masks to the `count` entries of highest score over all parameters together.

    Args:
        pairs: from `entries`.
        scores: one tensor for each pair, of the parameter's shape.
        count: exact number of entries to keep.
    """
    flat = torch.cat([score.flatten() for score in scores])
    best = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    best[flat.topk(count).indices] = True
    sizes = [score.numel() for score in scores]
    for (_, delta), chosen in zip(pairs, best.split(sizes), strict=True):
        delta.move_to(chosen.nonzero().flatten())
