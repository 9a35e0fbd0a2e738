"""Questions of many clients, answered in batches by one thread.

Nothing waits for company: a batch is what came in while the one before was computed. So a single
client is answered at once, and batches grow with the load.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..core.errors import PftError


class Busy(PftError, RuntimeError):
    """There is no room for one more question, or the server is going down."""


@dataclass(eq=False)
class Job:
    """One text of one client.

    Attributes:
        answer: what the client waits for.
        begun: a part of the answer has been sent, so that it cannot be computed anew.
    """

    answer: Future = field(default_factory=Future, init=False)
    begun: bool = field(default=False, init=False)


J = TypeVar("J", bound=Job)


class Batcher(Generic[J]):
    """A queue of jobs, and the thread that answers them.

    Args:
        run: computes a batch, and sets the answer of each of its jobs.
        fits: whether a job can join a batch.
        most: jobs in a batch.
        room: jobs that wait.
    """

    def __init__(
        self,
        run: Callable[[list[J]], None],
        fits: Callable[[list[J], J], bool],
        most: int = 32,
        room: int = 256,
    ):
        self.run, self.fits, self.most, self.room = run, fits, most, room
        self.batches = 0
        self._waiting: deque[J] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="pftlab-batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, jobs: Sequence[J]) -> None:
        """Let these jobs wait for their turn: all of them or none.

        Raises:
            Busy: there is no room, or `close` was called.
        """
        with self._changed:
            if not self._open:
                raise Busy("The server is going down. Ask another one, or again in a while.")
            if len(self._waiting) + len(jobs) > self.room:
                raise Busy(
                    f"{len(self._waiting)} texts wait already, and there is room for {self.room}. "
                    "Ask again in a second."
                )
            self._waiting.extend(jobs)
            self._changed.notify()

    def close(self, seconds: float | None = None) -> None:
        """Take no more jobs, answer those that wait, and stop."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        while batch := self._next():
            self.batches += 1
            self._compute(batch)

    def _next(self) -> list[J]:
        """The job that waits longest, and those that can join it; [] at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return []
                if batch := self._taken():
                    return batch

    def _taken(self) -> list[J]:
        """A batch out of those that wait; [] if nobody waits for their answers any more."""
        batch: list[J] = []
        later: deque[J] = deque()
        while self._waiting and len(batch) < self.most:
            job = self._waiting.popleft()
            if batch and not self.fits(batch, job):
                later.append(job)
            elif job.answer.set_running_or_notify_cancel():
                batch.append(job)
        self._waiting.extendleft(reversed(later))
        return batch

    def _compute(self, batch: list[J]) -> None:
        try:
            self.run(batch)
        except Exception as error:  # whatever a text can raise is the answer to it, and to no other
            for job in batch:
                if job.answer.done():
                    continue
                if len(batch) == 1 or job.begun:
                    job.answer.set_exception(error)
                else:
                    self._compute([job])
