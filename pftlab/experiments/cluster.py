"""Does the runs of a grid on a Ray cluster: several machines, one list of results.

Ray places the workers, each with its share of a GPU, and tells when one dies. What they do is what
workers of one machine do, so that a line does not depend on where it was made but for its device.
"""

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from ..core.errors import Unavailable
from .grid import Job
from .workers import Ended, do


class Worker:
    """One process of the cluster; Ray makes an actor of it.

    Args:
        threads: of the processor, for each run.
    """

    def __init__(self, threads: int):
        torch.set_num_threads(threads)

    def do(self, jobs: list[Job], origin: dict[str, str], sharing: int) -> list[Ended]:
        """Runs of a cell, to their end."""
        return list(do(jobs, origin, sharing))


@dataclass
class Order:
    """What a worker has to do, and since when."""

    worker: Any
    jobs: list[Job]
    began: float


@dataclass
class Cluster:
    """Does runs in actors of Ray.

    Args:
        workers: how many.
        address: "auto", "local", or where the head of the cluster is.
        origin: what is written into each line.
    """

    workers: int
    address: str
    origin: dict[str, str]
    free: list[Any] = field(default_factory=list)
    orders: dict[Any, Order] = field(default_factory=dict)

    def __enter__(self) -> "Cluster":
        try:
            import ray
        except ImportError as error:
            raise Unavailable(
                "Runs on several machines need Ray, which is not installed. It comes with the "
                'extra "cluster": pip install "pftlab[cluster]".'
            ) from error
        self.ray: Any = ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        here: dict[str, Any] = {}
        if self.address == "local":
            here = {"num_cpus": max(self.workers, os.cpu_count() or 1), "include_dashboard": False}
        self.ours = not ray.is_initialized()
        try:
            ray.init(
                address=self.address, ignore_reinit_error=True, log_to_driver=False,
                logging_level=logging.ERROR, **here,
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise Unavailable(
                f"There is no Ray cluster at {self.address!r} ({error}). Start one with "
                '"ray start --head" on one machine and "ray start --address …" on the others, or '
                'give "local".'
            ) from error
        resources = ray.cluster_resources()
        self.gpus = int(resources.get("GPU", 0))
        processors = int(resources.get("CPU", 1))
        self.sharing = -(-self.workers // max(1, self.gpus))
        self.threads = max(1, processors // self.workers)
        # Ray counts in ten thousandths; what it cannot place would wait for ever.
        gpu = int(1e4 / self.sharing) / 1e4 if self.gpus else 0
        share = {"num_gpus": gpu, "num_cpus": min(1.0, int(1e4 * processors / self.workers) / 1e4)}
        self.actor = self.ray.remote(**share)(Worker)
        self.free = [self.actor.remote(self.threads) for _ in range(self.workers)]
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in [*self.free, *(order.worker for order in self.orders.values())]:
            self.ray.kill(worker)
        if self.ours:
            self.ray.shutdown()

    @property
    def idle(self) -> bool:
        """Whether a run can begin."""
        return bool(self.free)

    @property
    def under_way(self) -> int:
        """Runs that have begun and not ended."""
        return sum(len(order.jobs) for order in self.orders.values())

    def begin(self, jobs: list[Job]) -> None:
        """Give runs to a worker that has none."""
        worker = self.free.pop()
        promise = worker.do.remote(jobs, self.origin, self.sharing)
        self.orders[promise] = Order(worker, jobs, time.monotonic())

    def ended(self, timeout: float) -> list[Ended]:
        """The runs that have ended, after some time at most."""
        wait = None if timeout == float("inf") else max(0.0, timeout)
        kept, _ = self.ray.wait(list(self.orders), timeout=wait)
        found: list[Ended] = []
        for promise in kept:
            order = self.orders.pop(promise)
            try:
                done = self.ray.get(promise)
                # the runs that were given out, not their copies
                found += [
                    Ended(job, line, seconds, spoilt)
                    for job, (_, line, seconds, spoilt) in zip(order.jobs, done, strict=True)
                ]
                if any(each.spoilt for each in done):
                    self.ray.kill(order.worker)
                    order.worker = self.actor.remote(self.threads)
                self.free.append(order.worker)
            except self.ray.exceptions.RayError:
                lost = (time.monotonic() - order.began) / len(order.jobs)
                found += [Ended(job, None, lost) for job in order.jobs]
                self.free.append(self.actor.remote(self.threads))
        return found
