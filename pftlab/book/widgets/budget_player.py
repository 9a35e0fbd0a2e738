"""AdaLoRA's budget at work: the rank of every weight matrix, over a training.

Zhang, Chen, Bukharin, Karampatziakis, He, Cheng, Chen and Zhao (2023), Adaptive Budget Allocation
for Parameter-Efficient Fine-Tuning, https://arxiv.org/abs/2303.10512, Section 3.3 and Figure 3
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from torch import Tensor, nn

from ...core import planted
from ...core.errors import BadValue
from ...low_rank.adalora import AdaLoRA, SVDUpdate
from ..plots import GREY, canvas, style
from .figure import InteractiveFigure, packed, unpacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class RankHistory:
    """The ranks of the matrices that AdaLoRA adapts, at the start and after each allocation.

    Attributes:
        places: layer and site of each matrix.
        steps: of the training; the first is 0.
        ranks: for each of these steps, the rank of each matrix from then on.
        total_steps: of the training.
    """

    places: list[tuple[int, str]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    ranks: list[list[int]] = field(default_factory=list)
    total_steps: int = 0


@dataclass(frozen=True)
class WatchedAdaLoRA(AdaLoRA):
    """AdaLoRA that notes in `history` the ranks that it allocates. It trains as AdaLoRA does.

    Args: as for AdaLoRA.
    """

    facts = AdaLoRA.facts

    def __post_init__(self) -> None:
        super().__post_init__()
        vars(self)["_history"] = RankHistory()  # no field: it is no hyper-parameter

    @property
    def history(self) -> RankHistory:
        """What was allocated in the last training."""
        return vars(self)["_history"]

    def before_training(
        self, model: nn.Module, batches: Callable[[], Iterator[dict[str, Tensor]]], total_steps: int
    ) -> None:
        super().before_training(model, batches, total_steps)
        layers = {(site.path, site.name): site.layer for site in self.sites(model)}
        places = [
            (layers[path, delta.site_name], delta.site_name)
            for path, _, _, delta in planted(model, self.attached_as(model))
            if isinstance(delta, SVDUpdate)
        ]
        start = [self.start_rank] * len(places)
        vars(self.history).update(places=places, steps=[0], ranks=[start], total_steps=total_steps)

    def allocate(self, deltas: list[SVDUpdate], budget: int, forever: bool) -> None:
        super().allocate(deltas, budget, forever)
        self.history.ranks.append([int(delta.Lambda.count_nonzero()) for delta in deltas])

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        super().after_step(model, step, total_steps)
        if len(self.history.ranks) > len(self.history.steps):
            self.history.steps.append(step)


class BudgetPlayer(InteractiveFigure, script="budget_player.js"):
    """Play how AdaLoRA shares its budget: the rank of each matrix, step by step.

    Args:
        history: of a `WatchedAdaLoRA` that was trained with.
        frame: number of the allocation to begin with; 0 is the start, -1 the last.
        chosen: number of a matrix whose rank is drawn as a line; -1: none.

    Raises:
        BadValue: nothing was trained, or there is no such frame or matrix.
    """

    places: traitlets.List[Any] = traitlets.List().tag(sync=True)
    steps: traitlets.List[int] = traitlets.List().tag(sync=True)
    ranks: traitlets.List[str] = traitlets.List().tag(sync=True)  # packed: frames × places
    total_steps = traitlets.Int().tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)

    def __init__(self, history: RankHistory, frame: int = 0, chosen: int = -1):
        frames, matrices = len(history.steps), len(history.places)
        if frames < 2 or not matrices:
            raise BadValue(
                "This history has no allocations. Attach a WatchedAdaLoRA, train with it, and give "
                "its `history`."
            )
        if not -frames <= frame < frames or not -1 <= chosen < matrices:
            raise BadValue(
                f"frame={frame}, chosen={chosen}: there are {frames} frames and {matrices} matrices"
                ", counted from 0."
            )
        super().__init__(
            places=[list(place) for place in history.places],
            steps=list(history.steps),
            ranks=packed(history.ranks),
            total_steps=history.total_steps,
            frame=frame % frames,
            chosen=chosen,
        )

    def now(self) -> np.ndarray:
        """The rank of each matrix after the chosen allocation (matrices,)."""
        return unpacked(self.ranks)[self.frame].astype(int)

    def budget(self) -> int:
        """Triplets of all matrices together that are left."""
        return int(self.now().sum())

    def table(self) -> list[dict[str, Any]]:
        ranks = unpacked(self.ranks).astype(int)
        return [
            {"layer": layer, "site": site, "start": int(first), "rank": int(now), "end": int(last)}
            for (layer, site), first, now, last in zip(
                self.places, ranks[0], ranks[self.frame], ranks[-1], strict=True
            )
        ]

    def figure(self) -> "Figure":
        rows, sites = self.table(), list(dict.fromkeys(site for _, site in self.places))
        layers = sorted({layer for layer, _ in self.places})
        grid = np.full((len(layers), len(sites)), np.nan)
        for row in rows:
            grid[layers.index(row["layer"]), sites.index(row["site"])] = row["rank"]
        with style():
            figure, axes = canvas(7.2, 1.6 + 0.34 * len(layers))
            most = max(row["start"] for row in rows)
            axes.imshow(grid, cmap="Greens", vmin=0, vmax=2 * most, aspect="auto")
            for (i, j), rank in np.ndenumerate(grid):
                if np.isfinite(rank):
                    axes.text(j, i, f"{rank:.0f}", ha="center", va="center", color="#1b1f24")
            axes.set_xticks(range(len(sites)), [site.split(".")[-1] for site in sites])
            axes.set_yticks(range(len(layers)), layers)
            axes.set_ylabel("layer")
            axes.set_title(
                f"Step {self.steps[self.frame]} of {self.total_steps}: {self.budget()} of "
                f"{sum(row['start'] for row in rows)} triplets are left",
                color=GREY,
            )
        return figure

    def describe(self) -> str:
        return (
            f"{len(self.places)} matrices, {len(self.steps)} allocations, "
            f"step {self.steps[self.frame]}"
        )
