"""How far a grid has come: what is done, what failed, and which runs come next.

All of it follows from the lines that are there, so that a grid goes on wherever it was stopped.
"""

import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..scores import score_of
from .grid import Cell, Grid, Job, results_place
from .protocol import Search, further_rates, search_of
from .results import Failure, Result, load_failures, load_results

FAILED = (-math.inf, -math.inf)


class Done:
    """The lines of a grid, by their keys.

    Args:
        results: of runs.
        failures: of runs that failed and are not to be tried again.
    """

    def __init__(self, results: Iterable[Result] = (), failures: Iterable[Failure] = ()):
        self.results = {result.key: result for result in results}
        self.failures = {failure.key: failure for failure in failures}

    @classmethod
    def read(cls, grid: Grid, out: Path, retry: bool = False) -> "Done":
        """What is there; with `retry`, failures are forgotten, so that they are run again."""
        places = {place for cell in grid.cells if (place := results_place(out, cell)).exists()}
        results = [r for s in (True, False) for r in load_results(places, searches=s)]
        failures = [] if retry else load_failures(places)
        return cls(results, failures)

    def add(self, line: Result | Failure) -> None:
        """Note a line that was just written."""
        if isinstance(line, Result):
            self.results[line.key] = line
            self.failures.pop(line.key, None)
        else:
            self.failures[line.key] = line

    def __contains__(self, job: Job) -> bool:
        return job.key in self.results or job.key in self.failures


class Row:
    """A cell and its runs.

    Args:
        cell: of a grid.
        done: the grid's lines; looked at anew with each question.
    """

    def __init__(self, cell: Cell, done: Done):
        self.cell, self.done = cell, done

    def search(self) -> tuple[Search | None, list[Job]]:
        """What was found so far, and the runs of the search that are missing."""
        cell = self.cell
        tried: dict[float, tuple[float, float]] = {}
        if not cell.searches:
            return None, []
        while rates := further_rates(cell.window, tried):
            jobs = {rate: self._searched(rate) for rate in rates}
            if missing := [job for some in jobs.values() for job in some if job not in self.done]:
                return search_of(tried) if tried else None, missing
            tried |= {rate: self._worth(some) for rate, some in jobs.items()}
        return search_of(tried), []

    def missing(self) -> list[Job]:
        """The runs that can be done now, most of which lead to others."""
        if self.refusal:
            return []
        found, searched = self.search()
        if searched:
            return searched
        return [job for job in self.finals(found) if job not in self.done]

    def finals(self, found: Search | None) -> list[Job]:
        """The runs that count, at the rate that was found."""
        cell, record = self.cell, {}
        own = getattr(cell.method, "learning_rate", 0.0)
        lr, lr_from = own, "default"
        if cell.protocol.lr is not None:
            lr, lr_from = cell.protocol.lr, "given"
        if cell.searches:
            if found is None or found.best is None:
                return []
            lr, lr_from = found.best, "search"
            scores = [None if w == FAILED else self._score(w[0]) for w in found.worths]
            record = {"rates": list(found.rates), "scores": scores, "inside": found.inside}
        return [Job(cell, seed, lr, lr_from, found=record) for seed in cell.protocol.seeds]

    @property
    def refusal(self) -> Failure | None:
        """Why the cell cannot be, if it cannot."""
        own = self._first
        return next(
            (f for job in own if (f := self.done.failures.get(job.key)) and f.refused), None
        )

    @property
    def results(self) -> list[Result]:
        """The runs that count and are done."""
        found, _ = self.search()
        jobs = self.finals(found)
        return [r for job in jobs if (r := self.done.results.get(job.key))]

    @property
    def failures(self) -> list[Failure]:
        """Runs of the cell that failed."""
        found, _ = self.search()
        rates = found.rates if found else ()
        jobs = [*self._first, *(j for rate in rates for j in self._searched(rate)),
                *self.finals(found)]  # fmt: skip
        return [f for key in dict.fromkeys(j.key for j in jobs)
                if (f := self.done.failures.get(key))]  # fmt: skip

    @property
    def _first(self) -> list[Job]:
        """The runs with which the cell begins."""
        if not self.cell.searches:
            return self.finals(None)
        return [job for rate in self.cell.window for job in self._searched(rate)]

    def _searched(self, rate: float) -> list[Job]:
        seeds = self.cell.protocol.search_seeds
        return [Job(self.cell, seed, rate, "search", search=True) for seed in seeds]

    def _worth(self, jobs: list[Job]) -> tuple[float, float]:
        runs = [self.done.results.get(job.key) for job in jobs]
        found = [run for run in runs if run is not None]
        if len(found) < len(jobs):
            return FAILED
        return worth(found)

    def _score(self, value: float) -> float:
        metric = self.cell.load_task().metric
        return value if score_of(metric).higher_is_better else -value


def worth(runs: list[Result]) -> tuple[float, float]:
    """What a rate is worth by its runs: the mean score on the validation split, then the loss."""
    metric = runs[0].task["metric"]

    def mean(name: str) -> float:
        of: Any = score_of(name).worth
        return statistics.fmean(of(run.validation[name]) for run in runs)

    return mean(metric), mean("validation_loss") if "validation_loss" in runs[0].validation else 0.0
