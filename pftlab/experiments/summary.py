"""From runs to a table: mean and confidence interval over seeds."""

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .results import Result

# Two-sided 95 % points of Student's t for 1 … 30 degrees of freedom; beyond, the normal's 1.96.
T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """One row of a comparison: a method with its hyper-parameters, over seeds.

    Attributes:
        method: its name in the registry.
        hyperparameters: all of its fields.
        base, task: names.
        metric: name of the score.
        lr: peak learning rate.
        seeds: how many runs.
        mean: of the score on the test split.
        interval: half the width of the 95 % confidence interval; None for a single seed.
        trainable, head, total: parameters.
        seconds: mean training time.
        peak_memory_bytes: largest of the runs.
        keys: of the results behind the row.
    """

    method: str
    hyperparameters: dict[str, Any]
    base: str
    task: str
    metric: str
    lr: float
    seeds: int
    mean: float
    interval: float | None
    trainable: int
    head: int
    total: int
    seconds: float
    peak_memory_bytes: int
    keys: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Trainable parameters, head apart, in percent of the total."""
        return 100 * self.trainable / self.total


def summarise(results: Iterable[Result]) -> list[Summary]:
    """Group results that differ in their seed alone; fewest trainable parameters first."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        settings = [
            result.method,
            result.hyperparameters,
            result.base["name"],
            result.task["name"],
            result.task["train"],
            result.training,
        ]
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(result)
    rows = [_row(list({r.key: r for r in group}.values())) for group in groups.values()]
    return sorted(rows, key=lambda row: (row.base, row.task, row.trainable))


def _row(runs: list[Result]) -> Summary:
    first, scores = runs[0], [run.score for run in runs]
    return Summary(
        method=first.method,
        hyperparameters=first.hyperparameters,
        base=first.base["name"],
        task=first.task["name"],
        metric=first.task["metric"],
        lr=first.training["lr"],
        seeds=len(runs),
        mean=statistics.fmean(scores),
        interval=interval(scores),
        **first.parameters,
        seconds=statistics.fmean(run.seconds for run in runs),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
        keys=tuple(run.key for run in runs),
    )


def interval(scores: list[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean (Student's t)."""
    n = len(scores)
    if n < 2:
        return None
    t = T95[n - 2] if n - 2 < len(T95) else 1.96
    return t * statistics.stdev(scores) / math.sqrt(n)
