"""From runs to a table: mean and confidence interval over seeds."""

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .results import Result

# Two-sided 95 % points of Student's t for 1 … 30 degrees of freedom.
T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z95 = 1.95996  # of the normal distribution


@dataclass(frozen=True)
class Summary:
    """One row of a comparison: a method with its hyper-parameters, over seeds.

    Attributes:
        method: its name in the registry.
        hyperparameters: all of its fields.
        base: name of the base model.
        task: name of the task.
        metric: name of the score.
        training: the protocol: steps, batch_size, lr, …
        lr_from: how the learning rate was found; see `Result`.
        seeds: how many runs.
        mean: of the score on the test split.
        interval: half the width of the 95 % confidence interval; None for a single seed.
        validation: mean of the score on the validation split.
        trainable: parameters, without the head.
        head: parameters of the head.
        total: all parameters of the model.
        memory: bytes that a training step holds, by what they are; see `training_memory`.
        seconds: mean training time.
        device: on which; several names if the runs were on several.
        keys: of the results behind the row.
        forgets: by how much the base's loss on plain text has grown, in the mean, in nats a token;
            or how far its states have drifted (see `Forgetting`). None: not measured.
        inside: the rate was searched, and better than one below and one above it; None: it was
            not searched, or by lines that do not say so.
        scores: seed → the score on the test split.
    """

    method: str
    hyperparameters: dict[str, Any]
    base: str
    task: str
    metric: str
    training: dict[str, Any]
    lr_from: str
    seeds: int
    mean: float
    interval: float | None
    validation: float
    trainable: int
    head: int
    total: int
    memory: dict[str, int]
    seconds: float
    device: str
    keys: tuple[str, ...]
    forgets: float | None = None
    inside: bool | None = None
    scores: dict[int, float] = field(default_factory=dict[int, float])

    @property
    def lr(self) -> float:
        """Peak learning rate."""
        return self.training["lr"]

    @property
    def percent(self) -> float:
        """Trainable parameters, head apart, in percent of the total."""
        return 100 * self.trainable / self.total

    @property
    def memory_bytes(self) -> int:
        """All that a training step holds."""
        return sum(self.memory.values())


def summarise(results: Iterable[Result]) -> list[Summary]:
    """Group results that differ in their seed alone; fewest trainable parameters first.

    Runs of learning-rate searches have no test score and are left out. A run that is there twice
    counts once.
    """
    groups: dict[str, dict[str, Result]] = {}
    for result in results:
        if result.test:
            settings = [
                result.method, result.hyperparameters, result.base,
                result.task["name"], result.task["fingerprint"], result.training,
            ]  # fmt: skip
            groups.setdefault(json.dumps(settings, sort_keys=True), {})[result.key] = result
    rows = [_row(list(group.values())) for group in groups.values()]
    return sorted(rows, key=lambda row: (row.base, row.task, row.trainable))


def _row(runs: list[Result]) -> Summary:
    first, scores = runs[0], [run.score for run in runs]
    metric = first.task["metric"]
    lost = [r.forgetting["after"] - r.forgetting["before"] for r in runs if r.forgetting]
    return Summary(
        method=first.method,
        hyperparameters=first.hyperparameters,
        base=first.base["name"],
        task=first.task["name"],
        metric=metric,
        training=first.training,
        lr_from=first.lr_from,
        seeds=len(runs),
        mean=statistics.fmean(scores),
        interval=interval(scores),
        validation=statistics.fmean(run.validation.get(metric, math.nan) for run in runs),
        **first.parameters,
        memory=first.memory,
        seconds=statistics.fmean(run.seconds for run in runs),
        device="; ".join(sorted({run.device for run in runs})),
        keys=tuple(run.key for run in runs),
        forgets=statistics.fmean(lost) if lost else None,
        inside=first.search.get("inside"),
        scores={run.seed: run.score for run in runs},
    )


def difference(first: Summary, second: Summary) -> tuple[float, float, int] | None:
    """By how much the first row's scores are higher, pair by pair of runs with one seed.

    Returns:
        The mean, half the width of its 95 % confidence interval, in which the seeds are and other
        test texts are not (`comparison.Paired` has both), and the number of pairs; None if there
        are fewer than two.
    """
    seeds = first.scores.keys() & second.scores.keys()
    apart = [first.scores[seed] - second.scores[seed] for seed in sorted(seeds)]
    half = interval(apart)
    return None if half is None else (statistics.fmean(apart), half, len(apart))


def interval(scores: list[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean (Student's t)."""
    if len(scores) < 2:
        return None
    return quantile(len(scores) - 1) * statistics.stdev(scores) / math.sqrt(len(scores))


def quantile(freedom: int) -> float:
    """The two-sided 95 % point of Student's t; beyond the table by its expansion in 1/freedom."""
    if freedom <= len(T95):
        return T95[freedom - 1]
    return (
        Z95
        + (Z95**3 + Z95) / (4 * freedom)
        + (5 * Z95**5 + 16 * Z95**3 + 3 * Z95) / (96 * freedom**2)
    )
