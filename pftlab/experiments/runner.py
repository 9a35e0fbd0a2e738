"""Runs a grid: workers that live as long as it does, on all GPUs; stopped and gone on with.

One process writes the lines, as runs end. Workers hold the tasks that they have read and encoded,
and import everything once. The runs that complete a row come first, then the longer ones.
"""

import heapq
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ..core.errors import BadValue, Refused, Unavailable
from ..core.files import check_writable
from ..core.method import Method
from ..core.ports.steps import own_callbacks
from ..training.stack import ACTING
from .grid import Cell, Grid, Job, results_place
from .origin import commit, visible_gpus
from .progress import Done, Row
from .results import Failure, append
from .workers import Here, Processes

TOGETHER = 14  # runs of one cell that a GPU does in one pass
TRIES = 2  # of a run during which its worker dies: the next may have more memory to itself


@dataclass
class Report:
    """What a call has done.

    Attributes:
        done: lines that were written.
        failed: of them, runs that failed.
        left: runs that could be done next; 0: the grid is finished.
        seconds: by the clock.
        busy: share of the workers' time in which they had a run.
    """

    done: int = 0
    failed: int = 0
    left: int = 0
    seconds: float = 0.0
    busy: float = 0.0

    def __str__(self) -> str:
        left = "nothing is left" if not self.left else f"{self.left} runs or more are left"
        return (
            f"{self.done} runs in {self.seconds:.0f} s, of which {self.failed} failed; "
            f"workers were busy {100 * self.busy:.0f} % of the time; {left}."
        )


class Queue:
    """The runs that can be done now, the most urgent first.

    Args:
        grid: whose cells they are of.
        done: its lines.
    """

    def __init__(self, grid: Grid, done: Done):
        self.rows = {cell: Row(cell, done) for cell in grid.cells}
        self.heap: list[tuple[tuple[float, ...], int, Job]] = []
        self.known: set[str] = set()
        self.number = count()
        self.walls: dict[tuple[str, str, str], list[float]] = {}
        self.plain: set[Cell] = set()  # whose steps could not be recorded
        for cell in self.rows:
            self.look(cell)

    def look(self, cell: Cell) -> None:
        """Take in what has become possible since a run of `cell` ended."""
        for job in self.rows[cell].missing():
            if job.key not in self.known:
                self.known.add(job.key)
                self.push(job)

    def push(self, job: Job) -> None:
        """Take in a run."""
        stage = 1 if job.search else 0  # what completes a row, before a new row is begun
        if job.search and job.lr not in job.cell.window:
            stage = 0
        urgency = (job.cell.table, stage, -self.seconds(job))
        heapq.heappush(self.heap, (urgency, next(self.number), job))

    def pop(self, seconds: float = float("inf")) -> Job | None:
        """The most urgent run that ends within so many seconds, by what others have taken."""
        passed = []
        found = None
        while self.heap:
            entry = heapq.heappop(self.heap)
            if self.seconds(entry[-1]) <= seconds:
                found = entry[-1]
                break
            passed.append(entry)
        for entry in passed:
            heapq.heappush(self.heap, entry)
        if found is not None and self.rows[found.cell].refusal:
            return self.pop(seconds)  # a sister run was refused since
        return found

    def pop_group(self, most: int, seconds: float = float("inf")) -> list[Job]:
        """The most urgent run, and others that could share its pass."""
        first = self.pop(seconds)
        if first is None or most == 1 or not stackable(first.cell):
            return [self.as_it_can(first)] if first else []
        like = [
            entry for entry in self.heap
            if entry[-1].cell == first.cell and entry[-1].search == first.search
        ]  # fmt: skip
        each = self.seconds(first)
        room = int(min(most, seconds / each)) if each else most
        taken = sorted(like)[: max(0, room - 1)]
        numbers = {number for _, number, _ in taken}
        self.heap = [entry for entry in self.heap if entry[1] not in numbers]
        heapq.heapify(self.heap)
        return [self.as_it_can(job) for job in (first, *(job for _, _, job in taken))]

    def as_it_can(self, job: Job) -> Job:
        """The run without recorded steps where a recording has failed; it is the same run."""
        if job.cell not in self.plain:
            return job
        return replace(job, cell=replace(job.cell, capture=False))

    def seconds(self, job: Job) -> float:
        """How long a run takes, as far as is known."""
        walls = self.walls.get(_like(job)) or self.walls.get((*_like(job)[:2], ""), [0.0])
        return sum(walls) / len(walls)

    def took(self, job: Job, seconds: float) -> None:
        """Note how long a run took."""
        for like in (_like(job), (*_like(job)[:2], "")):
            self.walls.setdefault(like, []).append(seconds)

    def __len__(self) -> int:
        return len(self.heap)


def stackable(cell: Cell) -> bool:
    """Whether runs of a cell that differ in seed and rate can share a pass, as far as is known."""
    if not isinstance(cell.method, Method) or not cell.pretrained:
        return False
    return not ACTING & set(own_callbacks(type(cell.method)))


def _like(job: Job) -> tuple[str, str, str]:
    return (job.cell.base, job.cell.task_name, f"{job.cell.method.name} {job.stage}")


def run(
    grid: Grid,
    out: str | Path,
    *,
    workers: int = 1,
    cluster: str | None = None,
    together: int | None = None,
    until: float | None = None,
    retry: bool = False,
    progress: bool = True,
) -> Report:
    """Do what is not yet done, and append its lines.

    A run that fails is a line as well, and is not tried again unless `retry` is set. Killed at any
    moment, the grid goes on from its lines: nothing is lost but the runs that were under way, and
    nothing is done twice.

    Args:
        grid: to be run.
        out: a folder, in which there is a file for each base and task; or one .jsonl file.
        workers: processes, dealt out to the GPUs that are visible; several small runs share one
            well. Where they do, the measured times are those of a shared device.
        cluster: a Ray cluster over whose machines the workers are dealt out: "auto" for the one
            that this machine belongs to, the address of its head ("10.0.0.5:6379"), or "local" for
            one that begins and ends here. Each machine needs this package, and loads bases and
            tasks by itself. Needs `pip install "pftlab[cluster]"`.
        together: runs of a method that may share a pass, where it can (see `fine_tune_many`); None:
            14 on a GPU, one elsewhere.
        until: minutes after which the call ends; runs that would not be done by then are not
            begun, and what is under way at that moment is given up.
        retry: run again what failed.
        progress: show a progress bar over the runs.

    Raises:
        BadValue: `workers` or `until` cannot be.
        Refused: another call is running on `out`.
        Unavailable: `out` cannot be written, base or task cannot be loaded, Ray is not installed,
            or there is no such cluster.
    """
    out = Path(out)
    if workers < 1:
        raise BadValue(f"workers={workers}: at least one process must do the work.")
    if together is not None and together < 1:
        raise BadValue(f"together={together}: at least one run is done at a time.")
    if until is not None and until <= 0:
        raise BadValue(f"until={until}: give the minutes that there are, above zero.")
    if out.suffix == ".jsonl" and out.is_dir():
        raise Unavailable(f"{str(out)!r} is a folder. Give the name of a .jsonl file.")
    check_writable(out.parent if out.suffix == ".jsonl" else out)
    began = time.monotonic()
    deadline = float("inf") if until is None else began + 60 * until
    report, busy = Report(), 0.0
    with _alone(out):
        done = Done.read(grid, out, retry)
        queue = Queue(grid, done)
        origin = {"commit": commit(), "command": grid.command}
        deaths: dict[str, int] = {}
        bar = tqdm(desc=grid.name, unit="run", disable=not progress, file=sys.stderr)
        with bar, _hired(workers, cluster, origin) as runs:
            most = together or (TOGETHER if runs.gpus else 1)
            while True:
                while runs.idle and (jobs := queue.pop_group(most, deadline - time.monotonic())):
                    bar.set_postfix_str(str(jobs[0]), refresh=False)
                    runs.begin(jobs)
                if not runs.under_way or time.monotonic() > deadline:
                    break
                for job, line, seconds, spoilt in runs.ended(deadline - time.monotonic()):
                    busy += seconds
                    if spoilt and job.cell.capture:
                        queue.plain.add(job.cell)
                        queue.push(job)
                        continue
                    if line is None:
                        deaths[job.key] = deaths.get(job.key, 0) + 1
                        most = 1  # perhaps memory ran out
                        if deaths[job.key] < TRIES:
                            queue.push(job)
                            continue
                        line = died(job, **origin)
                    append(results_place(out, job.cell), line)
                    done.add(line)
                    queue.took(job, seconds)
                    queue.look(job.cell)
                    report.done += 1
                    report.failed += isinstance(line, Failure)
                    bar.update()
            report.left = len(queue) + runs.under_way
    report.seconds = time.monotonic() - began
    report.busy = busy / max(report.seconds * workers, 1e-9)
    return report


def _hired(workers: int, cluster: str | None, origin: dict[str, str]) -> Any:
    if cluster is not None:
        from .cluster import Cluster

        return Cluster(workers, cluster, origin)
    alone = workers == 1 and not visible_gpus()  # a process that has spoilt its GPU is replaced
    return Here(origin) if alone else Processes(workers, origin)


def died(job: Job, **origin: str) -> Failure:
    """The line of a run whose worker died as often as it was tried."""
    from .running import failed

    error = RuntimeError("the worker's process ended without a result; perhaps memory ran out")
    return failed(job, error, **origin)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """See that one call at a time writes into `out`."""
    lock = FileLock(f"{out}.lock" if out.suffix == ".jsonl" else out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Refused(
            f"Another call is running into {str(out)!r}. Wait for it, or give another place."
        ) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is ours
        lock.release()
