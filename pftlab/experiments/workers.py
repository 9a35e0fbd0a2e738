"""Who does the runs of a grid: this process, or processes of this machine, each on one GPU."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any, ClassVar, NamedTuple

import torch

from .grid import Job
from .origin import visible_gpus
from .results import Failure, Result


class Ended(NamedTuple):
    """A run that a worker is done with."""

    job: Job
    line: Result | Failure | None  # None: it was not done to its end, as the worker died
    seconds: float
    spoilt: bool = False  # the GPU does nothing more for the process that did it


@dataclass
class Here:
    """Does runs one after the other in this process, where there is no GPU that it could spoil.

    Args:
        origin: what is written into each line.
    """

    origin: dict[str, str]
    jobs: list[Job] = field(default_factory=list)
    gpus: ClassVar[int] = 0

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
        each = (time.monotonic() - began) / len(jobs)
        if lines:
            yield from (Ended(job, line, each) for job, line in zip(jobs, lines, strict=True))
            return
        if gpu_is_spoilt():
            yield from (Ended(job, None, each, spoilt=True) for job in jobs)
            return
    for place, job in enumerate(jobs):
        ended = _do(job, origin, sharing)
        yield ended
        if ended.spoilt:
            yield from (Ended(left, None, 0.0, spoilt=True) for left in jobs[place + 1 :])
            return


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
    spoilt = not isinstance(line, Result) and gpu_is_spoilt()
    return Ended(job, line, time.monotonic() - began, spoilt)


def _let_go() -> None:
    """Give back what a run held of a GPU, to those that share it."""
    if torch.cuda.is_available():
        import gc

        gc.collect()
        torch.cuda.empty_cache()


def gpu_is_spoilt() -> bool:
    """Whether the GPU does nothing more for this process, as after a recording that broke off.

    PyTorch then takes each further random number for one of the recording, and refuses it.
    """
    if not torch.cuda.is_available():
        return False
    try:
        torch.rand(1, device="cuda").item()
    except RuntimeError:
        return True
    return False


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
        origin: what is written into each line.
    """

    workers: int
    origin: dict[str, str]
    staff: list[_Worker] = field(default_factory=list)

    @property
    def gpus(self) -> int:
        """How many there are for the runs."""
        return len(visible_gpus())

    def __enter__(self) -> "Processes":
        self.context: Any = get_context("forkserver")  # what is imported there, is there for all
        self.context.set_forkserver_preload(["pftlab.experiments.running", "transformers"])
        gpus = cycle(visible_gpus() or [""])
        self.staff = [self._hire(next(gpus)) for _ in range(self.workers)]
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in self.staff:
            self._dismiss(worker)

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
                line, seconds, spoilt = connection.recv()
            except (EOFError, OSError):
                self._replace(worker)
                lost = (time.monotonic() - worker.began) / len(worker.jobs)
                ended += [Ended(job, None, lost) for job in worker.jobs]
                continue
            ended.append(Ended(worker.jobs.pop(0), line, seconds, spoilt))
            worker.began = time.monotonic()
            if spoilt and not worker.jobs:
                self._replace(worker)
        return ended

    def _replace(self, worker: _Worker) -> None:
        """Take another for one that has died, or can do nothing more."""
        self.staff[self.staff.index(worker)] = self._hire(worker.gpu)
        self._dismiss(worker)

    @staticmethod
    def _dismiss(worker: _Worker) -> None:
        worker.process.kill()  # what it has done is here
        worker.process.join()
        worker.connection.close()

    def _hire(self, gpu: str) -> _Worker:
        ours, theirs = self.context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        sharing = -(-self.workers // max(1, self.gpus))
        process = self.context.Process(
            target=_work, args=(theirs, gpu, threads, self.origin, sharing), daemon=True
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
            connection.send((ended.line, ended.seconds, ended.spoilt))


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
