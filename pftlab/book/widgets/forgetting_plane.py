"""What methods learn and forget over the learning rate: the plane of Biderman et al.

Biderman et al. (2024), LoRA Learns Less and Forgets Less, https://arxiv.org/abs/2405.09673
"""

import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import traitlets

from ...core.errors import BadValue
from ...experiments.summary import interval
from ...facts import FACTS, FAMILIES
from ..plots import GREY, canvas, style
from .figure import InteractiveFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = Mapping[str, Any]
LEAST = 0.01  # nats: what is less is drawn there
DASHES = {"": "-", "7 4": "--", "2 4": ":", "7 3 2 3": "-."}  # of SVG and of matplotlib


class ForgettingPlane(InteractiveFigure, script="forgetting_plane.js"):
    """Accuracy against the rise of the base's held-out loss; a slider moves the learning rate.

    Args:
        rows: of `pftlab.experiments.forgetting`: method, lr, seed, accuracy, before and after;
            every method at every rate.
        chosen: number of the rate to begin with, the lowest is 0.

    Raises:
        BadValue: a method lacks a rate, or there is no such rate.
    """

    points: traitlets.List[Any] = traitlets.List().tag(sync=True)
    rates: traitlets.List[float] = traitlets.List().tag(sync=True)
    least = traitlets.Float(LEAST).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)

    def __init__(self, rows: Iterable[Mapping[str, Any]], chosen: int = 0):
        runs: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
        for row in rows:
            runs.setdefault((row["method"], row["lr"]), []).append(row)
        rates = sorted({lr for _, lr in runs})
        methods = list(dict.fromkeys(method for method, _ in runs))
        lacking = [(m, lr) for m in methods for lr in rates if (m, lr) not in runs]
        if lacking or not 0 <= chosen < len(rates):
            raise BadValue(
                f"{len(rates)} rates, chosen={chosen}, without runs: {lacking}. Give runs of every "
                "method at every rate, and the number of a rate, counted from 0."
            )
        points, used = [], dict.fromkeys(FAMILIES, 0)
        for method in methods:
            facts = FACTS[method]
            dashes = list(DASHES)[used[facts.family] % len(DASHES)]
            used[facts.family] += 1
            for number, lr in enumerate(rates):
                here = runs[method, lr]
                points.append(
                    {"method": method, "name": facts.title, "family": facts.family,
                     "marker": FAMILIES[facts.family].marker, "dashes": dashes, "rate": number,
                     "learned": _mean([row["accuracy"] for row in here]),
                     "forgotten": _mean([row["after"] - row["before"] for row in here])}
                )  # fmt: skip
        super().__init__(points=points, rates=rates, chosen=chosen)

    def now(self) -> list[Point]:
        """The points at the chosen rate, the one that forgets least first."""
        here = [point for point in self.points if point["rate"] == self.chosen]
        return sorted(here, key=lambda point: point["forgotten"][0])

    def table(self) -> list[dict[str, Any]]:
        return [
            {"method": point["name"], "lr": self.rates[self.chosen],
             "accuracy": point["learned"][0], "forgotten": point["forgotten"][0]}
            for point in self.now()
        ]  # fmt: skip

    def figure(self) -> "Figure":
        with style():
            figure, axes = canvas(7.2, 4.2)
            axes.grid(True)
            axes.set_xscale("log")
            for method in dict.fromkeys(point["method"] for point in self.points):
                on = [point for point in self.points if point["method"] == method]
                colour = FAMILIES[on[0]["family"]].colour
                across = [max(point["forgotten"][0], LEAST) for point in on]
                up = [100 * point["learned"][0] for point in on]
                axes.plot(
                    across, up, DASHES[on[0]["dashes"]], marker=".", color=colour, lw=1.2,
                    label=on[0]["name"],
                )  # fmt: skip
                axes.plot(across[self.chosen], up[self.chosen], on[0]["marker"], color=colour)
            axes.set(xlabel="rise of the held-out loss, nats", ylabel="accuracy (%)")
            axes.set_title(f"large marks: learning rate {self.rates[self.chosen]:g}", color=GREY)
            axes.legend(frameon=False, labelcolor=GREY)
        return figure

    def describe(self) -> str:
        return f"{len(self.now())} methods, {len(self.rates)} rates"


def _mean(values: list[float]) -> list[float]:
    """Mean and half of the 95 % interval; 0 for one seed."""
    return [statistics.fmean(values), interval(values) or 0.0]
