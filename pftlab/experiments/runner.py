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
from .grid import Cell, Grid, Job, results_place
from .origin import commit, visible_gpus
from .progress import Done, Row
from .results import Failure, Result, append

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
        if job.search and job.lr not in job.cell.protocol.window(job.cell.method):  # type: ignore[arg-type]
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
    until: float | None = None,
    retry: bool = False,
    progress: bool = True,
    pool: Any = None,
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
        until: minutes after which the call ends; runs that would not be done by then are not
            begun, and what is under way at that moment is given up.
        retry: run again what failed.
        progress: show a progress bar over the runs.
        pool: where the runs are done; None: in processes of this machine, or for one worker in
            this one. See `pftlab.experiments.on_ray`.

    Raises:
        BadValue: `workers` or `until` cannot be.
        Refused: another call is running on `out`.
        Unavailable: `out` cannot be written, or base or task cannot be loaded.
    """
    out = Path(out)
    if workers < 1:
        raise BadValue(f"workers={workers}: at least one process must do the work.")
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
        if pool is None:
            pool = Here() if workers == 1 else Processes(workers)
        deaths: dict[str, int] = {}
        bar = tqdm(desc=grid.name, unit="run", disable=not progress, file=sys.stderr)
        with bar, pool(origin, sharing) as runs:
            while True:
                while runs.idle and (job := queue.pop(deadline - time.monotonic())):
                    bar.set_postfix_str(str(job), refresh=False)
                    runs.begin(job)
                if not runs.under_way or time.monotonic() > deadline:
                    break
                for job, line, seconds in runs.ended(deadline - time.monotonic()):
                    busy += seconds
                    if line is None:
                        deaths[job.key] = deaths.get(job.key, 0) + 1
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

    def begin(self, job: Job) -> None:
        """Take a run."""
        self.jobs.append(job)

    def ended(self, timeout: float) -> list[Ended]:
        """Do it."""
        job = self.jobs.pop()
        return [_do(job, self.origin, 1)]


def _do(job: Job, origin: dict[str, str], sharing: int) -> Ended:
    """A run to its end, whatever that is."""
    from . import running

    began = time.monotonic()
    line: Result | Failure
    try:
        line = running.run_job(job, sharing=sharing, **origin)
    except Exception as error:  # whatever a run can raise is its result
        line = running.failed(job, error, **origin)
    if torch.cuda.is_available():  # what the run held, for those that share the device
        import gc

        gc.collect()
        torch.cuda.empty_cache()
    return Ended(job, line, time.monotonic() - began)


@dataclass
class _Worker:
    process: Any
    connection: Connection
    gpu: str
    job: Job | None = None
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
            if worker.job is not None:
                worker.process.kill()
        for worker in self.staff:
            worker.process.join()

    @property
    def idle(self) -> bool:
        """Whether a run can begin."""
        return any(worker.job is None for worker in self.staff)

    @property
    def under_way(self) -> int:
        """Runs that have begun and not ended."""
        return sum(worker.job is not None for worker in self.staff)

    def begin(self, job: Job) -> None:
        """Give a run to a worker that has none."""
        worker = next(worker for worker in self.staff if worker.job is None)
        worker.job, worker.began = job, time.monotonic()
        with suppress(OSError):  # it has died, which `ended` will see
            worker.connection.send(job)

    def ended(self, timeout: float) -> list[Ended]:
        """The runs that have ended, after some time at most."""
        busy = {w.connection: w for w in self.staff if w.job is not None}
        found: Sequence[Any] = wait(list(busy), None if timeout == float("inf") else timeout)
        ended = []
        for connection in found:
            worker = busy[connection]
            job: Any = worker.job
            try:
                line = connection.recv()
            except (EOFError, OSError):
                line = None
                self.staff[self.staff.index(worker)] = self._hire(worker.gpu)
                worker.process.join()
                connection.close()
            worker.job = None
            ended.append(Ended(job, line, time.monotonic() - worker.began))
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
            job = connection.recv()
        except EOFError:
            return
        connection.send(_do(job, origin, sharing).line)


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
