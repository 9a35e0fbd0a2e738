"""Drawing with a seed of one's own, without touching the caller's random numbers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TURN = threading.RLock()  # torch has one random state for all threads


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed torch inside the block; the caller's random state comes back after it.

    A thread that comes while another one is inside waits.

    Args:
        seed: None draws on from the caller's state.
    """
    if seed is None:
        yield
        return
    with _TURN, torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield
