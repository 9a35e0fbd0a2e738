"""What a method costs against what it reaches, from result lines."""

import json
import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import traitlets

from ...core.errors import BadValue
from ...experiments.results import Result, load_results
from ...experiments.summary import Summary, interval, summarise
from ...registry import METHODS
from ..plots import FAMILIES, label, tradeoff
from .figure import InteractiveFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = Mapping[str, Any]
COSTS = ("trainable", "seconds", "memory")
RUN = ("seed", "test", "seconds", "commit", "date", "device", "command")


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

    points: traitlets.List[Any] = traitlets.List().tag(sync=True)
    commands: traitlets.List[Any] = traitlets.List().tag(sync=True)
    devices: traitlets.List[Any] = traitlets.List().tag(sync=True)
    styles: traitlets.List[Any] = traitlets.List().tag(sync=True)
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
        if not self._rows:
            raise BadValue(
                "There are no test scores among these results. Give finished runs, as "
                "`pftlab compare` writes them; the runs of a search have none."
            )
        by_key = {run.key: run for run in runs if run.test}
        commands = sorted({run.command for run in by_key.values()})
        devices = sorted({run.device for run in by_key.values()})
        points = []
        for number, row in enumerate(self._rows):
            behind = [by_key[key] for key in row.keys]
            points.append(_point(str(number), row, self._rows, behind, commands, devices))
        first = next(
            (
                point
                for point in points
                if all(chosen.get(name, point[name]) == point[name] for name in ("base", "task"))
            ),
            None,
        )
        if first is None:
            raise BadValue(
                f"There are no results of {chosen}. There are: "
                + "; ".join(sorted({f"{p['base']}, {p['task']}" for p in points}))
                + "."
            )
        there = [family for family in FAMILIES if any(p["family"] == family for p in points)]
        begin = {name: first[name] for name in ("base", "task", "metric")} | {"families": there}
        super().__init__(
            points=points,
            commands=commands,
            devices=devices,
            styles=[[f, {"name": FAMILIES[f][0], "marker": FAMILIES[f][2]}] for f in there],
            **(begin | chosen),
        )

    def visible(self) -> list[Point]:
        """The points that are drawn: of the base, the task and the families that are chosen."""
        return [
            point
            for point in self.points
            if (point["base"], point["task"]) == (self.base, self.task)
            and point["family"] in self.families
            and self.metric in point["scores"]
        ]

    def affordable(self) -> list[Point]:
        """Those within the budget."""
        limit = float("inf") if self.budget is None else self.budget
        return [point for point in self.visible() if point[self.cost] <= limit]

    def best(self) -> Point | None:
        """The highest score within the budget; of equal ones the cheapest."""
        order = sorted(self.affordable(), key=lambda point: point[self.cost])
        return max(order, key=lambda point: point["scores"][self.metric][0], default=None)

    def front(self) -> list[Point]:
        """The points that no other one beats in both, cheapest first: the Pareto front."""
        found: list[Point] = []
        score = {point["key"]: point["scores"][self.metric][0] for point in self.visible()}
        order = sorted(self.visible(), key=lambda p: (p[self.cost], -score[p["key"]]))
        for point in order:
            if not found or score[point["key"]] > score[found[-1]["key"]]:
                found.append(point)
        return found

    def runs(self, point: Point) -> list[dict[str, Any]]:
        """The runs behind a point, by seed."""
        found = [dict(zip(RUN, json.loads(text), strict=True)) for text in point["runs"]]
        for run in found:
            run["test"] = dict(zip(point["scores"], run["test"], strict=True))
            run["command"] = self.commands[run["command"]]
            run["device"] = self.devices[run["device"]]
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
        here = [p for p in self.points if (p["base"], p["task"]) == (self.base, self.task)]
        runs = sum(len(point["runs"]) for point in here)
        return f"{self.base}, {self.task}, {len(here)} methods, {runs} runs"


def _point(
    key: str,
    row: Summary,
    rows: list[Summary],
    runs: list[Result],
    commands: list[str],
    devices: list[str],
) -> dict[str, Any]:
    """One point, as JSON can hold it; scores: metric → (mean, half of the 95 % interval).

    A run is one line of text, of what `RUN` names: its scores in the order of the metrics, and
    where its command and its device are in the lists that all points share.
    """
    scores = {}
    for metric in sorted(runs[0].test):
        values = [run.test[metric] for run in runs if metric in run.test]
        scores[metric] = [statistics.fmean(values), interval(values)]
    namesakes = [r for r in rows if (r.base, r.task) == (row.base, row.task)]
    lines = [
        [
            run.seed, [run.test.get(metric) for metric in scores], round(run.seconds, 2),
            run.commit, run.date, devices.index(run.device), commands.index(run.command),
        ]
        for run in sorted(runs, key=lambda run: run.seed)
    ]  # fmt: skip
    return {
        "key": key,
        "name": label(row, namesakes),
        "family": METHODS[row.method].family,
        "base": row.base,
        "task": row.task,
        "metric": row.metric,
        "scores": scores,
        "trainable": row.trainable,
        "share": row.trainable / row.total,
        "seconds": row.seconds,
        "memory": row.memory_bytes,
        "hyperparameters": row.hyperparameters,
        "training": row.training,
        "runs": [json.dumps(line, separators=(",", ":")) for line in lines],
    }
