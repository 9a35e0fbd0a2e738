"""Methods over the size of the base: does prompt tuning catch up with full fine-tuning?

Lester, Al-Rfou and Constant (2021), The Power of Scale for Parameter-Efficient Prompt Tuning,
https://arxiv.org/abs/2104.08691, Figure 1
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from ...core.errors import BadValue
from ...experiments.results import Result, load_results
from ...experiments.summary import Summary, summarise
from ...registry import METHODS
from ...scores import score_of
from ..plots import FAMILIES, GREY, canvas, label, short, style
from .data import scores
from .figure import InteractiveFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = Mapping[str, Any]
FIRST = ("prompt_tuning", "full")  # what is compared to begin with


class ScaleCurve(InteractiveFigure, script="scale_curve.js"):
    """Score against the size of the base, a line for each method, with confidence intervals.

    A method with one set of hyper-parameters is a line. Its learning rate may be another on each
    base; where there are several on one base, the one with the best validation score is taken.

    Args:
        results: from `load_results`; None: the book's own.
        bases: names of the bases to compare, such as those of one ladder; None: all.
        **chosen: `task`, `shown` (keys of series), `method` and `reference` (keys of the two series
            that are compared), to begin with.

    Raises:
        BadValue: there are no test scores of these bases, or none of this task.
    """

    series: traitlets.List[Any] = traitlets.List().tag(sync=True)
    points: traitlets.List[Any] = traitlets.List().tag(sync=True)
    tasks: traitlets.List[Any] = traitlets.List().tag(sync=True)
    scores = traitlets.Dict().tag(sync=True)
    task = traitlets.Unicode().tag(sync=True)
    shown = traitlets.List(traitlets.Unicode()).tag(sync=True)
    method = traitlets.Unicode().tag(sync=True)
    reference = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        results: Iterable[Result] | None = None,
        bases: Sequence[str] | None = None,
        **chosen: Any,
    ):
        rows = [
            row
            for row in summarise(load_results() if results is None else results)
            if bases is None or row.base in bases
        ]
        if not rows or chosen.get("task", rows[0].task) not in {row.task for row in rows}:
            raise BadValue(
                "There are no test scores to show. Give finished runs on bases of growing size, "
                "as `pftlab compare` writes them, and a task that is among them."
            )
        best: dict[tuple[str, str, str], Summary] = {}
        for row in rows:
            key = (_series(row), row.task, row.base)
            worth = score_of(row.metric).worth
            if key not in best or worth(row.validation) > worth(best[key].validation):
                best[key] = row
        names = {_series(row): row for row in best.values()}
        numbers = {key: f"{row.method} {i}" for i, (key, row) in enumerate(names.items())}
        sizes: dict[str, int] = {}  # of the base alone: what a method adds is least in the least
        for row in rows:
            sizes[row.base] = min(row.total, sizes.get(row.base, row.total))
        points = [
            {
                "series": numbers[key], "task": task, "base": base, "size": sizes[base],
                "mean": row.mean, "interval": row.interval, "seeds": row.seeds, "lr": row.lr,
                "share": row.trainable / row.total,
            }
            for (key, task, base), row in sorted(best.items(), key=lambda e: sizes[e[0][2]])
        ]  # fmt: skip
        counts = {t: len({p["base"] for p in points if p["task"] == t}) for t in _tasks(rows)}
        task = chosen.pop("task", max(counts, key=lambda t: counts[t]))
        here = [key for key in numbers.values() if any(
            p["series"] == key and p["task"] == task for p in points)]  # fmt: skip
        method, reference = (
            next((key for key in here if key.split()[0] == name), here[place])
            for name, place in zip(FIRST, (0, -1), strict=True)
        )
        begin: dict[str, Any] = {"shown": here, "method": method, "reference": reference}
        super().__init__(
            series=[
                [numbers[key], label(row, list(names.values())), *_family(row)]
                for key, row in names.items()
            ],
            points=points,
            tasks=[[task, metric] for task, metric in _tasks(rows).items()],
            scores=scores(_tasks(rows).values()),
            task=task,
            **(begin | chosen),
        )

    def curve(self, series: str) -> list[Point]:
        """The points of a line on the chosen task, smallest base first."""
        return [p for p in self.points if (p["series"], p["task"]) == (series, self.task)]

    def gaps(self) -> dict[str, float]:
        """Base → how far `method` is behind `reference` there, smallest base first."""
        other = {point["base"]: point["mean"] for point in self.curve(self.reference)}
        worth = score_of(dict(self.tasks)[self.task]).worth
        return {
            point["base"]: worth(other[point["base"]]) - worth(point["mean"])
            for point in self.curve(self.method)
            if point["base"] in other
        }

    def table(self) -> list[dict[str, Any]]:
        names = {key: name for key, name, *_ in self.series}
        return [
            {"method": names[key]}
            | {n: p[n] for n in ("base", "size", "mean", "interval", "seeds", "lr", "share")}
            for key in self.shown
            for p in self.curve(key)
        ]

    def figure(self) -> "Figure":
        from matplotlib.ticker import FuncFormatter, NullLocator

        score = score_of(dict(self.tasks)[self.task])
        with style():
            figure, axes = canvas(7.2, 4.0)
            axes.grid(True)
            axes.set_xscale("log")
            used: dict[str, int] = {}
            for key, name, family, marker in self.series:
                points = self.curve(key) if key in self.shown else []
                if not points:
                    continue
                dashes = ("-", "--", ":", "-.")[used.setdefault(family, 0) % 4]
                used[family] += 1
                means = np.array([point["mean"] for point in points])
                ends = np.array([score.reach(p["mean"], p["interval"]) for p in points])
                axes.errorbar(
                    [point["size"] for point in points], score.times * means,
                    yerr=score.times * np.abs(ends.T - means), fmt=marker + dashes,
                    color=FAMILIES[family][1], capsize=3, label=name,
                )  # fmt: skip
            sizes = sorted({point["size"] for point in self.points if point["task"] == self.task})
            axes.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
            axes.set_xticks(sizes)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(float(f"{x:.3g}"))))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("parameters of the base")
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, score.times * score.low), min(high, score.times * score.high))
            axes.set_ylabel(score.axis)
            axes.set_title(f"{self.task}, test split")
            if used:
                axes.legend(frameon=False, labelcolor=GREY)
        return figure

    def describe(self) -> str:
        bases = list(dict.fromkeys(p["base"] for p in self.points if p["task"] == self.task))
        return f"{self.task}, {len(self.series)} methods, {', '.join(bases)}"


def _series(row: Summary) -> str:
    """What all points of a line have in common: all that was chosen but the learning rate."""
    training = {name: value for name, value in row.training.items() if name != "lr"}
    return json.dumps([row.method, row.hyperparameters, training], sort_keys=True)


def _family(row: Summary) -> tuple[str, str]:
    """Name and marker."""
    family = METHODS[row.method].family
    return family, FAMILIES[family][2]


def _tasks(rows: Iterable[Summary]) -> dict[str, str]:
    return {row.task: row.metric for row in rows}
