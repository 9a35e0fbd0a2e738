"""Runs a grid: workers that live as long as it does, on all GPUs; stopped and gone on with.

One process writes the lines, as runs end. Workers hold the tasks that they have read and encoded,
and import everything once. The runs that complete a row come first, then the longer ones.
"""

import heapq
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import torch
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
from .results import Failure, Result, append

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
            return [first] if first else []
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
        return [first, *(job for _, _, job in taken)]

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


class Ended(NamedTuple):
    """A run that a worker is done with."""

    job: Job
    line: Result | Failure | None  # None: the worker died
    seconds: float


def run(
    grid: Grid,
    out: str | Path,
    *,
    workers: int = 1,
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
        together: runs of a method that may share a pass, where it can (see `fine_tune_many`); None:
            14 on a GPU, one elsewhere.
        until: minutes after which the call ends; runs that would not be done by then are not
            begun, and what is under way at that moment is given up.
        retry: run again what failed.
        progress: show a progress bar over the runs.

    Raises:
        BadValue: `workers` or `until` cannot be.
        Refused: another call is running on `out`.
        Unavailable: `out` cannot be written, or base or task cannot be loaded.
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
        sharing = -(-workers // max(1, len(visible_gpus())))
        origin = {"commit": commit(), "command": grid.command}
        pool: Any = Here() if workers == 1 else Processes(workers)
        deaths: dict[str, int] = {}
        most = together or (TOGETHER if visible_gpus() else 1)
        bar = tqdm(desc=grid.name, unit="run", disable=not progress, file=sys.stderr)
        with bar, pool(origin, sharing) as runs:
            while True:
                while runs.idle and (jobs := queue.pop_group(most, deadline - time.monotonic())):
                    bar.set_postfix_str(str(jobs[0]), refresh=False)
                    runs.begin(jobs)
                if not runs.under_way or time.monotonic() > deadline:
                    break
                for job, line, seconds in runs.ended(deadline - time.monotonic()):
                    busy += seconds
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


class Here:
    """Does runs one after the other in this process."""

    def __call__(self, origin: dict[str, str], sharing: int) -> "Here":
        """What is written into each line."""
        self.origin = origin
        self.jobs: list[Job] = []
        return self

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    @property
    def idle(self) -> bool:
        """Whether a run can begin."""
        return not self.jobs

    @property
    def under_way(self) -> int:
        """Runs that have begun and not ended."""
        return len(self.jobs)

    def begin(self, jobs: list[Job]) -> None:
        """Take runs."""
        self.jobs = jobs

    def ended(self, timeout: float) -> Iterator[Ended]:
        """Do them."""
        for ended in do(self.jobs, self.origin, 1):
            self.jobs = [job for job in self.jobs if job is not ended.job]
            yield ended


def do(jobs: list[Job], origin: dict[str, str], sharing: int) -> Iterator[Ended]:
    """Runs to their end, whatever that is: in one pass if they can share it."""
    from . import running

    if len(jobs) > 1:
        began = time.monotonic()
        try:
            lines = running.run_together(jobs, sharing=sharing, **origin)
        except Exception:  # one by one, it is seen whose fault it was
            lines = []
        _let_go()
        if lines:
            each = (time.monotonic() - began) / len(jobs)
            yield from (Ended(job, line, each) for job, line in zip(jobs, lines, strict=True))
            return
    for job in jobs:
        yield _do(job, origin, sharing)


def _do(job: Job, origin: dict[str, str], sharing: int) -> Ended:
    """One run alone."""
    from . import running

    began = time.monotonic()
    line: Result | Failure
    try:
        line = running.run_job(job, sharing=sharing, **origin)
    except Exception as error:  # whatever a run can raise is its result
        line = running.failed(job, error, **origin)
    _let_go()
    return Ended(job, line, time.monotonic() - began)


def _let_go() -> None:
    """Give back what a run held of a GPU, to those that share it."""
    if torch.cuda.is_available():
        import gc

        gc.collect()
        torch.cuda.empty_cache()


@dataclass
class _Worker:
    process: Any
    connection: Connection
    gpu: str
    jobs: list[Job] = field(default_factory=list)
    began: float = 0.0


@dataclass
class Processes:
    """Does runs in processes of this machine, each on one GPU.

    Args:
        workers: how many.
    """

    workers: int
    staff: list[_Worker] = field(default_factory=list)

    def __call__(self, origin: dict[str, str], sharing: int) -> "Processes":
        """What is written into each line."""
        self.origin, self.sharing = origin, sharing
        return self

    def __enter__(self) -> "Processes":
        self.context: Any = get_context("forkserver")  # what is imported there, is there for all
        self.context.set_forkserver_preload(["pftlab.experiments.running", "transformers"])
        gpus = cycle(visible_gpus() or [""])
        self.staff = [self._hire(next(gpus)) for _ in range(self.workers)]
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in self.staff:
            worker.connection.close()  # an idle one ends by itself
            if worker.jobs:
                worker.process.kill()
        for worker in self.staff:
            worker.process.join()

    @property
    def idle(self) -> bool:
        """Whether a run can begin."""
        return any(not worker.jobs for worker in self.staff)

    @property
    def under_way(self) -> int:
        """Runs that have begun and not ended."""
        return sum(len(worker.jobs) for worker in self.staff)

    def begin(self, jobs: list[Job]) -> None:
        """Give runs to a worker that has none."""
        worker = next(worker for worker in self.staff if not worker.jobs)
        worker.jobs, worker.began = list(jobs), time.monotonic()
        with suppress(OSError):  # it has died, which `ended` will see
            worker.connection.send(jobs)

    def ended(self, timeout: float) -> list[Ended]:
        """The runs that have ended, after some time at most."""
        busy = {w.connection: w for w in self.staff if w.jobs}
        found: Sequence[Any] = wait(list(busy), None if timeout == float("inf") else timeout)
        ended = []
        for connection in found:
            worker = busy[connection]
            try:
                line, seconds = connection.recv()
            except (EOFError, OSError):
                self.staff[self.staff.index(worker)] = self._hire(worker.gpu)
                worker.process.join()
                connection.close()
                lost = (time.monotonic() - worker.began) / len(worker.jobs)
                ended += [Ended(job, None, lost) for job in worker.jobs]
                continue
            ended.append(Ended(worker.jobs.pop(0), line, seconds))
            worker.began = time.monotonic()
        return ended

    def _hire(self, gpu: str) -> _Worker:
        ours, theirs = self.context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        process = self.context.Process(
            target=_work, args=(theirs, gpu, threads, self.origin, self.sharing), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, gpu)


def _work(
    connection: Connection, gpu: str, threads: int, origin: dict[str, str], sharing: int
) -> None:
    """A worker: does one run after the other until the parent closes its end."""
    prepare_worker(threads, gpu)
    while True:
        try:
            jobs = connection.recv()
        except EOFError:
            return
        for ended in do(jobs, origin, sharing):
            connection.send((ended.line, ended.seconds))


def prepare_worker(threads: int, gpu: str) -> None:
    """Share the processor and the GPUs, leave Ctrl-C to the parent, and do not outlive it.

    The GPU is chosen before CUDA begins in this process, which then sees no other.
    """
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    torch.set_num_threads(threads)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
