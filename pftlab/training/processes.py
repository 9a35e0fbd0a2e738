"""The processes that train together: one alone, or those that `accelerate launch` started.

Each holds the whole model, computes its part of every batch, and adds up the gradients with the
others. This is data parallelism without a wrapper around the model, so a method may freeze,
unfreeze or skip parameters from one step to the next.
"""

from collections.abc import Iterable
from threading import Event

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor

from ..core.errors import Refused

SHARDED = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")


class Processes:
    """The process that runs this, among those that train together.

    Attributes:
        device: to compute on: a GPU if there is one.
        index: of this process, from 0.
        count: of all processes.

    Raises:
        Refused: the launcher was told to divide the model itself among the processes.
    """

    def __init__(self) -> None:
        if used := [name for name in SHARDED if parse_flag_from_env(name)]:
            raise Refused(
                f"{used[0]} is set, and this loop does not divide a model among processes; it "
                "only divides batches. Launch it without, or use LifecycleTrainer."
            )
        state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
        self.device: torch.device = state.device
        self.index, self.count = state.process_index, state.num_processes

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.index == 0

    def part_of(self, rows: list[int]) -> list[int]:
        """The rows of a batch that are for this process."""
        return rows[self.index :: self.count]

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count > 1:
            pending = [torch.distributed.all_reduce(t, async_op=True) for t in tensors]
            for work in pending:
                work.wait()

    def same(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The first process's tensors, in all processes."""
        if self.count == 1:
            return tensors
        copies = {name: t.to(self.device, copy=True) for name, t in tensors.items()}
        for tensor in copies.values():
            torch.distributed.broadcast(tensor, 0)
        return copies

    def same_numbers(self, numbers: dict[str, float]) -> dict[str, float]:
        """The first process's numbers, so that all processes decide alike."""
        if self.count == 1:
            return numbers
        values = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(values, 0)
        return dict(zip(numbers, values.tolist(), strict=True))

    def agree(self, event: Event, ask: bool) -> bool:
        """Whether the event is set in any process; only asked when `ask`, if there are several."""
        if self.count == 1:
            return event.is_set()
        if not ask:
            return False
        flag = torch.tensor(float(event.is_set()), device=self.device)
        self.add_up([flag])
        return bool(flag)
