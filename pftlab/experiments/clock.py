"""The clock of the benchmarks: processor time of one thread; on a GPU the clock, synchronised."""

import time
from collections.abc import Callable

import torch


def timed(work: Callable, device: str) -> float:
    """Milliseconds that one call takes."""
    clock = time.process_time
    if device == "cuda":
        clock = time.perf_counter
        torch.cuda.synchronize()
    start = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (clock() - start)
