"""What a run tells while it goes on: loss, rate, speed and memory, in its record and on a bar."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .memory import PeakMemory
from .processes import Processes
from .run import Run

LOGS = 50  # entries of a whole run


class Journal:
    """Writes into the record of a run, within a `with` block.

    What a step leaves stays on the device; only when something is logged is it read back, for
    that has to wait for the device.

    Args:
        run: the record.
        steps: of the whole run.
        metric: that the bar shows beside the loss.
        batch_size: examples in a step.
        processes: that train together; losses are summed over them, and the first has the bar.
        progress: whether to show the bar.
    """

    def __init__(
        self,
        run: Run,
        steps: int,
        metric: str,
        batch_size: int,
        processes: Processes,
        progress: bool,
    ):
        self.run, self.metric, self.batch_size = run, metric, batch_size
        self.processes, self.every = processes, max(1, steps // LOGS)
        self.memory = PeakMemory(processes.device)
        self.losses = torch.zeros((), device=processes.device)
        self.bar = tqdm(total=steps, initial=run.steps, desc="train", unit="step",
                        disable=not (progress and processes.first))  # fmt: skip

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around the work of a step, which is timed; evaluation is left outside."""
        began = time.perf_counter()
        yield
        self.run.steps += 1
        self.run.seconds += time.perf_counter() - began
        self.bar.update()

    def saw(self, loss: Tensor) -> None:
        """Note a part of a step's loss, while the activations are there that it was made of."""
        self.losses += loss.detach()
        self.memory.sample()

    def is_due(self, step: int) -> bool:
        """Whether this step is one of those that are logged."""
        return step % self.every == 0

    def log(self, lr: float) -> None:
        """Write down the mean loss since the entry before, and the rate."""
        began = time.perf_counter()
        self.processes.add_up([self.losses])
        self.run.log(self.run.steps, float(self.losses), lr)  # waits for the device
        self.losses.zero_()
        self.run.seconds += time.perf_counter() - began
        self.run.measure(self.batch_size, self.memory.peak)
        self._show()

    def score(self, scores: dict[str, float]) -> bool:
        """Write down an evaluation; say whether it is the best so far."""
        improves = self.run.evaluated(self.run.steps, scores, self.metric)
        self._show()
        return improves

    def _show(self) -> None:
        self.bar.set_postfix(self.run.latest(self.metric), refresh=False)
