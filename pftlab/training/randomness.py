"""Random numbers of a run: its own, and the same again when it is resumed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Inside, random numbers begin at `seed`; outside, the caller's go on as if nothing was."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed_step(device, seed, 0)
        yield


def seed_step(device: torch.device, seed: int, step: int, process: int = 0) -> None:
    """Begin the random numbers of a step.

    Every step begins its own, so a saved state needs no generators.

    Args:
        device: that is computed on.
        seed: of the run.
        step: from 1; 0 is what comes before.
        process: 0 for what all processes draw alike, else a number from 1.
    """
    number = ((seed * 1_000_003 + step) * 4099 + process) % 2**63
    torch.default_generator.manual_seed(number)  # torch.manual_seed looks for every accelerator
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)
