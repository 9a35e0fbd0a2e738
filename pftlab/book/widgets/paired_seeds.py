"""What a few seeds say about the difference of two methods, drawn from runs with many seeds."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from ...core.errors import BadValue, UnknownName
from ...experiments.comparison import Paired
from ...experiments.results import Result
from ...experiments.summary import quantile
from ...registry import facts_of
from ...scores import score_of
from .figure import InteractiveFigure, packed, unpacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWS = 1000  # that are counted
FREEDOM = 60  # degrees of freedom up to which Student's t is sent; beyond, that one serves
KINDS = ("unpaired", "paired", "with texts")


class PairedSeeds(InteractiveFigure, script="paired_seeds.js"):
    """Draw some of the seeds that ran: three 95 % intervals for the difference of two methods.

    "unpaired" takes the runs of the two methods for independent (Welch, 1947), "paired" looks at
    the differences seed by seed, "with texts" adds the error of the test texts, as
    `pftlab.experiments.comparison` does. Degrees of freedom are rounded down.

    Args:
        results: of one base and one task, with what was answered to each text; the methods' common
            seeds are drawn from.
        method: the one to begin with; None: the first.
        other: whose score is taken from it; None: the second.
        count: of seeds to draw.
        draw: number of the draw.

    Raises:
        BadValue: there are fewer than two methods, or fewer than three common seeds.
        UnknownName: a method is not among the results.
    """

    names: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    seeds: traitlets.List[int] = traitlets.List().tag(sync=True)
    scores = traitlets.Dict().tag(sync=True)
    errors = traitlets.Dict().tag(sync=True)
    texts = traitlets.Int().tag(sync=True)
    axis = traitlets.Unicode().tag(sync=True)
    quantiles = traitlets.Unicode().tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    other = traitlets.Unicode().tag(sync=True)
    count = traitlets.Int(3).tag(sync=True)
    draw = traitlets.Int(1).tag(sync=True)

    def __init__(
        self, results: Iterable[Result], method: str | None = None, other: str | None = None,
        count: int = 3, draw: int = 1,
    ):  # fmt: skip
        runs: dict[str, list[Result]] = {}
        for result in results:
            runs.setdefault(result.method, []).append(result)
        if len(runs) < 2:
            raise BadValue("Two methods are compared, and there are fewer. Give the runs of more.")
        compared = Paired(runs)
        seeds = sorted(set.intersection(*(set(some) for some in compared.scores.values())))
        if len(seeds) < 3:
            raise BadValue(
                f"The methods have {len(seeds)} seeds in common; to draw some takes three or more."
            )
        times = score_of(compared.metric).times
        score = {
            name: [times * some[seed][0] for seed in seeds]
            for name, some in compared.scores.items()
        }
        redrawn = {
            name: times * np.mean([some[seed][1] for seed in seeds], axis=0)
            for name, some in compared.scores.items()
        }
        first, second, *_ = runs
        chosen = [method or first, other or (second if method in (None, first) else first)]
        for name in chosen:
            if name not in runs:
                raise UnknownName("method", name, runs)
        super().__init__(
            names=[[name, facts_of(name).title] for name in runs],
            seeds=seeds,
            scores={name: packed([row])[0] for name, row in score.items()},
            errors={
                " ".join(sorted(pair)): float(
                    f"{np.std(redrawn[pair[0]] - redrawn[pair[1]], ddof=1):.4g}"
                )
                for pair in itertools.combinations(runs, 2)
            },
            texts=next(iter(runs.values()))[0].texts["texts"],
            axis=score_of(compared.metric).axis,
            quantiles=packed([[quantile(freedom) for freedom in range(1, FREEDOM + 1)]])[0],
            method=chosen[0],
            other=chosen[1],
            count=min(count, len(seeds)),
            draw=draw,
        )

    def chosen(self, draw: int | None = None) -> list[int]:
        """The places of the seeds of a draw, in order."""
        places = list(range(len(self.seeds)))
        number = random_numbers(self.draw if draw is None else draw)
        for i in range(self.count):
            j = i + int(number() * (len(places) - i))
            places[i], places[j] = places[j], places[i]
        return sorted(places[: self.count])

    def intervals(self, draw: int | None = None) -> dict[str, tuple[float, float]]:
        """Kind → the mean difference and half of its 95 % interval, in the units of the axis."""
        ours, theirs = (unpacked([self.scores[name]])[0] for name in (self.method, self.other))
        places = self.chosen(draw)
        a, b = ([float(row[place]) for place in places] for row in (ours, theirs))
        apart = [x - y for x, y in zip(a, b, strict=True)]
        mean, alone = statistics.fmean(apart), len(apart) - 1
        var_a, var_b, var = (statistics.variance(row) / len(apart) for row in (a, b, apart))
        text = self.errors.get(" ".join(sorted((self.method, self.other))), 0.0) ** 2
        parts = {
            "unpaired": [(var_a, alone), (var_b, alone)],
            "paired": [(var, alone)],
            "with texts": [(var, alone), (text, self.texts - 1)],
        }
        return {kind: (mean, self._half(each)) for kind, each in parts.items()}

    def _half(self, parts: list[tuple[float, int]]) -> float:
        """Half of an interval from variances and their degrees of freedom (Satterthwaite, 1946)."""
        whole = sum(variance for variance, _ in parts)
        if whole == 0:
            return 0.0
        freedom = whole**2 / sum(variance**2 / free for variance, free in parts)
        place = min(FREEDOM, max(1, math.floor(freedom + 1e-9)))
        return float(unpacked([self.quantiles])[0][place - 1]) * math.sqrt(whole)

    def told(self) -> dict[str, float]:
        """Kind → the share of `DRAWS` draws of so many seeds whose interval leaves zero out."""
        out = dict.fromkeys(KINDS, 0)
        for draw in range(1, DRAWS + 1):
            for kind, (mean, half) in self.intervals(draw).items():
                out[kind] += abs(mean) > half
        return {kind: times / DRAWS for kind, times in out.items()}

    def table(self) -> list[dict[str, Any]]:
        ours, theirs = (unpacked([self.scores[name]])[0] for name in (self.method, self.other))
        return [
            {"seed": self.seeds[i], "score": float(ours[i]), "other": float(theirs[i]),
             "difference": float(ours[i] - theirs[i])}
            for i in self.chosen()
        ]  # fmt: skip

    def figure(self) -> "Figure":
        from ..plots import GREY, canvas, style

        titles = dict(self.names)
        with style():
            figure, axes = canvas(7.2, 2.4)
            axes.grid(True, axis="x")
            axes.axvline(0, color=GREY, linewidth=1)
            for row, (kind, (mean, half)) in enumerate(self.intervals().items()):
                axes.errorbar(mean, -row, xerr=half, fmt="o", color=GREY, capsize=4)
                axes.text(mean, -row + 0.18, kind, ha="center", va="bottom")
            axes.set(
                yticks=[], ylim=(-2.4, 0.7),
                xlabel=f"{titles[self.method]} minus {titles[self.other]}, points",
                title=f"{self.count} of {len(self.seeds)} seeds, draw {self.draw}",
            )  # fmt: skip
        return figure

    def describe(self) -> str:
        return f"{self.method}, {self.other}, {self.count} of {len(self.seeds)} seeds"


def random_numbers(seed: int) -> Callable[[], float]:
    """Numbers in [0, 1), the same here and in the script: mulberry32 (Ettinger, 2017)."""
    state, mask = seed, 2**32 - 1

    def number() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) & mask
        t = ((state ^ (state >> 15)) * (1 | state)) & mask
        t = ((t + (((t ^ (t >> 7)) * (61 | t)) & mask)) & mask) ^ t
        return (t ^ (t >> 14)) / 2**32

    return number
