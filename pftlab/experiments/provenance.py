"""Whether stored lines can be trusted: where they came from, and that they kept to the protocol."""

import json
import math
import random
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .grid import job_of
from .origin import VERSIONS
from .progress import FAILED, worth
from .protocol import further_rates, search_of
from .results import Result, files_of, load_results
from .summary import interval

ORIGIN = ("command", "commit", "date", "device")


class Checked(NamedTuple):
    """What was found.

    Attributes:
        faults: what is wrong, a line each.
        marked: rows whose best rate is the last that there is, as their lines say.
        runs: how many were looked at.
        old: of them, lines of before the protocol, which only have to be there once in a file.
    """

    faults: list[str]
    marked: list[str]
    runs: int
    old: int


def check(paths: str | Path | Iterable[str | Path] | None = None) -> Checked:
    """Look through stored lines.

    Raises:
        What `load_results` raises.
    """
    finals: list[Result] = []
    searches: list[Result] = []
    faults: list[str] = []
    seen: set[str] = set()
    for file in files_of(paths):
        of_file = (load_results(file), load_results(file, searches=True))
        for run in (*of_file[0], *of_file[1]):
            # before the protocol, what one file had tried another counted, after a second run
            key = run.key if run.protocol else f"{file} {run.key}"
            if key in seen:
                faults.append(f"{_named(run)}: the line is there twice")
            seen.add(key)
        finals, searches = finals + of_file[0], searches + of_file[1]
    every = [*finals, *searches]
    new = [run for run in every if run.protocol]
    for run in new:
        faults += [f"{_named(run)}: no {name}" for name in ORIGIN if not getattr(run, name)]
        faults += [f"{_named(run)}: no version of {v}" for v in VERSIONS if v not in run.versions]
        if run.commit.endswith("+"):
            faults.append(f"{_named(run)}: made by a source that was changed since its commit")
    prints: dict[tuple, set[str]] = {
        (r.task["name"], r.task.get("limit"), r.task.get("size")): set() for r in new
    }
    for run in new:
        prints[run.task["name"], run.task.get("limit"), run.task.get("size")].add(
            run.task["fingerprint"]
        )
    faults += [
        f"{name[0]}: {len(p)} versions of its data" for name, p in prints.items() if len(p) > 1
    ]
    marked: dict[str, None] = {}
    tried: dict[str, dict[float, list[Result]]] = {}
    for run in searches:
        tried.setdefault(_row(run), {}).setdefault(run.training["lr"], []).append(run)
    rows: dict[str, list[Result]] = {}
    for run in finals:
        if run.protocol and run.lr_from == "search":
            rows.setdefault(_row(run), []).append(run)
            if not run.search.get("inside"):
                marked[f"{_named(run).rpartition(',')[0]}, lr {run.training['lr']:g}"] = None
    for row, runs in rows.items():
        faults += _search_faults(runs, tried.get(row, {}))
    return Checked(faults, list(marked), len(every), len(every) - len(new))


def _search_faults(runs: list[Result], tried: dict[float, list[Result]]) -> list[str]:
    """Whether a row's rate is the best by the search that is stored beside it."""
    first, faults = runs[0], []
    name = _named(first).rpartition(",")[0]
    if len({run.training["lr"] for run in runs}) > 1:
        faults.append(f"{name}: its seeds have several rates")
    if {run.seed for run in runs} & {r.seed for some in tried.values() for r in some}:
        faults.append(f"{name}: a seed of the search is counted")
    if not tried:
        return [*faults, f"{name}: its search is not stored"]
    noted = dict(zip(first.search["rates"], first.search["scores"], strict=True))
    worths = {rate: worth(some) for rate, some in tried.items()}
    worths |= {rate: FAILED for rate, score in noted.items() if score is None}
    found = search_of(worths)
    if found.best != first.training["lr"]:
        faults.append(f"{name}: its rate is not the best of its search on the validation split")
    if found.inside != first.search["inside"]:
        faults.append(f"{name}: it is not marked that its best rate lies at the edge")
    if further_rates((), worths):
        faults.append(f"{name}: the search ended before the best rate lay inside")
    return faults


def _row(run: Result) -> str:
    training = {k: v for k, v in run.training.items() if k != "lr"}
    return json.dumps(
        [run.method, run.hyperparameters, run.base["name"], run.task["fingerprint"], training],
        sort_keys=True,
    )


def _named(run: Result) -> str:
    return f"{run.method}, {run.task['name']} on {run.base['name']}, seed {run.seed} ({run.key})"


class Again(NamedTuple):
    """A stored run, and its score when it was run again.

    Attributes:
        stored: the line.
        score: the new one.
        low: where new runs of its row are expected to begin, by the seeds of the row.
        high: and to end.
    """

    stored: Result
    score: float
    low: float
    high: float

    @property
    def within(self) -> bool:
        """Whether the new score lies where it is expected."""
        return self.low <= self.score <= self.high


def again(paths: str | Path | Iterable[str | Path], draw: int, seed: int) -> list[Again]:
    """Run some stored runs of the protocol again, drawn at random.

    A further run of a row is expected within mean ± t s √(1 + 1/S) of its S seeds, or where it was
    itself, whichever is wider.

    Args:
        paths: files or folders of lines.
        draw: how many.
        seed: of the draw.
    """
    from .running import run_job

    runs = [run for run in load_results(paths) if run.protocol]
    rows: dict[str, list[float]] = {}
    for run in runs:
        rows.setdefault(f"{_row(run)}{run.training['lr']}", []).append(run.score)
    found = []
    for run in random.Random(seed).sample(runs, min(draw, len(runs))):
        scores = rows[f"{_row(run)}{run.training['lr']}"]
        half = (interval(scores) or 0.0) * math.sqrt(len(scores) + 1)
        mean = statistics.fmean(scores)
        low, high = min(mean - half, run.score), max(mean + half, run.score)
        found.append(Again(run, run_job(job_of(run)).score, low, high))
    return found
