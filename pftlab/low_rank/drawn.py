"""Random matrices that are drawn from a seed: what the methods share that train next to none."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Delta, Site

META = torch.device("meta")


class Drawn(nn.Module):
    """The random matrices A and B that all deltas of a method share and nobody trains.

    They are drawn from the seed again and never saved. They have the size of the widest site; a
    delta takes the part that fits its own.
    """

    A: Tensor
    B: Tensor

    def __init__(self, A: Tensor, B: Tensor):
        super().__init__()
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)


def shared(
    sites: Sequence[Site], draw: Callable[[str], Drawn], delta: Callable[[Site, Drawn], Delta]
) -> list[tuple[Site, Delta]]:
    """A plan in which all deltas on a device share what was drawn.

    Args:
        sites: where to plant.
        draw: the matrices, the same at every call, on the device that it is told: "cpu", or
            "meta" for a model of shapes alone, where no number need be drawn.
        delta: what to plant at a site, with them.
    """
    there: dict[Any, Drawn] = {}
    for device in {site.device for site in sites}:
        there[device] = draw("meta" if device == META else "cpu").to(device)
    return [(site, delta(site, there[site.device])) for site in sites]
