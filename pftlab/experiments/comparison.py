"""Which method is better, said so that it may be believed.

Runs of two methods with one seed are a pair: one head, one order of the examples, one test split.
Their difference varies with the seed, and would vary with other test texts. Both go into

    variance = s² / S + v,

where s² is the variance of the S paired differences, and v that of their mean when the test texts
are drawn anew, with replacement (bootstrap; Efron, 1979). Both parts hold what is noise of a seed
on a text, so the sum errs on the careful side. The interval is Student's, with the degrees of
freedom of Welch (1947) and Satterthwaite (1946). Of many methods compared with one, some would
differ by chance: Holm's (1979) steps correct for their number.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from ..core.errors import BadValue, Unavailable
from ..scores import score_of
from .outcomes import score_of_counts, unpack
from .results import Result

RESAMPLES = 2000
LEVEL = 0.05
VERDICTS = ("better", "worse", "cannot tell")


@dataclass(frozen=True)
class Difference:
    """One method against another, on one base and task.

    Attributes:
        method: whose score is the first.
        other: whose score is taken from it.
        value: the mean difference.
        low: where its interval begins, corrected for the number of comparisons.
        high: where it ends.
        p: of a difference as large by chance, before the correction.
        seeds: how many pairs.
        verdict: of `VERDICTS`; the interval leaves zero out exactly where it is not the last.
    """

    method: str
    other: str
    value: float
    low: float
    high: float
    p: float
    seeds: int
    verdict: str


class Paired:
    """The runs of several methods on one base and one task.

    Args:
        runs: name → the runs that count, of one task.
        seed: of the drawing of texts.

    Raises:
        BadValue: they are of several tasks, or lack what was answered to each text.
    """

    def __init__(self, runs: Mapping[str, Sequence[Result]], seed: int = 0):
        every = [run for some in runs.values() for run in some]
        if len({(r.task["name"], r.task["fingerprint"], r.base["name"].partition(" (")[0])
                for r in every}) != 1:  # fmt: skip
            raise BadValue("Runs are compared on one base and one task. Give those of one table.")
        if lacking := next((r for r in every if not r.texts), None):
            raise BadValue(
                f"The run {lacking.key} of {lacking.method} does not hold what it answered to each "
                "text: it is older than the protocol, or its score is no sum. Run it again."
            )
        self.metric = every[0].task["metric"]
        texts = every[0].texts["texts"]
        self._weights = np.random.default_rng(seed).multinomial(
            texts, np.full(texts, 1 / texts), size=RESAMPLES
        )
        self._runs = {name: {r.seed: r for r in some} for name, some in runs.items()}

    @cached_property
    def scores(self) -> dict[str, dict[int, tuple[float, np.ndarray]]]:
        """Name → seed → the score, and that on each other choice of texts."""
        return {
            name: {seed: self._scored(run) for seed, run in some.items()}
            for name, some in self._runs.items()
        }

    def _scored(self, run: Result) -> tuple[float, np.ndarray]:
        counts = unpack(run.texts)
        if len(counts) != self._weights.shape[1]:
            raise BadValue(f"The run {run.key} answered another number of texts than the others.")
        return run.score, score_of_counts(self.metric, self._weights @ counts, len(counts))

    def against(self, other: str, names: Iterable[str] | None = None) -> list[Difference]:
        """Every method, or some, against one: corrected for their number."""
        chosen = [name for name in names or self._runs if name != other]
        return self.corrected([(name, other) for name in chosen])

    def corrected(self, pairs: Sequence[tuple[str, str]]) -> list[Difference]:
        """Differences of pairs of methods, corrected for the number of pairs."""
        found = {pair: self._raw(*pair) for pair in pairs}
        divisors = holm({pair: raw[3] for pair, raw in found.items()})
        return [judged(self.metric, pair, *found[pair], divisors[pair]) for pair in pairs]

    def _raw(self, name: str, other: str) -> tuple[float, float, float, float, int]:
        """Mean difference, its standard error, degrees of freedom, p, and the number of pairs."""
        first, second = self.scores[name], self.scores[other]
        seeds = sorted(first.keys() & second.keys())
        if len(seeds) < 2:
            raise BadValue(
                f"{name} and {other} have {len(seeds)} seeds in common; a difference needs two."
            )
        apart = [first[s][0] - second[s][0] for s in seeds]
        redrawn = np.mean([first[s][1] - second[s][1] for s in seeds], axis=0)
        by_seed = statistics.variance(apart) / len(seeds)
        by_text = float(np.var(redrawn, ddof=1))
        variance, texts = by_seed + by_text, self._weights.shape[1]
        mean = statistics.fmean(apart)
        if variance == 0:
            return mean, 0.0, 1.0, 1.0 if mean == 0 else 0.0, len(seeds)
        below = by_seed**2 / (len(seeds) - 1) + by_text**2 / max(texts - 1, 1)
        freedom, error = variance**2 / below, math.sqrt(variance)
        p = 2 * float(student().sf(abs(mean) / error, freedom))
        return mean, error, freedom, p, len(seeds)


def holm(p: Mapping[Any, float]) -> dict[Any, int]:
    """By how much the level of each comparison is divided: Holm's (1979) steps."""
    order, holds = sorted(p, key=lambda name: p[name]), True
    divisors, divisor = {}, len(order)
    for place, name in enumerate(order):
        if holds:  # the next is judged more leniently, until one cannot be told
            divisor = len(order) - place
            holds = p[name] < LEVEL / divisor
        divisors[name] = divisor
    return divisors


def judged(
    metric: str, pair: tuple[str, str], mean: float, error: float, freedom: float, p: float,
    seeds: int, divisor: int,
) -> Difference:  # fmt: skip
    """A difference with its interval and its verdict, at the level that `divisor` leaves."""
    half = error * float(student().isf(LEVEL / divisor / 2, freedom))
    verdict = "cannot tell"
    if p < LEVEL / divisor:
        verdict = "better" if score_of(metric).worth(mean) > 0 else "worse"
    return Difference(*pair, mean, mean - half, mean + half, p, seeds, verdict)


def over_seeds(runs: Mapping[str, Sequence[Result]], other: str) -> list[Difference]:
    """Every method against one, from lines without answers: the texts are not in the intervals.

    They are too short by that part; see `Paired`, which has it.

    Args:
        runs: name → the runs that count, of one base and one task.
        other: the method that the others are compared with.

    Raises:
        BadValue: a method has fewer than two seeds in common with it.
    """
    theirs, found = {run.seed: run.score for run in runs[other]}, {}
    for name in (name for name in runs if name != other):
        apart = [run.score - theirs[run.seed] for run in runs[name] if run.seed in theirs]
        if len(apart) < 2:
            raise BadValue(
                f"{name} and {other} have {len(apart)} seeds in common; a difference needs two."
            )
        mean, error = statistics.fmean(apart), statistics.stdev(apart) / math.sqrt(len(apart))
        p = 2 * float(student().sf(abs(mean) / error, len(apart) - 1)) if error else float(not mean)
        found[name] = mean, error, float(len(apart) - 1), p, len(apart)
    divisors = holm({name: raw[3] for name, raw in found.items()})
    metric = runs[other][0].task["metric"]
    return [judged(metric, (name, other), *raw, divisors[name]) for name, raw in found.items()]


def student() -> Any:
    """Student's t.

    Raises:
        Unavailable: SciPy is not installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise Unavailable(
            'Intervals are computed by scipy, which comes with pip install "pftlab[metrics]".'
        ) from error
    return stats.t


Table = Mapping[str, Sequence[Result]]


def rank_correlations(tables: Mapping[str, Table]) -> dict[tuple[str, str], tuple[float, int]]:
    """How alike two tables rank the methods that both have: Spearman's correlation and how many.

    Args:
        tables: name → name of a method → its runs.
    """
    from ..tasks.metrics import spearman

    found = {}
    for a, b in combinations(tables, 2):
        both = [name for name in tables[a] if name in tables[b]]
        if len(both) > 2:
            means = [[_worth(tables[t][name]) for name in both] for t in (a, b)]
            found[a, b] = spearman(*means), len(both)
    return found


def _worth(runs: Sequence[Result]) -> float:
    return statistics.fmean(score_of(run.task["metric"]).worth(run.score) for run in runs)


def surviving(tables: Mapping[str, Table], names: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs (better, worse) of methods whose order is the verdict of every table.

    Args:
        tables: as in `rank_correlations`.
        names: of methods; each pair of them is judged in each table, corrected for the number of
            pairs there.
    """
    names = list(names)
    kept: set[tuple[str, str]] | None = None
    for table in tables.values():
        there = [name for name in names if name in table]
        judged = Paired({name: table[name] for name in there}).corrected(
            list(combinations(there, 2))
        )
        better = {(d.method, d.other) for d in judged if d.verdict == "better"}
        better |= {(d.other, d.method) for d in judged if d.verdict == "worse"}
        kept = better if kept is None else kept & better
    return sorted(kept or set())
