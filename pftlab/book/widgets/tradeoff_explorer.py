"""What a method costs against what it reaches, from result lines."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import traitlets

from ...core.errors import BadValue
from ...experiments.results import Result, load_results
from ...scores import score_of
from ..plots import tradeoff
from .data import RUN, comparisons, tradeoff_data
from .figure import InteractiveFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = Mapping[str, Any]
COSTS = ("trainable", "memory", "forgotten", "seconds")
PLACE = ("base", "task", "protocol")  # of a comparison


class TradeoffExplorer(InteractiveFigure, script="tradeoff_explorer.js"):
    """Cost against score: sizes of a method as a curve, seeds as dots, and what is behind a mark.

    Counted costs are the same on every machine. What was measured is offered where it can be
    compared: seconds if all runs were alone on one device or shared it in the same way, and what
    the base forgot if every run tells.

    Args:
        results: from `load_results`; None: the book's own.
        **chosen: `base`, `task` and `protocol` of a comparison, `metric`, `cost` ("trainable"
            parameters, "memory" of a training step, "forgotten" or "seconds"), `reference` (a
            method from which differences are shown, paired by seed; "": the scores themselves),
            `families`, `search` (parts of names, with commas between them; "": every method),
            `budget` (in the unit of the cost; None: no limit) and `opened` (the key of a point),
            to begin with.

    Raises:
        BadValue: there are no test scores among the results, or none for this base and task.
    """

    base = traitlets.Unicode().tag(sync=True)
    task = traitlets.Unicode().tag(sync=True)
    protocol = traitlets.Unicode().tag(sync=True)
    metric = traitlets.Unicode().tag(sync=True)
    cost = traitlets.Enum(COSTS, "trainable").tag(sync=True)
    reference = traitlets.Unicode("").tag(sync=True)
    families = traitlets.List(traitlets.Unicode()).tag(sync=True)
    search = traitlets.Unicode("").tag(sync=True)
    budget = traitlets.Float(None, allow_none=True).tag(sync=True)
    opened = traitlets.Unicode("").tag(sync=True)

    def __init__(self, results: Iterable[Result] | None = None, **chosen: Any):
        runs = load_results() if results is None else list(results)
        self._rows = [rows for _, rows, _ in comparisons(runs)]
        self._data = tradeoff_data(runs)
        there = self._data["tradeoff"]["comparisons"]
        wanted = {name: chosen[name] for name in PLACE if name in chosen}
        first = next((each for each in there if wanted.items() <= each.items()), None)
        if first is None:
            raise BadValue(
                f"There are no results of {chosen}. There are: "
                + "; ".join(sorted({f"{each['base']}, {each['task']}" for each in there}))
                + "."
            )
        begin = {name: first[name] for name in (*PLACE, "metric")}
        begin["families"] = [name for name, _ in self._data["tradeoff"]["families"]]
        super().__init__(inline={} if results is None else self._data, **(begin | chosen))

    def fetched(self, name: str) -> Any:
        if name == "pages":
            return {}  # of the site, where there is one
        return self._data[name]

    @property
    def _piece(self) -> dict[str, Any]:
        """The data of the comparison that is chosen; without points where there is none."""
        nothing: dict[str, Any] = {"points": [], "commands": [], "devices": []}
        return self._data.get(f"tradeoff-{self._number}", nothing)

    @property
    def _number(self) -> int | None:
        """Of the comparison that is chosen."""
        for number, each in enumerate(self._data["tradeoff"]["comparisons"]):
            if all(each[name] == getattr(self, name) for name in PLACE):
                return number
        return None

    @property
    def points(self) -> list[Point]:
        """The points of the comparison that is chosen."""
        return self._piece["points"]

    def costs(self) -> list[str]:
        """The costs by which the points of this comparison can be compared."""
        devices = self._piece["devices"]
        comparable = {
            "forgotten": all(point["forgotten"] is not None for point in self.points),
            "seconds": len(devices) == 1,
        }
        return [name for name in COSTS if comparable.get(name, True)]

    def visible(self) -> list[Point]:
        """The points that are drawn: of the families that are chosen, and with a name sought."""
        words = [word.strip().lower() for word in self.search.split(",") if word.strip()]
        return [
            point
            for point in self.points
            if point["family"] in self.families
            and self.metric in point["scores"]
            and (not words or any(word in point["name"].lower() for word in words))
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

    def curves(self) -> dict[str, list[Point]]:
        """Method → its sizes, cheapest first, of the methods that are drawn in more than one."""
        found: dict[str, list[Point]] = {}
        for point in sorted(self.visible(), key=lambda point: point[self.cost]):
            found.setdefault(point["method"], []).append(point)
        return {name: sizes for name, sizes in found.items() if len(sizes) > 1}

    def difference(self, point: Point) -> tuple[float, float | None] | None:
        """Mean and half of the 95 % interval of the paired differences from the reference."""
        found = point["differences"].get(self.reference, {}).get(self.metric)
        return None if found is None else (found[0], found[1])

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
                    "difference": self.difference(point),
                }
            )
        return rows

    def figure(self) -> "Figure":
        """Parameters against the main metric, whatever the axes show now."""
        shown = self.visible() or self.points
        rows = [] if self._number is None else self._rows[self._number]
        return tradeoff(
            [row for row, point in zip(rows, self.points, strict=True) if point in shown]
        )

    def describe(self) -> str:
        runs = sum(len(point["runs"]) for point in self.points)
        methods = len({point["method"] for point in self.points})
        return f"{self.base}, {self.task}, {methods} methods, {runs} runs"
