"""What a method costs against what it reaches, from result lines."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import traitlets

from ...core.errors import BadValue
from ...experiments.results import Result, load_results
from ...experiments.summary import summarise
from ...registry import METHODS
from ...scores import score_of
from ..plots import tradeoff
from .data import RUN, tradeoff_data
from .figure import InteractiveFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = Mapping[str, Any]
COSTS = ("trainable", "seconds", "memory")


class TradeoffExplorer(InteractiveFigure, script="tradeoff_explorer.js"):
    """Cost against score, with confidence intervals, a budget, and the runs behind each point.

    Args:
        results: from `load_results`; None: the book's own.
        **chosen: `base`, `task`, `metric`, `cost` ("trainable" parameters, "seconds" or "memory"),
            `families`, `budget` (in the unit of the cost; None: no limit) and `opened` (the key of
            a point), to begin with.

    Raises:
        BadValue: there are no test scores among the results, or none for this base and task.
    """

    base = traitlets.Unicode().tag(sync=True)
    task = traitlets.Unicode().tag(sync=True)
    metric = traitlets.Unicode().tag(sync=True)
    cost = traitlets.Enum(COSTS, "trainable").tag(sync=True)
    families = traitlets.List(traitlets.Unicode()).tag(sync=True)
    budget = traitlets.Float(None, allow_none=True).tag(sync=True)
    opened = traitlets.Unicode("").tag(sync=True)

    def __init__(self, results: Iterable[Result] | None = None, **chosen: Any):
        runs = load_results() if results is None else list(results)
        self._rows = summarise(runs)
        self._data = tradeoff_data(runs)
        pairs = self._data["tradeoff"]["pairs"]
        wanted = [chosen.get("base"), chosen.get("task")]
        first = next(
            (p for p in pairs if all(w in (None, v) for w, v in zip(wanted, p, strict=False))), None
        )
        if first is None:
            raise BadValue(
                f"There are no results of {chosen}. There are: "
                + "; ".join(sorted(f"{base}, {task}" for base, task, _ in pairs))
                + "."
            )
        begin = dict(zip(("base", "task", "metric"), first, strict=True))
        begin["families"] = [name for name, _ in self._data["tradeoff"]["families"]]
        super().__init__(inline={} if results is None else self._data, **(begin | chosen))

    def fetched(self, name: str) -> Any:
        return self._data[name]

    @property
    def _piece(self) -> dict[str, Any]:
        """The data of the base and the task that are chosen; without points where there is none."""
        pairs = [pair[:2] for pair in self._data["tradeoff"]["pairs"]]
        here = [self.base, self.task]
        nothing: dict[str, Any] = {"points": [], "commands": [], "devices": []}
        return self._data[f"tradeoff-{pairs.index(here)}"] if here in pairs else nothing

    @property
    def points(self) -> list[Point]:
        """The points of the base and the task that are chosen."""
        return self._piece["points"]

    def visible(self) -> list[Point]:
        """The points that are drawn: of the base, the task and the families that are chosen."""
        return [
            point
            for point in self.points
            if point["family"] in self.families and self.metric in point["scores"]
        ]

    def affordable(self) -> list[Point]:
        """Those within the budget."""
        limit = float("inf") if self.budget is None else self.budget
        return [point for point in self.visible() if point[self.cost] <= limit]

    def best(self) -> Point | None:
        """The best score within the budget; of equal ones the cheapest."""
        order = sorted(self.affordable(), key=lambda point: point[self.cost])
        return max(order, key=self._worth, default=None)

    def _worth(self, point: Point) -> float:
        """Higher for a better score, whichever way the chosen one goes."""
        return score_of(self.metric).worth(point["scores"][self.metric][0])

    def front(self) -> list[Point]:
        """The points that no other one beats in both, cheapest first: the Pareto front."""
        found: list[Point] = []
        order = sorted(self.visible(), key=lambda p: (p[self.cost], -self._worth(p)))
        for point in order:
            if not found or self._worth(point) > self._worth(found[-1]):
                found.append(point)
        return found

    def runs(self, point: Point) -> list[dict[str, Any]]:
        """The runs behind a point, by seed."""
        found = [dict(zip(RUN, json.loads(text), strict=True)) for text in point["runs"]]
        for run in found:
            run["test"] = dict(zip(point["scores"], run["test"], strict=True))
            run["command"] = self._piece["commands"][run["command"]]
            run["device"] = self._piece["devices"][run["device"]]
        return found

    def table(self) -> list[dict[str, Any]]:
        rows = []
        for point in self.visible():
            mean, half = point["scores"][self.metric]
            rows.append(
                {
                    "method": point["name"],
                    **{cost: point[cost] for cost in COSTS},
                    self.metric: mean,
                    "interval": half,
                    "seeds": len(point["runs"]),
                }
            )
        return rows

    def figure(self) -> "Figure":
        """Parameters against the main metric, whatever the axes show now."""
        here = [row for row in self._rows if (row.base, row.task) == (self.base, self.task)]
        shown = [row for row in here if METHODS[row.method].family in self.families]
        return tradeoff(shown or here)

    def describe(self) -> str:
        runs = sum(len(point["runs"]) for point in self.points)
        return f"{self.base}, {self.task}, {len(self.points)} methods, {runs} runs"
